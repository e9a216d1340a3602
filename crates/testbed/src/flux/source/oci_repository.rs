//! OCIRepository: a chart in an OCI registry, by tag or digest.

use kube::api::ListParams;

use super::super::Flux;
use super::super::access::{Access, Named};
use super::super::fetch::OciAddress;
use super::super::objects::{HelmRelease, OCIRepository, OCIRepositorySpec, SourceStatus};
use super::super::queue::{Key, Kind};
use super::super::status::SourceFailure;
use super::index::newest_tag;
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
        key: &Key,
        status: &mut SourceStatus,
    ) -> anyhow::Result<Result<Fetched, SourceFailure>> {
        let access = match access(flux, key, &self.spec).await? {
            Ok(access) => access,
            Err(failure) => return Ok(Err(failure)),
        };
        let fetched = pull(flux, &self.spec, &access).await;
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

/// What the registry asks for.
async fn access(
    flux: &Flux,
    key: &Key,
    spec: &OCIRepositorySpec,
) -> anyhow::Result<Result<Access, SourceFailure>> {
    let registry = address(&spec.url).map(|(registry, _)| registry);
    let (credentials, certificates) = (spec.secret_ref.as_ref(), spec.cert_secret_ref.as_ref());
    let named = Named {
        namespace: &key.namespace,
        credentials,
        certificates,
        registry: Some(registry.unwrap_or_default()),
    };
    named.read(flux).await
}

/// Host and repository.
fn address(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("oci://")?.split_once('/')
}

async fn pull(flux: &Flux, spec: &OCIRepositorySpec, access: &Access) -> Result<Fetched, String> {
    let wanted = spec.reference.clone().unwrap_or_default();
    let address = address(&spec.url);
    let (host, repository) =
        address.ok_or_else(|| format!("'{}' is no address of an OCI repository", spec.url))?;
    let mut tag = wanted.tag.unwrap_or_else(|| "latest".to_owned());
    let base = format!("{}://{host}", if spec.insecure { "http" } else { "https" });
    if let Some(range) = wanted.semver.filter(|_| wanted.digest.is_none()) {
        let at = OciAddress { base: &base, repository, reference: "", access };
        let tags = flux.http.oci_tags(&at).await;
        let found = tags.and_then(|tags| newest_tag(tags, &range));
        tag = found.map_err(|error| format!("failed to determine the artifact tag: {error}"))?;
    }
    let reference = wanted.digest.as_ref().unwrap_or(&tag);
    let at = OciAddress { base: &base, repository, reference, access };
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
