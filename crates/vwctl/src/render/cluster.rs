use super::{
    plain,
    table::{below, fields, table},
    text::{ago, when},
};
use vworkspace_protocol::{
    Condition,
    admin::{Cluster, ClusterPage, Presence},
};

pub(crate) fn clusters(page: &ClusterPage) -> String {
    let row = |cluster: &Cluster| {
        [
            cluster.name.clone(),
            presence(cluster.presence).to_owned(),
            last_seen(cluster),
            plain(&cluster.operator_version),
            plain(&cluster.kubernetes_version),
            cluster.id.to_string(),
        ]
    };
    table(["NAME", "PRESENCE", "LAST SEEN", "OPERATOR", "KUBERNETES", "ID"], page.items.iter().map(row))
}

pub(crate) fn cluster(cluster: &Cluster) -> String {
    let facts = fields([
        ("name", cluster.name.clone()),
        ("id", cluster.id.to_string()),
        ("organization", cluster.organization_id.to_string()),
        ("presence", presence(cluster.presence).to_owned()),
        ("last seen", last_seen(cluster)),
        ("registered", cluster.registered_at.map(when).unwrap_or_default()),
        ("agent", plain(&cluster.agent)),
        ("capabilities", plain(&cluster.capabilities.join(", "))),
        ("operator", plain(&cluster.operator_version)),
        ("kubernetes", plain(&cluster.kubernetes_version)),
        ("created", when(cluster.created_at)),
    ]);
    below([facts, conditions(&cluster.conditions)])
}

/// A table of conditions; nothing where there are none.
pub(super) fn conditions(conditions: &[Condition]) -> String {
    if conditions.is_empty() {
        return String::new();
    }
    let row = |condition: &Condition| {
        [
            plain(&condition.type_),
            condition.status.to_string(),
            plain(&condition.reason),
            condition.last_transition_time.map(when).unwrap_or_default(),
            plain(&condition.message),
        ]
    };
    table(["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"], conditions.iter().map(row))
}

fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Unregistered => "Unregistered",
        Presence::Connected => "Connected",
        Presence::Disconnected => "Disconnected",
    }
}

fn last_seen(cluster: &Cluster) -> String {
    cluster.last_seen.map(|seen| format!("{} ago", ago(seen, cluster.as_of))).unwrap_or_default()
}
