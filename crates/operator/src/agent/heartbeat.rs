//! A sign of life every 30 s: the Cluster's conditions and versions, alone in its request.

use crate::agent::{
    conversation::Conversation,
    follow::Follow,
    links::{Connection, Links},
};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use vworkspace_core::agent::session::State;
use vworkspace_protocol::{
    ObjectRef,
    event::{Event, EventsRequest, kind},
};
use vworkspace_transport::AgentLink as _;

/// Time between two heartbeats (contract, section 3).
const INTERVAL: Duration = Duration::from_secs(30);

/// Sends heartbeats while the conversation is active, until dropped.
pub async fn run(links: Links, conversation: Arc<Conversation>, follow: Follow, kubernetes_version: String) {
    let mut state = conversation.watch();
    loop {
        // Status goes first: no heartbeat before the first snapshot was taken.
        if state.wait_for(|state| state.session == State::Active).await.is_err() {
            return;
        }
        let Some(connection) = links.connected().await else {
            return;
        };
        let beat = heartbeat(&connection, &follow, &kubernetes_version);
        match connection.link.events(&EventsRequest { events: vec![beat] }).await {
            Ok(()) => conversation.heartbeat(),
            Err(error) => tracing::warn!(%error, "a heartbeat was not delivered"),
        }
        links.pause(&connection, INTERVAL).await;
    }
}

fn heartbeat(connection: &Connection, follow: &Follow, kubernetes_version: &str) -> Event {
    let cluster = follow.cluster().borrow().clone();
    let (resource_ref, conditions) = match cluster {
        Some(cluster) => (cluster.object.clone(), cluster.observed.conditions.clone()),
        // Without a Cluster object the identity is all there is to name.
        None => (
            ObjectRef {
                api_version: "ops.vworkspace.io/v1alpha1".to_owned(),
                kind: "Cluster".to_owned(),
                name: connection.cluster.as_str().to_owned(),
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
        timestamp: Some(Timestamp::now()),
    }
}
