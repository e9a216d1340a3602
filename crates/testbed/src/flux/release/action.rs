//! Having Helm install or upgrade, and telling the status piece by piece what comes of it.

use std::time::Duration;

use jiff::Timestamp;

use super::super::Flux;
use super::super::helm::{HelmFailure, ReleaseName, Revision};
use super::super::objects::{Extra, HelmRelease, duration_or, requested_at};
use super::super::plan::{Action, Wanted};
use super::super::queue::Key;
use super::super::status::{self, At};
use super::{DEFAULT_TIMEOUT, Prepared, Writer, newest_stored};

/// What came of a run of Helm.
struct Outcome {
    result: Result<(), HelmFailure>,
    /// Helm's revisions after it; none when nothing was ever stored.
    revisions: Vec<Revision>,
    /// Helm got far enough to store a new revision.
    left_a_revision: bool,
    took: Duration,
}

/// Runs Helm and says what came of it; tells whether that is final for this generation.
pub(super) async fn run(
    flux: &Flux,
    key: &Key,
    release: &HelmRelease,
    writer: &mut Writer,
    at: At,
    action: Action,
    prepared: &Prepared,
) -> anyhow::Result<bool> {
    let timeout = duration_or(release.spec.timeout.as_deref(), DEFAULT_TIMEOUT);
    status::running(&mut writer.status, at, action, timeout);
    writer.write().await?;
    let extra = Extra::of(release, &writer.status);
    if extra.reset {
        status::clear_failures(&mut writer.status);
    }
    extra.note(&mut writer.status, requested_at(release).as_ref());
    status::attempting(&mut writer.status, at, &prepared.wanted, &key.namespace);
    writer.write().await?;
    let outcome = helm(flux, key, action, prepared, timeout).await?;
    let at = At { now: Timestamp::now(), ..at };
    tell(key, writer, at, action, &prepared.wanted, &outcome).await
}

async fn helm(
    flux: &Flux,
    key: &Key,
    action: Action,
    prepared: &Prepared,
    timeout: Duration,
) -> anyhow::Result<Outcome> {
    let before = newest_stored(flux, key).await?.map(|stored| stored.version);
    let values = (flux.store.scratch(), prepared.values.inputs());
    let name = ReleaseName { namespace: &key.namespace, name: &key.name };
    let started = Timestamp::now();
    let result = flux.helm.act(action, name, &prepared.chart, values, timeout).await;
    let took = Timestamp::now().duration_since(started).unsigned_abs();
    tracing::info!(
        namespace = key.namespace,
        release = key.name,
        action = action.word(),
        failed = result.is_err(),
        "Flux stand-in: helm ran"
    );
    let after = newest_stored(flux, key).await?.map(|stored| stored.version);
    let revisions = if after.is_some() { flux.helm.history(name).await? } else { Vec::new() };
    Ok(Outcome { result, revisions, left_a_revision: after > before, took })
}

/// Flux's order: the conditions, the history with the counters, then that it is over.
async fn tell(
    key: &Key,
    writer: &mut Writer,
    at: At,
    action: Action,
    wanted: &Wanted,
    outcome: &Outcome,
) -> anyhow::Result<bool> {
    let Outcome { result, revisions, left_a_revision, took } = outcome;
    let of = format!("release {}/{}", key.namespace, key.name);
    let chart = format!("chart {}@{}", wanted.chart_name, wanted.chart_version);
    match result {
        Ok(()) => {
            let revision = revisions.iter().map(|revision| revision.revision).max().unwrap_or_default();
            let message = format!("Helm {} succeeded for {of}.v{revision} with {chart}", action.word());
            status::succeeded(&mut writer.status, at, action, &message);
        }
        Err(failure) => {
            let message = format!("Helm {} failed for {of} with {chart}: {failure}", action.word());
            status::failed(&mut writer.status, at, action, &message);
        }
    }
    writer.write().await?;

    if *left_a_revision {
        let of = (key.namespace.as_str(), key.name.as_str());
        writer.status.history = status::history(&writer.status.history, revisions, wanted, action, of);
    }
    match result {
        Ok(()) => status::clear_failures(&mut writer.status),
        Err(_) => status::count_failure(&mut writer.status, action, *left_a_revision),
    }
    writer.status.last_attempted_release_action = Some(action.word().to_owned());
    writer.status.last_attempted_release_action_duration = Some(format!("{}ms", took.as_millis()));
    writer.write().await?;

    match result {
        Ok(()) => status::in_sync(&mut writer.status, at),
        Err(_) if *left_a_revision => status::exhausted(&mut writer.status, at, action),
        Err(_) => return Ok(false),
    }
    writer.write().await?;
    Ok(true)
}
