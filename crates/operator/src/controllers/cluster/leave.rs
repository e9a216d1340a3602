//! Step 4 for an object that goes: the control plane is told, and the identity ends with the object.

use super::{
    Error,
    apply::{Registrar, set_finalizers},
    dereference::Way,
    validate::has_finalizer,
};
use crate::{
    agent::{conversation::until, links::failure_of},
    announce::Announcer,
    clock,
};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::json;
use std::time::Duration;
use vworkspace_core::agent::departure::{Departure, Farewell, Left, TRY_FOR, departure};
use vworkspace_crds::{Cluster, cluster::ClusterPhase, key::CLUSTER_FINALIZER};
use vworkspace_transport::AgentLink as _;

impl Registrar {
    /// Ends the identity at the control plane and lets the object go; the credentials Secret goes with it. Answers
    /// when to look again: a control plane that cannot be told holds the object up for a minute.
    pub(super) async fn leave(
        &mut self,
        cluster: &Cluster,
        ways: &[Way],
        announcer: &Announcer,
    ) -> Result<Option<Timestamp>, Error> {
        tell_terminating(&self.client, cluster).await?;
        if let Some(again) = self.decommission(cluster, ways, announcer).await {
            return Ok(Some(again));
        }
        finalize(&self.client, cluster).await?;
        Ok(None)
    }

    /// Tells the control plane, with each credential until one is not dead; answers when to try again, or nothing once the
    /// object may go.
    async fn decommission(
        &mut self,
        cluster: &Cluster,
        ways: &[Way],
        announcer: &Announcer,
    ) -> Option<Timestamp> {
        let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
        let mut farewell = Farewell::default();
        let mut left = None;
        for way in ways {
            let now = clock::now();
            let deleted_at = cluster.metadata.deletion_timestamp.as_ref().map_or(now, |at| at.0);
            let ends = self.seen_deleted.gives_up_at(uid, deleted_at, now);
            if let Some(at) = self.leaving.not_before(way, now).filter(|_| now < ends) {
                return Some(at.min(ends));
            }
            let (departure, untold) = self.tell_departure(way, until(ends, now).max(TRY_FOR)).await;
            left = farewell.handle_answer(departure, untold, clock::now() < ends);
            if let Some(Left::Again(asked, Untold { problem, request_id })) = &left {
                tracing::warn!(problem, request_id, "decommission failed, retrying");
                let at = self.leaving.handle_failure(way.clone(), *asked, clock::now(), rand::random());
                return Some(at.min(ends));
            }
            if left.is_some() {
                break;
            }
        }
        match left.unwrap_or_else(|| farewell.finish()) {
            Left::Decommissioned if ways.is_empty() => {}
            Left::Decommissioned => {
                tracing::info!("the cluster is decommissioned; its credentials are no longer valid");
            }
            Left::NotDecommissioned(untold) | Left::Again(_, untold) => {
                let Untold { problem, request_id } = untold;
                let text = "the control plane did not decommission this cluster; deleting the Cluster anyway";
                tracing::warn!(problem, request_id, "{text}");
                let object = cluster.object_ref(&());
                announcer.tell(&object, EventType::Warning, "NotDecommissioned", &problem).await;
            }
        }
        None
    }

    /// Tells it once, within that time, and says what follows, and why.
    async fn tell_departure(&self, way: &Way, left: Duration) -> (Departure, Untold) {
        let link = match self.link(way) {
            Ok(link) => link,
            Err(problem) => return (Departure::Refused, Untold { problem, request_id: None }),
        };
        match tokio::time::timeout(left, link.decommission()).await {
            Ok(Ok(())) => (departure(Ok(())), Untold::default()),
            Ok(Err(error)) => {
                let request_id = error.request_id().map(str::to_owned);
                (departure(Err(failure_of(&error))), Untold { problem: error.to_string(), request_id })
            }
            Err(_) => {
                let problem = "the control plane did not answer in time".to_owned();
                (Departure::Again(None), Untold { problem, request_id: None })
            }
        }
    }
}

/// Why the control plane was not told; empty if it was.
#[derive(Default)]
struct Untold {
    /// For people.
    problem: String,
    /// What the control plane's log calls the request, if it told.
    request_id: Option<String>,
}

async fn tell_terminating(client: &Client, cluster: &Cluster) -> Result<(), Error> {
    let phase = cluster.status.as_ref().and_then(|status| status.phase);
    if !has_finalizer(cluster) || phase == Some(ClusterPhase::Terminating) {
        return Ok(());
    }
    let status = json!({"status": {"phase": "Terminating"}});
    let api = Api::<Cluster>::all(client.clone());
    api.patch_status(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(&status))
        .await
        .map_err(Error::api("setting the phase Terminating of the Cluster"))
        .map(drop)
}

/// Lets the object go.
async fn finalize(client: &Client, cluster: &Cluster) -> Result<(), Error> {
    if !has_finalizer(cluster) {
        return Ok(());
    }
    let kept: Vec<String> =
        cluster.finalizers().iter().filter(|f| *f != CLUSTER_FINALIZER).cloned().collect();
    // A status write may have moved the resource version on.
    let mut unguarded = cluster.clone();
    unguarded.metadata.resource_version = None;
    set_finalizers(client, &unguarded, &kept, "removing the finalizer").await
}
