//! A sign of life every 30 s, and soon after the Cluster's conditions change: these and versions, alone in its request.

use crate::{
    agent::{
        conversation::Conversation,
        follow::{Follow, Followed},
        links::{Links, failure_of},
        report_check::ReportCheck,
    },
    clock,
};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use vworkspace_core::agent::session::State;
use vworkspace_protocol::{
    ClusterId, ObjectRef,
    event::{Event, EventsAnswer, EventsRequest, kind},
};
use vworkspace_transport::{AgentLink as _, LinkError};

/// Time between two heartbeats (contract, section 3).
const INTERVAL: Duration = Duration::from_secs(30);
/// Shortest time between two heartbeats, however often conditions change.
const SHORTEST: Duration = Duration::from_secs(1);
/// Time to the next one while it decides whether the control plane holds what was reported.
const IN_DOUBT: Duration = Duration::from_secs(10);

/// Sends heartbeats while the conversation is active, until dropped.
pub async fn run(
    links: Links,
    conversation: Arc<Conversation>,
    follow: Follow,
    check: Arc<ReportCheck>,
    kubernetes_version: String,
) {
    let mut state = conversation.watch();
    let mut cluster = follow.cluster();
    loop {
        // Status goes first: no heartbeat before the first snapshot was taken.
        if state.wait_for(|state| state.session == State::Active).await.is_err() {
            return;
        }
        let Some(connection) = links.connected().await else {
            return;
        };
        let told = cluster.borrow().clone();
        let beat = heartbeat(told.as_deref(), &connection.cluster, &kubernetes_version, clock::now());
        let settled = check.settled();
        let answer = connection.link.events(&EventsRequest { events: vec![beat] }).await;
        let shortest = shortest_after(&answer);
        match answer {
            Ok(answer) if links.is_current(&connection) => {
                conversation.heartbeat(&connection.credentials.token);
                conversation.report_diverged(check.heard(settled, &answer));
            }
            Ok(_) => {}
            Err(error) => {
                check.failed(&error);
                tracing::warn!(%error, request_id = error.request_id(), "a heartbeat was not delivered");
            }
        }
        links.pause(&connection, shortest).await;
        let interval = if check.is_in_doubt() { IN_DOUBT } else { INTERVAL };
        tokio::select! {
            () = links.pause(&connection, interval.saturating_sub(shortest)) => {}
            () = changed_from(&mut cluster, told.as_deref()) => {}
        }
    }
}

/// How long none follows, whatever changes: as long as the control plane asked for, if it did.
fn shortest_after(answer: &Result<EventsAnswer, LinkError>) -> Duration {
    let asked = answer.as_ref().err().and_then(|error| failure_of(error).retry_after());
    asked.map_or(SHORTEST, |asked| asked.max(SHORTEST))
}

/// Returns when the conditions are not those that were told: what changed with the link itself, say, is not to wait.
async fn changed_from(cluster: &mut watch::Receiver<Option<Arc<Followed>>>, told: Option<&Followed>) {
    let conditions = |cluster: Option<&Followed>| cluster.map(|cluster| cluster.observed.conditions.clone());
    let told = conditions(told);
    if cluster.wait_for(|cluster| conditions(cluster.as_deref()) != told).await.is_err() {
        // Whoever watched has ended, and with it everything else: no more changes.
        std::future::pending::<()>().await;
    }
}

fn heartbeat(cluster: Option<&Followed>, id: &ClusterId, kubernetes_version: &str, now: Timestamp) -> Event {
    let (resource_ref, conditions) = match cluster {
        Some(cluster) => (cluster.object.clone(), cluster.observed.conditions.clone()),
        // Without a Cluster object the identity is all there is to name.
        None => (
            ObjectRef {
                api_version: "ops.vworkspace.io/v1alpha1".to_owned(),
                kind: "Cluster".to_owned(),
                name: id.as_str().to_owned(),
                ..ObjectRef::default()
            },
            Vec::new(),
        ),
    };
    Event {
        event_key: String::new(),
        kind: kind::CLUSTER_HEARTBEAT.to_owned(),
        resource_ref,
        conditions,
        operator_version: env!("CARGO_PKG_VERSION").to_owned(),
        kubernetes_version: kubernetes_version.to_owned(),
        sequence: 0,
        timestamp: Some(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use vworkspace_core::agent::job_run::Observed;
    use vworkspace_protocol::{Condition, ConditionStatus};

    fn followed(conditions: Vec<Condition>) -> Followed {
        let object = ObjectRef {
            api_version: "ops.vworkspace.io/v1alpha1".to_owned(),
            kind: "Cluster".to_owned(),
            name: "home".to_owned(),
            uid: "u-1".to_owned(),
            generation: 2,
            ..ObjectRef::default()
        };
        let observed =
            Observed { uid: "u-1".to_owned(), observed_generation: 2, conditions, ..Observed::default() };
        Followed { object, version: 0, observed, deleting: false, created: 0, marks: String::new() }
    }

    fn connected(status: ConditionStatus) -> Condition {
        Condition {
            type_: "Connected".to_owned(),
            status,
            observed_generation: 2,
            last_transition_time: Some(Timestamp::UNIX_EPOCH),
            reason: "RoundTripOK".to_owned(),
            message: String::new(),
        }
    }

    #[tokio::test]
    async fn conditions_that_change_are_told_without_waiting_and_nothing_else_is() {
        let told = followed(vec![connected(ConditionStatus::False)]);
        let (sender, mut cluster) = watch::channel(Some(Arc::new(told.clone())));
        let same = Followed { created: 7, ..told.clone() };
        sender.send_replace(Some(Arc::new(same)));
        assert!(changed_from(&mut cluster, Some(&told)).now_or_never().is_none());
        sender.send_replace(Some(Arc::new(followed(vec![connected(ConditionStatus::True)]))));
        assert!(changed_from(&mut cluster, Some(&told)).now_or_never().is_some());
    }

    #[test]
    fn conditions_that_change_wait_when_the_control_plane_asked_for_a_pause() {
        let busy = |retry_after| {
            let problem =
                serde_json::from_value(serde_json::json!({"error": "busy", "message": ""})).unwrap();
            shortest_after(&Err(LinkError::Refused { status: 429, problem, retry_after }))
        };
        let minute = Duration::from_secs(60);
        assert_eq!(
            (busy(Some(minute)), busy(None), shortest_after(&Ok(EventsAnswer::default()))),
            (minute, SHORTEST, SHORTEST)
        );
    }

    #[test]
    fn a_heartbeat_names_the_cluster_object_and_carries_its_conditions_and_the_versions() {
        let conditions = vec![connected(ConditionStatus::True)];
        let cluster = followed(conditions.clone());
        let id = ClusterId::new("cluster-1");

        let beat = heartbeat(Some(&cluster), &id, "v1.33.0", Timestamp::UNIX_EPOCH);
        assert_eq!((beat.resource_ref, beat.conditions), (cluster.object, conditions));
        assert_eq!(beat.operator_version, env!("CARGO_PKG_VERSION"));
        assert_eq!((beat.kubernetes_version.as_str(), beat.event_key.as_str()), ("v1.33.0", ""));

        let without = heartbeat(None, &id, "v1.33.0", Timestamp::UNIX_EPOCH);
        assert_eq!(without.resource_ref.name, "cluster-1");
    }
}
