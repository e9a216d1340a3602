//! Two agents under one identity: which one is served, and who decides which one keeps it.

use super::{App, Error, access::Person, agent::Agent, clusters, jobs};
use serde_json::json;
use std::time::Duration;
use vworkspace_core::control::identity::{Change, Standing};
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, EnqueueJob, KeepSession},
    id::SessionId,
    problem::code,
};
use vworkspace_store::Manage;
use vworkspace_transport::Refusal;

/// Longest time that a poll of a refused session is held: it must not ask in a loop.
const HOLD: Duration = Duration::from_secs(30);
/// When to come back after a refusal that was held.
const AFTER_HOLD: Duration = Duration::from_secs(1);

/// Decides which session keeps the cluster's identity, and has it rotate its credential.
///
/// # Errors
/// The cluster is not there, or not the caller's; the session was not heard lately.
pub async fn keep(app: &App, by: &Person, id: &ClusterId, body: &KeepSession) -> Result<Cluster, Error> {
    let cluster = app.store.lookup_cluster::<Manage>(&by.caller, id).await?;
    {
        // The open polls of the others find their credential dead, also when the caller goes away meanwhile.
        let _waking = app.polls.waking(id);
        app.store.keep_session(&cluster, &body.session, app.clock.now()).await?;
    }
    let rotate = EnqueueJob::new("intent", json!({ "intent": "rotate-operator-credentials" }));
    jobs::enqueue(app, by, id, rotate).await?;
    clusters::read(app, by, id).await
}

/// Notes what a call changed; wakes the polls, since one of them may be of a session that is refused from now on.
pub(super) fn note(app: &App, cluster: &ClusterId, change: Option<Change>) {
    match change {
        Some(Change::Began) => {
            app.metrics.identity_conflict();
            tracing::warn!(
                cluster_id = cluster.as_str(),
                "two agents use one identity; the later one gets no jobs"
            );
            app.polls.wake(cluster);
        }
        Some(Change::Ended) => {
            tracing::info!(cluster_id = cluster.as_str(), "one agent uses the identity again");
        }
        None => {}
    }
}

/// What the agent may do now.
///
/// # Errors
/// Another session keeps the identity.
pub(super) fn standing(app: &App, agent: &Agent) -> Result<Standing, Error> {
    Ok(app.store.standing(&agent.cluster, agent.session.as_ref())?)
}

/// Holds the poll of a refused session for a while, and answers what to refuse it with.
pub(super) async fn hold(app: &App, agent: &Agent, wait: Duration) -> Error {
    if wait.is_zero() {
        return refused(agent, HOLD);
    }
    let _ = app.stop.run_until_cancelled(app.clock.sleep(wait.min(HOLD))).await;
    refused(agent, AFTER_HOLD)
}

/// The refusal of a call that a session may not make.
pub(super) fn refuse(agent: &Agent) -> Error {
    refused(agent, HOLD)
}

fn refused(agent: &Agent, retry_after: Duration) -> Error {
    let cluster = agent.cluster.id();
    let session = agent.session.as_ref().map(SessionId::as_str).unwrap_or_default();
    let message = format!(
        "another agent uses this identity and was there first, so session {session} gets no jobs and cannot rotate; if this \
         is the right agent, run `vwctl cluster keep --cluster {cluster} --session {session}`, else register its cluster \
         as one of its own"
    );
    Error::Told(Refusal {
        retry_after: Some(retry_after),
        ..Refusal::new(409, code::IDENTITY_CONFLICT, message)
    })
}

/// The refusal of a rotation while two agents use the identity, for either of them.
pub(super) fn refuse_rotation(agent: &Agent) -> Error {
    let cluster = agent.cluster.id();
    let message = format!(
        "two agents use this identity, so its credential cannot be rotated; run `vwctl cluster get {cluster}` to see both \
         sessions, then `vwctl cluster keep --cluster {cluster} --session SESSION` with the one that keeps it"
    );
    Error::Told(Refusal { retry_after: Some(HOLD), ..Refusal::new(409, code::IDENTITY_CONFLICT, message) })
}
