use super::{
    plain,
    table::table,
    text::{ago, clipped, when},
};
use vworkspace_protocol::admin::{AgentSession, Cluster, ReleasedJobs, UnknownResult, UnknownResultPage};

/// Two agents under the cluster's identity, and what to do; nothing where there is one.
pub(super) fn conflict(cluster: &Cluster) -> String {
    let Some(conflict) = &cluster.identity_conflict else { return String::new() };
    let row = |what: &str, seen: &AgentSession| {
        [
            what.to_owned(),
            plain(seen.session.as_str()),
            plain(&seen.address),
            when(seen.first_seen),
            format!("{} ago", ago(seen.last_seen, cluster.as_of)),
        ]
    };
    let served = row("served", &conflict.served);
    let rows = [served].into_iter().chain(conflict.refused.iter().map(|seen| row("refused", seen)));
    format!(
        "two agents use this identity since {}; find out which one is a copy, then run\n\
         `vwctl cluster keep --cluster {} --session SESSION` with the session of the other:\n{}",
        when(conflict.since),
        cluster.name,
        table(["AGENT", "SESSION", "ADDRESS", "FIRST SEEN", "LAST SEEN"], rows)
    )
}

/// The decision which session keeps the identity, while it is not carried out; nothing without one.
pub(super) fn kept(cluster: &Cluster) -> String {
    let Some(kept) = &cluster.kept_session else { return String::new() };
    let refused = kept.refused.as_ref().map(|refused| {
        let (session, address) = (plain(refused.session.as_str()), plain(&refused.address));
        let seen = ago(refused.last_seen, cluster.as_of);
        format!("; session {session} {address} was refused {seen} ago: if that is the right one, restarted, keep it instead")
    });
    format!(
        "session {} keeps this identity, decided {}; it has not used its new credential yet{}\n",
        plain(kept.session.as_str()),
        when(kept.since),
        refused.unwrap_or_default()
    )
}

/// What is left to do after a restore; nothing where there is nothing.
pub(super) fn after_restore(cluster: &Cluster) -> String {
    let mut text = String::new();
    if cluster.held_jobs > 0 {
        text += &format!(
            "jobs held since a restore: {}; `vwctl job list --cluster {}` shows them, `vwctl job release` or \
             `vwctl job cancel` decides\n",
            cluster.held_jobs, cluster.name
        );
    }
    if cluster.unknown_results > 0 {
        text += &format!(
            "results of jobs unknown here: {}; `vwctl cluster unknown-results {}` shows them\n",
            cluster.unknown_results, cluster.name
        );
    }
    text
}

pub(crate) fn unknown_results(page: &UnknownResultPage) -> String {
    let row = |result: &UnknownResult| {
        [
            result.job_id.to_string(),
            result.outcome.to_string(),
            result.applied_ref.as_ref().map(|object| plain(&object.to_string())).unwrap_or_default(),
            when(result.received_at),
            clipped(&result.error),
        ]
    };
    table(["JOB", "OUTCOME", "OBJECT", "RECEIVED", "ERROR"], page.items.iter().map(row))
}

pub(crate) fn released(done: &ReleasedJobs) -> String {
    let superseded = if done.superseded == 0 {
        String::new()
    } else {
        format!(", {} superseded by newer jobs", done.superseded)
    };
    format!("{} released{superseded}", done.released)
}
