//! After the storm: waits until nothing is left to do, and reads what became of everything.

use super::{
    history::History,
    load::open_jobs,
    nemesis::{self, Tally},
    recorder::Recorder,
};
use crate::{
    Testbed,
    stack::Stack,
    view::{self, Standing, differences},
};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};
use vworkspace_crds::key::{DEFAULT_NAMESPACE, JOURNAL, JOURNAL_OF_JOBS};
use vworkspace_protocol::{JobId, admin::Job};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Most open jobs that are named.
const MOST_NAMED: usize = 20;
/// Jobs read at the same time.
const READ_AT_ONCE: usize = 8;

/// Both sides, when nothing was left to do.
pub(super) struct Settled {
    /// How long that took.
    pub(super) after: Duration,
    /// What is still open or wrong; empty, unless the patience was over.
    pub(super) left: Vec<String>,
    /// As the control plane shows it.
    pub(super) shown: Vec<Standing>,
    /// As it is in the cluster.
    pub(super) truth: Vec<Standing>,
}

/// Waits, at most `patience`, until no job is open, the journal is empty, the control plane shows what is, and the
/// recorder has seen it all.
pub(super) async fn settle(
    testbed: &Testbed,
    stack: &Stack,
    recorder: &Recorder,
    namespaces: &[String],
    tally: &Tally,
    patience: Duration,
) -> anyhow::Result<Settled> {
    let (start, admin) = (Instant::now(), testbed.admin());
    loop {
        nemesis::keep_operator(stack, tally)?;
        let truth = view::truth(&admin, namespaces).await?;
        let objects: Vec<_> =
            truth.iter().map(|(is, generation)| (is.target.clone(), is.uid.clone(), *generation)).collect();
        let truth: Vec<Standing> = truth.into_iter().map(|(is, _)| is).collect();
        let shown = view::shown(&stack.client, &stack.cluster, namespaces).await?;
        let mut left: Vec<String> = differences(&shown, &truth)
            .into_iter()
            .map(|difference| format!("{}: {}", difference.target, difference.what))
            .collect();
        let open = open_jobs(&stack.client, &stack.cluster, MOST_NAMED).await?;
        left.extend(open.iter().map(|id| format!("job {id} is open")));
        left.extend(
            journal(&admin).await?.into_iter().map(|name| format!("the journal holds Secret {name}")),
        );
        let recorded = recorder.last().into_iter().map(|(target, last)| (target, last.uid, last.generation));
        if recorded.ne(sorted(objects)) {
            left.push("the recorder has not seen everything".to_owned());
        }
        if left.is_empty() || start.elapsed() > patience {
            return Ok(Settled { after: start.elapsed(), left, shown, truth });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Every acknowledged job with its timeline; those the control plane does not know are missing.
pub(super) async fn jobs(stack: &Stack, history: &History) -> anyhow::Result<BTreeMap<JobId, Job>> {
    let ids: Vec<JobId> = history.acknowledged().into_keys().collect();
    let read = stream::iter(ids).map(|id| async move {
        match stack.client.job(&id).await {
            Ok(job) => Ok(Some((id, job))),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read job {id}")),
        }
    });
    let read: Vec<_> = read.buffer_unordered(READ_AT_ONCE).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

async fn journal(admin: &Client) -> anyhow::Result<Vec<String>> {
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), DEFAULT_NAMESPACE);
    let labelled = ListParams::default().labels(&format!("{JOURNAL}={JOURNAL_OF_JOBS}"));
    Ok(secrets.list(&labelled).await?.into_iter().map(|secret| secret.name_any()).collect())
}
