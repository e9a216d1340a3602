//! OCIRepository: a chart in an OCI registry, by tag or digest.

use kube::api::ListParams;

use super::super::Flux;
use super::super::fetch::OciAddress;
use super::super::objects::{HelmRelease, OCIRepository, OCIRepositorySpec, SourceStatus};
use super::super::queue::{Key, Kind};
use super::super::status::SourceFailure;
use super::{Fetched, Schedule, Source};

impl Source for OCIRepository {
    fn schedule(&self) -> Schedule<'_> {
        Schedule { suspended: self.spec.suspend, interval: self.spec.interval.as_deref() }
    }

    fn status(&self) -> Option<&SourceStatus> {
        self.status.as_ref()
    }

    async fn fetch(
        &self,
        flux: &Flux,
        _: &Key,
        status: &mut SourceStatus,
    ) -> anyhow::Result<Result<Fetched, SourceFailure>> {
        let fetched = pull(flux, &self.spec).await;
        if fetched.is_ok() {
            status.observed_layer_selector.clone_from(&self.spec.layer_selector);
        }
        Ok(fetched.map_err(|message| SourceFailure {
            reason: "OCIArtifactPullFailed",
            message,
            terminal: false,
        }))
    }

    async fn users(flux: &Flux, key: &Key) -> anyhow::Result<Vec<Key>> {
        let releases = flux.api::<HelmRelease>(&key.namespace).list(&ListParams::default()).await?;
        let uses = |release: &HelmRelease| {
            release
                .spec
                .chart_ref
                .as_ref()
                .is_some_and(|chart| chart.kind == "OCIRepository" && chart.name == key.name)
        };
        Ok(releases
            .iter()
            .filter(|release| uses(release))
            .map(|release| Key::of(Kind::HelmRelease, release))
            .collect())
    }
}

async fn pull(flux: &Flux, spec: &OCIRepositorySpec) -> Result<Fetched, String> {
    let wanted = spec.reference.clone().unwrap_or_default();
    if wanted.semver.is_some() && wanted.digest.is_none() {
        return Err("ref.semver is not served by the Flux stand-in".to_owned());
    }
    let address = spec.url.strip_prefix("oci://").and_then(|rest| rest.split_once('/'));
    let (host, repository) =
        address.ok_or_else(|| format!("'{}' is no address of an OCI repository", spec.url))?;
    let tag = wanted.tag.unwrap_or_else(|| "latest".to_owned());
    let at = OciAddress {
        base: &format!("{}://{host}", if spec.insecure { "http" } else { "https" }),
        repository,
        reference: wanted.digest.as_ref().unwrap_or(&tag),
    };
    let layer_type = spec.layer_selector.as_ref().and_then(|selector| selector.media_type.as_deref());
    let chart = flux.http.oci_chart(&at, layer_type).await?;
    let revision =
        if wanted.digest.is_some() { chart.digest.clone() } else { format!("{tag}@{}", chart.digest) };
    Ok(Fetched {
        found: format!("new revision '{revision}'"),
        stored: format!("stored artifact for digest '{revision}'"),
        reason: "Succeeded",
        outdated: "NewRevision",
        metadata: Some(chart.annotations),
        bytes: chart.bytes,
        revision,
    })
}
