use super::{
    identity, plain,
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
            standing(cluster).to_owned(),
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
        ("presence", standing(cluster).to_owned()),
        ("last seen", last_seen(cluster)),
        ("registered", cluster.registered_at.map(when).unwrap_or_default()),
        ("agent", plain(&cluster.agent)),
        ("capabilities", plain(&cluster.capabilities.join(", "))),
        ("operator", plain(&cluster.operator_version)),
        ("kubernetes", plain(&cluster.kubernetes_version)),
        ("created", when(cluster.created_at)),
        ("archived", cluster.archived_at.map(when).unwrap_or_default()),
    ]);
    below([
        facts,
        identity::conflict(cluster),
        identity::kept(cluster),
        identity::after_restore(cluster),
        dated_conditions(cluster),
    ])
}

/// The conditions, and how old they are at least: they come with heartbeats, and the cluster's last word of any kind is
/// the nearest moment known.
fn dated_conditions(cluster: &Cluster) -> String {
    let table = conditions(&cluster.conditions);
    let seen = last_seen(cluster);
    if table.is_empty() || seen.is_empty() {
        return table;
    }
    format!("conditions as last reported by the cluster, last seen {seen}:\n{table}")
}

/// What is to be said beside data of a cluster that is not there now.
pub(crate) fn absence(cluster: &Cluster) -> Option<String> {
    if cluster.presence != Presence::Disconnected {
        return None;
    }
    let seen = last_seen(cluster);
    let seen = if seen.is_empty() { seen } else { format!(", last seen {seen}") };
    Some(format!("{} is Disconnected{seen}: this is its last report.", cluster.name))
}

/// What is to be said beside an open job of a cluster that is not there: the job waits for it. `None`: it is there, or will
/// not come.
pub(crate) fn awaited(cluster: &Cluster) -> Option<String> {
    let name = &cluster.name;
    match (cluster.presence, cluster.last_seen) {
        _ if cluster.archived_at.is_some() => None,
        (Presence::Disconnected, Some(seen)) => {
            Some(format!("{name} is Disconnected since {}: the job waits for it.", when(seen)))
        }
        (Presence::Disconnected, None) => Some(format!("{name} is Disconnected: the job waits for it.")),
        (Presence::Unregistered, None) => {
            Some(format!("{name} has not registered yet: the job waits for that."))
        }
        (Presence::Unregistered, Some(_)) => Some(format!(
            "{name} has left, or its credential was revoked: the job waits until it registers again."
        )),
        (Presence::Connected, _) => None,
    }
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

fn standing(cluster: &Cluster) -> &'static str {
    if cluster.archived_at.is_some() {
        return "Archived";
    }
    match cluster.presence {
        Presence::Unregistered => "Unregistered",
        Presence::Connected => "Connected",
        Presence::Disconnected => "Disconnected",
    }
}

fn last_seen(cluster: &Cluster) -> String {
    cluster.last_seen.map(|seen| format!("{} ago", ago(seen, cluster.as_of))).unwrap_or_default()
}
