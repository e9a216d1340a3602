//! The other half of the promise: an application that cannot work says why, at once, and never looks green.

use super::{
    application::{Application, Source, condition, follow, seen_at_control_plane},
    tour::detail,
};
use crate::{
    Testbed,
    stack::{Stack, release_is_named},
};
use anyhow::{Context as _, ensure};
use std::{
    future::Future,
    time::{Duration, Instant},
};
use vworkspace_protocol::{ConditionStatus, Outcome, condition::types::READY};

/// Flux looks at a failing source again after 30 s; only then its HelmRelease names the cause.
const RELEASE_NAMES_WITHIN: Duration = Duration::from_secs(60);
/// What Flux's HelmChart says of a chart that is not in the repository.
const CHART_MISSING: &str = "InvalidChartReference";
/// How the HelmRelease words the same cause.
const CHART_MISSING_MESSAGE: &str = "invalid chart reference";

/// Deploys both at the same time.
pub async fn run(testbed: &Testbed, stack: &Stack, namespace: &str) -> anyhow::Result<()> {
    let (missing, stuck) =
        tokio::join!(chart_missing(testbed, stack, namespace), never_starts(testbed, stack, namespace));
    missing.and(stuck)
}

/// Its source's own reason is at the control plane before the HelmRelease names it, and fails the job long before its
/// deadline.
async fn chart_missing(testbed: &Testbed, stack: &Stack, namespace: &str) -> anyhow::Result<()> {
    let application = Application {
        name: "typo",
        source: Source::Helm(testbed.charts_url()),
        chart: "helo",
        version: "1.0.0",
        timeout: "1m",
        deadline: Duration::from_secs(600),
    };
    let start = Instant::now();
    let job = application.enqueue(stack, namespace).await?;
    let (job, ours, flux) = tokio::try_join!(
        follow(stack, &job, application.name),
        when(start, || reason_is_told(stack, namespace, application.name)),
        when(start, || release_is_named_in(testbed, namespace, application.name)),
    )?;
    detail(&format!(
        "{}: cause at the control plane after {:.1} s, on the HelmRelease itself after {:.1} s",
        application.name,
        ours.as_secs_f64(),
        flux.as_secs_f64()
    ));
    ensure!(ours < flux, "the HelmRelease named the cause first");
    ensure!(job.outcome == Some(Outcome::Failed), "{}: {:?}", application.name, job.outcome);
    ensure!(job.error.starts_with(CHART_MISSING), "it waited for its deadline: {}", job.error);
    detail(&format!("{}: failed, as it should: {}", application.name, job.error));
    Ok(())
}

/// Its pods are never scheduled: Helm gives up, the release stalls, the job fails before its deadline.
async fn never_starts(testbed: &Testbed, stack: &Stack, namespace: &str) -> anyhow::Result<()> {
    let application = Application {
        name: "stuck",
        source: Source::Helm(testbed.charts_url()),
        chart: "hello",
        version: "2.0.0",
        timeout: "10s",
        deadline: Duration::from_secs(120),
    };
    let job = application.deploy(stack, namespace).await?;
    ensure!(job.outcome == Some(Outcome::Failed), "{}: {:?}", application.name, job.outcome);
    ensure!(!job.error.contains("DeadlineExceeded"), "it waited for its deadline: {}", job.error);
    detail(&format!("{}: failed, as it should: {}", application.name, job.error));
    Ok(())
}

async fn reason_is_told(stack: &Stack, namespace: &str, name: &str) -> anyhow::Result<bool> {
    let resource = seen_at_control_plane(stack, namespace, name).await?;
    let ready = resource.as_ref().and_then(|resource| condition(resource, READY));
    Ok(ready.is_some_and(|ready| ready.status == ConditionStatus::False && ready.reason == CHART_MISSING))
}

async fn release_is_named_in(testbed: &Testbed, namespace: &str, name: &str) -> anyhow::Result<bool> {
    release_is_named(&testbed.admin(), namespace, name, CHART_MISSING_MESSAGE).await
}

/// How long after `start` it became true.
async fn when<F: Future<Output = anyhow::Result<bool>>>(
    start: Instant,
    is_true: impl Fn() -> F,
) -> anyhow::Result<Duration> {
    tokio::time::timeout(RELEASE_NAMES_WITHIN, async {
        while !is_true().await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(start.elapsed())
    })
    .await
    .context("it never became true")?
}
