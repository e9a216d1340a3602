//! The control plane goes away, the cluster carries on and changes, the control plane comes back: what it shows is the
//! truth, told before any job is handed out.

use super::{
    application::{Application, follow, seen_at_control_plane},
    sample,
    tour::detail,
};
use crate::{
    Testbed,
    stack::Stack,
    view::{differences, shown, truth},
};
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use std::{
    cell::Cell,
    time::{Duration, Instant},
};
use vworkspace_crds::{ApplicationInstance, Cluster};
use vworkspace_protocol::{
    JobId, Outcome,
    admin::{EventRecord, JobState, Presence},
    condition::types::{DISCONNECTED, READY},
    event::kind::OBJECT_DELETED,
};

/// Longer than any of this takes, also with the operator's own disconnect window.
const PATIENCE: Duration = Duration::from_secs(150);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How soon after reconnecting the truth is to be shown.
const GOAL: Duration = Duration::from_secs(10);
/// What the cluster's admin changes meanwhile.
const CHANGED: &str = "web";
/// What they delete.
const DELETED: &str = "api";
/// The version they change to.
const VERSION: &str = "1.1.0";
/// Newest events that are looked at.
const EVENTS: usize = 500;

/// Does it, and proves the order from the control plane's own clock. After a silence of `window` the operator says that
/// it is disconnected.
pub async fn run(testbed: &Testbed, stack: &Stack, namespace: &str, window: Duration) -> anyhow::Result<()> {
    stack.server.kill();
    detail("the control plane is killed");
    let start = Instant::now();
    until("the Cluster object says Disconnected", || is_disconnected(testbed)).await?;
    // The operator counts from the last answer it got, and that was before the plug was pulled.
    detail(&format!(
        "Cluster says Disconnected=True {:.1} s after the plug was pulled: {} s after the last answer",
        start.elapsed().as_secs_f64(),
        window.as_secs()
    ));
    change(testbed, namespace).await?;

    let back = Timestamp::now();
    stack.server.restart().await?;
    let late = Application { name: "late", ..sample(testbed, "late") };
    let job = late.enqueue(stack, namespace).await?;
    let cluster = stack.client.cluster(&stack.cluster).await?;
    let told = seen_at_control_plane(stack, namespace, DELETED).await?;
    detail(&format!(
        "the control plane is back: it says {:?}, last seen {}, {DELETED} is {}; a job is enqueued",
        cluster.presence,
        cluster.last_seen.map_or_else(|| "never".to_owned(), |seen| seen.to_string()),
        if told.is_some() { "still shown" } else { "gone" },
    ));

    let seen = seen_again(stack, back).await?;
    truth_is_shown(testbed, stack, namespace).await?;
    let (shown_at, reconnected) = (Timestamp::now(), first_word(stack, back, seen).await?);
    let after = shown_at.duration_since(reconnected);
    detail(&format!(
        "the truth is shown {:.2} s after the operator reconnected (goal: {} s)",
        after.as_secs_f64(),
        GOAL.as_secs()
    ));
    prove_order(stack, namespace, &job, back, reconnected).await
}

/// The cluster without its control plane: an upgrade by its admin goes through to Helm, a deletion is carried out.
async fn change(testbed: &Testbed, namespace: &str) -> anyhow::Result<()> {
    let instances: Api<ApplicationInstance> = Api::namespaced(testbed.admin(), namespace);
    let version = Patch::Merge(json!({ "spec": { "chart": { "version": VERSION } } }));
    instances.patch(CHANGED, &PatchParams::default(), &version).await?;
    instances.delete(DELETED, &DeleteParams::default()).await?;
    let start = Instant::now();
    until("the cluster carries on", || async {
        let gone = instances.get_opt(DELETED).await?.is_none();
        let changed = instances.get(CHANGED).await?;
        Ok(gone && runs(&changed, VERSION))
    })
    .await?;
    detail(&format!(
        "the cluster carries on: its admin upgraded {CHANGED} to {VERSION} (Ready) and deleted {DELETED} (gone), {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Whether that version is installed and Ready, and the status speaks about the wish as it is now.
fn runs(instance: &ApplicationInstance, version: &str) -> bool {
    let Some(status) = &instance.status else { return false };
    let applied = status.last_applied_chart.as_ref().is_some_and(|chart| chart.version == version);
    let mut ready = status.conditions.iter().filter(|c| c.type_ == READY && c.status == "True");
    applied && ready.any(|ready| ready.observed_generation == instance.metadata.generation)
}

async fn is_disconnected(testbed: &Testbed) -> anyhow::Result<bool> {
    let clusters: Api<Cluster> = Api::all(testbed.admin());
    let clusters = clusters.list(&ListParams::default()).await?.items;
    let mut conditions = clusters.into_iter().filter_map(|cluster| cluster.status).flat_map(|s| s.conditions);
    Ok(conditions.any(|condition| condition.type_ == DISCONNECTED && condition.status == "True"))
}

/// Waits until the operator is heard of again; answers when it was last, by the control plane's clock.
async fn seen_again(stack: &Stack, back: Timestamp) -> anyhow::Result<Timestamp> {
    let first = Cell::new(None);
    until("the operator comes back", || async {
        let cluster = stack.client.cluster(&stack.cluster).await?;
        let seen = cluster.last_seen.filter(|seen| *seen >= back);
        first.set(seen.filter(|_| cluster.presence == Presence::Connected));
        Ok(first.get().is_some())
    })
    .await?;
    first.get().context("the operator did not come back")
}

/// The operator's first word: whoever asks when it was seen may come later than that.
async fn first_word(stack: &Stack, back: Timestamp, seen: Timestamp) -> anyhow::Result<Timestamp> {
    let events = stack.client.events(&stack.cluster, "", EVENTS).await?.items;
    let first = events.iter().map(|event| event.received_at).filter(|at| *at >= back).min();
    Ok(first.map_or(seen, |first| first.min(seen)))
}

/// Waits until the control plane shows what is.
async fn truth_is_shown(testbed: &Testbed, stack: &Stack, namespace: &str) -> anyhow::Result<()> {
    let (admin, namespaces, last) = (testbed.admin(), [namespace.to_owned()], Cell::new(Vec::new()));
    let shown = until("the control plane shows what is", || async {
        let is: Vec<_> =
            truth(&admin, &namespaces).await?.into_iter().map(|(standing, _)| standing).collect();
        let differences = differences(&shown(&stack.client, &stack.cluster, &namespaces).await?, &is);
        let equal = differences.is_empty();
        last.set(differences);
        Ok(equal)
    });
    shown.await.with_context(|| format!("shown otherwise than it is: {:#?}", last.take()))
}

/// Status → jobs: everything about the change was received before the job was handed out.
async fn prove_order(
    stack: &Stack,
    namespace: &str,
    job: &JobId,
    back: Timestamp,
    reconnected: Timestamp,
) -> anyhow::Result<()> {
    let events = stack.client.events(&stack.cluster, "", EVENTS).await?.items;
    let is_about = |event: &EventRecord| {
        let object = &event.resource_ref;
        let deleted = object.name == DELETED && event.kind == OBJECT_DELETED;
        object.namespace == namespace && event.received_at >= back && (deleted || object.name == CHANGED)
    };
    let told: Vec<Timestamp> = events.into_iter().filter(is_about).map(|event| event.received_at).collect();
    let status = told.iter().max().copied().context("no event reported the changes")?;
    let ended = follow(stack, job, "late").await?;
    let leased = ended.timeline.iter().find(|entry| entry.state == JobState::Leased);
    let leased = leased.context("the job was never delivered")?.at;
    detail("by the control plane's clock:");
    let mut order = [
        (ended.created_at, "the job was enqueued"),
        (reconnected, "the operator was back"),
        (status, "the last change was reported"),
        (leased, "the job was delivered"),
    ];
    order.sort_unstable();
    for (at, what) in order {
        detail(&format!("  {at} {what}"));
    }
    ensure!(status <= leased, "a job was delivered before the status was reported");
    ensure!(ended.outcome == Some(Outcome::Succeeded), "late: {:?} {}", ended.outcome, ended.error);
    Ok(())
}

/// Looks until it is so.
async fn until<F: Future<Output = anyhow::Result<bool>>>(
    what: &str,
    mut is_so: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let look = async {
        while !is_so().await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, look).await.with_context(|| format!("waited in vain until {what}"))?
}
