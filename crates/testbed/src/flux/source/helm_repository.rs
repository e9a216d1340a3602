//! HelmRepository: the repository's index is its artifact.

use kube::api::ListParams;
use reqwest::Url;

use super::super::Flux;
use super::super::access::{Access, Named};
use super::super::objects::{HelmChart, HelmRepository, HelmRepositorySpec, SourceStatus};
use super::super::queue::{Key, Kind};
use super::super::status::SourceFailure;
use super::super::store::sha256;
use super::index::Index;
use super::{Fetched, Schedule, Source};

impl Source for HelmRepository {
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
        _: &mut SourceStatus,
    ) -> anyhow::Result<Result<Fetched, SourceFailure>> {
        let access = match access(flux, key, self).await? {
            Ok(access) => access,
            Err(failure) => return Ok(Err(failure)),
        };
        Ok(index(flux, &self.spec.url, &access).await.map_err(|error| SourceFailure {
            reason: "Failed",
            message: format!("failed to fetch Helm repository index: {error}"),
            terminal: false,
        }))
    }

    async fn users(flux: &Flux, key: &Key) -> anyhow::Result<Vec<Key>> {
        let charts = flux.api::<HelmChart>(&key.namespace).list(&ListParams::default()).await?;
        let uses = |chart: &HelmChart| {
            chart.spec.source_ref.kind == "HelmRepository" && chart.spec.source_ref.name == key.name
        };
        Ok(charts.iter().filter(|chart| uses(chart)).map(|chart| Key::of(Kind::HelmChart, chart)).collect())
    }
}

/// What the repository asks for.
pub(super) async fn access(
    flux: &Flux,
    key: &Key,
    repository: &HelmRepository,
) -> anyhow::Result<Result<Access, SourceFailure>> {
    let HelmRepositorySpec { secret_ref, cert_secret_ref, .. } = &repository.spec;
    let (credentials, certificates) = (secret_ref.as_ref(), cert_secret_ref.as_ref());
    Named { namespace: &key.namespace, credentials, certificates, registry: None }.read(flux).await
}

async fn index(flux: &Flux, repository: &str, access: &Access) -> Result<Fetched, String> {
    let url = format!("{}/index.yaml", repository.trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
    let bytes = flux.http.get(url, access).await?;
    Index::parse(&bytes)?;
    let revision = sha256(&bytes);
    Ok(Fetched {
        found: format!("new index revision '{revision}'"),
        stored: format!("stored artifact: revision '{revision}'"),
        reason: "Succeeded",
        outdated: "NewRevision",
        metadata: None,
        bytes,
        revision,
    })
}
