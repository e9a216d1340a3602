//! The helm controller's part: one look at a HelmRelease, in steps.
//!
//! deletion and finalizer → suspended? → chart (`chart.rs`) → values (`values.rs`) → decide (`plan.rs`) → Helm → status.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams};
use kube::{Resource as _, ResourceExt as _};

use super::Flux;
use super::objects::{Extra, HelmRelease, ReleaseStatus, duration_or, requested_at};
use super::plan::{self, Action, Step, Stored, Wanted};
use super::queue::{Key, Next};
use super::status::{self, At};
use super::values::Values;
use super::write::{StatusWriter, add_finalizer};

mod action;
mod chart;
mod uninstall;

/// How long Helm may take when the release does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How often a release is looked at again when it does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How often Flux looks again at a release whose source is not ready (fact 3 of the recordings).
const SOURCE_RETRY: Duration = Duration::from_secs(30);
/// Times that a revision left half done by a killed Helm is forgotten in one look; Helm leaves one.
const FORGET_LIMIT: u32 = 3;

type Writer = StatusWriter<HelmRelease, ReleaseStatus>;

/// A chart file and what it is, with the configuration it is wanted with.
struct Prepared {
    wanted: Wanted,
    chart: PathBuf,
    values: Values,
}

/// Looks at one release.
pub(super) async fn reconcile(flux: &Arc<Flux>, key: &Key) -> anyhow::Result<Next> {
    let api = flux.api::<HelmRelease>(&key.namespace);
    let Some(release) = api.get_opt(&key.name).await? else { return Ok(Next::Gone) };
    let mut writer = StatusWriter::new(api.clone(), &key.name, release.status.clone().unwrap_or_default());
    let at = At { generation: release.meta().generation.unwrap_or_default(), now: Timestamp::now() };
    if release.meta().deletion_timestamp.is_some() {
        return uninstall::run(flux, key, &release, &mut writer, at).await;
    }
    if add_finalizer(&api, &release).await? {
        return Ok(Next::Retry);
    }
    let next = if release.spec.suspend {
        // Flux observes the generation of a suspended release, though nothing of it is applied (fact 7).
        writer.status.observed_generation.0 = at.generation;
        Next::Wait
    } else {
        bring_about(flux, key, &release, &mut writer, at).await?
    };
    if let Some(request) = requested_at(&release) {
        Extra::of(&release, &writer.status).note(&mut writer.status, Some(&request));
        writer.status.last_handled_reconcile_at = Some(request);
    }
    writer.write().await?;
    Ok(next)
}

/// Makes the release what it asks to be, as far as that goes now. The last change of the status is left to be written.
async fn bring_about(
    flux: &Arc<Flux>,
    key: &Key,
    release: &HelmRelease,
    writer: &mut Writer,
    at: At,
) -> anyhow::Result<Next> {
    let mut before = writer.status.clone();
    let extra = Extra::of(release, &before);
    if extra.reset {
        status::clear_failures(&mut before);
    }
    // Helm's reading takes a while, Flux's does not: nothing that passes in Flux may stand here meanwhile.
    let values = Values::of(flux, &key.namespace, &release.spec).await?;
    status::fulfilling(&mut writer.status, at);
    writer.write().await?;
    let chart = match chart::of(flux, key, release, writer).await? {
        Ok(chart) => chart,
        Err(message) => {
            status::not_ready(&mut writer.status, at, "SourceNotReady", &message);
            return Ok(Next::After(SOURCE_RETRY));
        }
    };
    let values = match values {
        Ok(values) => values,
        Err(message) => {
            status::not_ready(&mut writer.status, at, "ValuesError", &message);
            return Ok(Next::Retry);
        }
    };
    let wanted = Wanted {
        chart_name: chart.name,
        chart_version: chart.version,
        oci_digest: chart.oci_digest,
        config_digest: values.digest()?,
    };
    let step = match decide(flux, key, &before, at, &wanted).await? {
        Step::InSync if extra.force => Step::Run(Action::Upgrade),
        step => step,
    };
    let again = Next::After(duration_or(release.spec.interval.as_deref(), DEFAULT_INTERVAL));
    match step {
        Step::Run(action) => {
            let prepared = Prepared { wanted, chart: chart.file, values };
            if !action::run(flux, key, release, writer, at, action, &prepared).await? {
                return Ok(Next::Retry);
            }
        }
        Step::InSync => {
            status::in_sync(&mut writer.status, at);
            writer.write().await?;
            status::clear_failures(&mut writer.status);
            writer.status.last_attempted_generation = Some(at.generation);
        }
        Step::Exhausted(action) => {
            status::exhausted(&mut writer.status, at, action);
            writer.write().await?;
        }
        Step::Forget(version) => anyhow::bail!("revision {version} of {key:?} stays half done"),
    }
    writer.status.observed_generation.0 = at.generation;
    Ok(again)
}

/// Decides what to do; forgets what a killed Helm left half done first, which Helm itself would refuse to touch.
async fn decide(
    flux: &Flux,
    key: &Key,
    before: &ReleaseStatus,
    at: At,
    wanted: &Wanted,
) -> anyhow::Result<Step> {
    for _ in 0..FORGET_LIMIT {
        let stored = newest_stored(flux, key).await?;
        let Step::Forget(version) = plan::next_step(before, at.generation, stored.as_ref(), wanted) else {
            return Ok(plan::next_step(before, at.generation, stored.as_ref(), wanted));
        };
        let record = format!("sh.helm.release.v1.{}.v{version}", key.name);
        tracing::warn!(
            record,
            namespace = key.namespace,
            "Flux stand-in: forgetting a revision that a killed Helm left half done"
        );
        flux.api::<Secret>(&key.namespace).delete(&record, &DeleteParams::default()).await?;
    }
    anyhow::bail!("the records of release {key:?} stay half done")
}

/// The newest revision in Helm's storage, by the labels of its records.
async fn newest_stored(flux: &Flux, key: &Key) -> anyhow::Result<Option<Stored>> {
    let records = ListParams::default().labels(&format!("owner=helm,name={}", key.name));
    let records = flux.api::<Secret>(&key.namespace).list_metadata(&records).await?;
    let stored = records.iter().filter_map(|record| {
        let version = record.labels().get("version")?.parse().ok()?;
        Some(Stored { version, status: record.labels().get("status")?.clone() })
    });
    Ok(stored.max_by_key(|stored| stored.version))
}

/// Flux's word for an object in a message.
fn named(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind} '{namespace}/{name}'")
}
