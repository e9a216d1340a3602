//! HelmChart: one chart of a repository, picked from the index that the repository stored.

use kube::ResourceExt as _;
use kube::api::ListParams;
use reqwest::Url;

use super::super::Flux;
use super::super::access::Access;
use super::super::objects::{HelmChart, HelmRelease, HelmRepository, SourceStatus};
use super::super::queue::{Key, Kind};
use super::super::status::SourceFailure;
use super::index::{Entry, Index};
use super::{Fetched, Schedule, Source, helm_repository};

impl Source for HelmChart {
    fn schedule(&self) -> Schedule<'_> {
        Schedule { suspended: self.spec.suspend, interval: self.spec.interval.as_deref() }
    }

    fn status(&self) -> Option<&SourceStatus> {
        self.status.as_ref()
    }

    async fn fetch(
        &self,
        flux: &Flux,
        key: &Key,
        status: &mut SourceStatus,
    ) -> anyhow::Result<Result<Fetched, SourceFailure>> {
        let repository = &self.spec.source_ref.name;
        if self.spec.source_ref.kind != "HelmRepository" {
            let message =
                format!("source kind '{}' is not served by the Flux stand-in", self.spec.source_ref.kind);
            return Ok(Err(invalid(message)));
        }
        let Some(repository) = flux.api::<HelmRepository>(&key.namespace).get_opt(repository).await? else {
            let message = format!("failed to get source: helmrepositories \"{repository}\" not found");
            return Ok(Err(SourceFailure { reason: "SourceUnavailable", message, terminal: false }));
        };
        let Some((revision, index)) = stored_index(flux, &repository).await? else {
            let message =
                format!("no artifact available for HelmRepository source '{}'", repository.name_any());
            return Ok(Err(SourceFailure { reason: "NoSourceArtifact", message, terminal: false }));
        };
        status.observed_source_artifact_revision = Some(revision);
        let entry = match Index::parse(&index)
            .and_then(|index| index.pick(&self.spec.chart, self.spec.version.as_deref()).cloned())
        {
            Ok(entry) => entry,
            Err(why) => {
                return Ok(Err(invalid(format!(
                    "invalid chart reference: failed to get chart version for remote reference: {why}"
                ))));
            }
        };
        let access = match helm_repository::access(flux, key, &repository).await? {
            Ok(access) => access,
            Err(failure) => return Ok(Err(failure)),
        };
        let fetched = pull(flux, (&self.spec.chart, &repository.spec.url), entry, &access).await;
        if fetched.is_ok() {
            status.observed_chart_name = Some(self.spec.chart.clone());
        }
        Ok(fetched.map_err(|why| SourceFailure {
            reason: "ChartPullError",
            message: format!("chart pull error: failed to download chart for remote reference: {why}"),
            terminal: false,
        }))
    }

    async fn users(flux: &Flux, key: &Key) -> anyhow::Result<Vec<Key>> {
        let releases = flux.api::<HelmRelease>(&key.namespace).list(&ListParams::default()).await?;
        let own = format!("{}/{}", key.namespace, key.name);
        let uses = |release: &HelmRelease| {
            let made_for =
                release.status.as_ref().and_then(|status| status.helm_chart.as_ref()) == Some(&own);
            made_for
                || release
                    .spec
                    .chart_ref
                    .as_ref()
                    .is_some_and(|chart| chart.kind == "HelmChart" && chart.name == key.name)
        };
        Ok(releases
            .iter()
            .filter(|release| uses(release))
            .map(|release| Key::of(Kind::HelmRelease, release))
            .collect())
    }
}

/// Revision and bytes of the index that the repository stored; `None` while it has none.
async fn stored_index(flux: &Flux, repository: &HelmRepository) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let Some(artifact) = repository.status.as_ref().and_then(|status| status.artifact.as_ref()) else {
        return Ok(None);
    };
    let Some(file) = flux.store.file(&Key::of(Kind::HelmRepository, repository), artifact) else {
        return Ok(None);
    };
    Ok(Some((artifact.revision.clone(), tokio::fs::read(file).await?)))
}

async fn pull(
    flux: &Flux,
    (chart, repository): (&str, &str),
    entry: Entry,
    access: &Access,
) -> Result<Fetched, String> {
    let base = format!("{}/", repository.trim_end_matches('/'));
    let address = entry.urls.first().ok_or("the index names no address")?;
    let url = Url::parse(&base)
        .and_then(|base| base.join(address))
        .map_err(|error| format!("{address}: {error}"))?;
    let bytes = flux.http.get(url, access).await?;
    let message = format!("pulled '{chart}' chart with version '{}'", entry.version);
    Ok(Fetched {
        found: message.clone(),
        stored: message,
        reason: "ChartPullSucceeded",
        outdated: "NewChart",
        metadata: None,
        bytes,
        revision: entry.version,
    })
}

const fn invalid(message: String) -> SourceFailure {
    SourceFailure { reason: "InvalidChartReference", message, terminal: true }
}
