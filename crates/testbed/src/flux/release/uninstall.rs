//! A release that is deleted: Helm uninstalls it, its HelmChart goes, then the finalizer.

use std::sync::Arc;
use std::time::Duration;

use kube::api::DeleteParams;

use super::super::Flux;
use super::super::helm::ReleaseName;
use super::super::objects::{HelmChart, HelmRelease, duration_or};
use super::super::queue::{Key, Next};
use super::super::status::{self, At};
use super::super::write::remove_finalizer;
use super::{DEFAULT_TIMEOUT, Writer, newest_stored};

/// The real controller needs this long for an uninstall, and readers rely on seeing the release being deleted: the
/// recording holds that state for 413 ms, where the `helm` program alone is done in 150.
const UNINSTALL_TAKES: Duration = Duration::from_millis(400);

/// Uninstalls what is installed and lets the object go. A suspended release is left as it is.
pub(super) async fn run(
    flux: &Arc<Flux>,
    key: &Key,
    release: &HelmRelease,
    writer: &mut Writer,
    at: At,
) -> anyhow::Result<Next> {
    if !release.spec.suspend {
        if newest_stored(flux, key).await?.is_some() && !uninstall(flux, key, release, writer, at).await? {
            return Ok(Next::Retry);
        }
        delete_chart(flux, writer).await?;
    }
    remove_finalizer(&flux.api::<HelmRelease>(&key.namespace), release).await?;
    Ok(Next::Wait)
}

async fn uninstall(
    flux: &Flux,
    key: &Key,
    release: &HelmRelease,
    writer: &mut Writer,
    at: At,
) -> anyhow::Result<bool> {
    let name = ReleaseName { namespace: &key.namespace, name: &key.name };
    let timeout = duration_or(release.spec.timeout.as_deref(), DEFAULT_TIMEOUT);
    let (outcome, ()) = tokio::join!(flux.helm.uninstall(name, timeout), tokio::time::sleep(UNINSTALL_TAKES));
    tracing::info!(
        namespace = key.namespace,
        release = key.name,
        action = "uninstall",
        failed = outcome.is_err(),
        "Flux stand-in: helm ran"
    );
    let newest = writer.status.history.first();
    let what = newest.map_or_else(String::new, |newest| {
        format!(".v{} with chart {}@{}", newest.version, newest.chart_name, newest.chart_version)
    });
    let of = format!("for release {}/{}{what}", key.namespace, key.name);
    match &outcome {
        Ok(()) => status::uninstalled(&mut writer.status, at, Ok(&format!("Helm uninstall succeeded {of}"))),
        Err(failure) => status::uninstalled(
            &mut writer.status,
            at,
            Err(&format!("Helm uninstall failed {of}: {failure}")),
        ),
    }
    writer.write().await?;
    Ok(outcome.is_ok())
}

/// Deletes the HelmChart that was made for the release.
async fn delete_chart(flux: &Flux, writer: &Writer) -> anyhow::Result<()> {
    let Some((namespace, name)) = writer.status.helm_chart.as_deref().and_then(|chart| chart.split_once('/'))
    else {
        return Ok(());
    };
    match flux.api::<HelmChart>(namespace).delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
