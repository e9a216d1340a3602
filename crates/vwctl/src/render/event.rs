use super::{
    plain,
    table::table,
    text::{clipped, when},
};
use vworkspace_protocol::{
    ObjectRef,
    admin::{EventPage, EventRecord},
};

/// One line for each condition of each event; one without conditions has a line, too.
pub(crate) fn events(page: &EventPage) -> String {
    let rows = page.items.iter().flat_map(|event| {
        let told: Vec<_> = match event.conditions.as_slice() {
            [] => vec![String::new()],
            conditions => conditions.iter().map(|condition| clipped(&condition.to_string())).collect(),
        };
        told.into_iter().map(|told| row(event, told))
    });
    table(["RECEIVED", "KIND", "OBJECT", "CONDITION"], rows)
}

fn row(event: &EventRecord, told: String) -> [String; 4] {
    [when(event.received_at), plain(&event.kind), object(&event.resource_ref), told]
}

fn object(object: &ObjectRef) -> String {
    let place = if object.namespace.is_empty() { String::new() } else { format!("{}/", object.namespace) };
    plain(&format!("{} {place}{}", object.kind, object.name))
}
