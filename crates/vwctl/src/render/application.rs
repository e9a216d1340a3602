use super::{
    cluster::conditions,
    plain,
    table::{below, fields, table},
    text::{clipped, when},
};
use vworkspace_protocol::{
    Condition,
    admin::{Resource, ResourcePage},
    condition::types::READY,
};

pub(crate) fn applications(page: &ResourcePage) -> String {
    let row = |resource: &Resource| {
        let of_ready = |part: fn(&Condition) -> String| ready(resource).map(part).unwrap_or_default();
        [
            plain(&resource.resource_ref.namespace),
            plain(&resource.resource_ref.name),
            of_ready(|ready| ready.status.to_string()),
            of_ready(|ready| plain(&ready.reason)),
            when(resource.as_of),
            of_ready(|ready| clipped(&ready.message)),
        ]
    };
    table(["NAMESPACE", "NAME", "READY", "REASON", "AS OF", "MESSAGE"], page.items.iter().map(row))
}

pub(crate) fn application(resource: &Resource) -> String {
    let object = &resource.resource_ref;
    let generation = if object.generation == 0 { String::new() } else { object.generation.to_string() };
    let facts = fields([
        ("name", plain(&object.name)),
        ("namespace", plain(&object.namespace)),
        ("cluster", resource.cluster_id.to_string()),
        ("uid", plain(&object.uid)),
        ("generation", generation),
        ("as of", when(resource.as_of)),
    ]);
    below([facts, conditions(&resource.conditions)])
}

fn ready(resource: &Resource) -> Option<&Condition> {
    resource.conditions.iter().find(|condition| condition.type_ == READY)
}
