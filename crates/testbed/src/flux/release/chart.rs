//! The chart of a release: the HelmChart made for it, or the source that `chartRef` names.

use std::path::PathBuf;

use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt as _};
use serde_json::json;

use super::super::Flux;
use super::super::objects::{
    Artifact, ChartTemplate, HelmChart, HelmRelease, OCIRepository, ObjectRef, SourceStatus,
};
use super::super::queue::{Key, Kind};
use super::super::write::FIELD_MANAGER;
use super::{Writer, named};

/// Digits of an OCI artifact's digest that Flux adds to the chart's version.
const DIGEST_DIGITS: usize = 12;

/// A chart that can be installed.
pub(super) struct Chart {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) oci_digest: Option<String>,
    pub(super) file: PathBuf,
}

/// The release's chart, or why it is not there yet in Flux's words.
pub(super) async fn of(
    flux: &Flux,
    key: &Key,
    release: &HelmRelease,
    writer: &mut Writer,
) -> anyhow::Result<Result<Chart, String>> {
    match (&release.spec.chart_ref, &release.spec.chart) {
        (Some(reference), _) => referenced(flux, key, reference).await,
        (None, Some(template)) => {
            let chart = made_for(flux, key, template).await?;
            writer.status.helm_chart =
                Some(format!("{}/{}", chart.namespace().unwrap_or_default(), chart.name_any()));
            writer.write().await?;
            Ok(from_helm_chart(flux, &chart))
        }
        (None, None) => Ok(Err("the release names no chart".to_owned())),
    }
}

/// Name of the HelmChart that is made for a release.
pub(super) fn name_for(key: &Key) -> String {
    format!("{}-{}", key.namespace, key.name)
}

/// Makes the release's HelmChart or brings it up to date. The answer shows its status as it was before that, so that
/// a chart just changed is never taken for one that is ready.
async fn made_for(flux: &Flux, key: &Key, template: &ChartTemplate) -> anyhow::Result<HelmChart> {
    let spec = &template.spec;
    let namespace = spec.source_ref.namespace.as_deref().unwrap_or(&key.namespace);
    let name = name_for(key);
    let chart = json!({
        "apiVersion": HelmChart::api_version(&()),
        "kind": HelmChart::kind(&()),
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "chart": spec.chart,
            "version": spec.version.as_deref().unwrap_or("*"),
            "interval": spec.interval.as_deref().unwrap_or("10m"),
            "sourceRef": {"kind": spec.source_ref.kind, "name": spec.source_ref.name},
            "reconcileStrategy": "ChartVersion",
        },
    });
    let apply = PatchParams::apply(FIELD_MANAGER).force();
    Ok(flux.api::<HelmChart>(namespace).patch(&name, &apply, &Patch::Apply(chart)).await?)
}

async fn referenced(flux: &Flux, key: &Key, reference: &ObjectRef) -> anyhow::Result<Result<Chart, String>> {
    let ObjectRef { kind, name, namespace } = reference;
    let namespace = namespace.as_deref().unwrap_or(&key.namespace);
    let missing = || format!("could not get Source object: {} not found", named(kind, namespace, name));
    Ok(match kind.as_str() {
        "OCIRepository" => match flux.api::<OCIRepository>(namespace).get_opt(name).await? {
            Some(source) => from_oci_repository(flux, &source),
            None => Err(missing()),
        },
        "HelmChart" => match flux.api::<HelmChart>(namespace).get_opt(name).await? {
            Some(source) => from_helm_chart(flux, &source),
            None => Err(missing()),
        },
        other => Err(format!("chartRef of kind {other} is not served by the Flux stand-in")),
    })
}

fn from_helm_chart(flux: &Flux, chart: &HelmChart) -> Result<Chart, String> {
    let (artifact, file) = ready(flux, Kind::HelmChart, chart, chart.status.as_ref())?;
    Ok(Chart { name: chart.spec.chart.clone(), version: artifact.revision.clone(), oci_digest: None, file })
}

/// The revision of an OCI artifact is `tag@sha256:…`; Flux makes the digest's first digits part of the version.
fn from_oci_repository(flux: &Flux, source: &OCIRepository) -> Result<Chart, String> {
    let (artifact, file) = ready(flux, Kind::OCIRepository, source, source.status.as_ref())?;
    let (tag, digest) = artifact.revision.split_once('@').unwrap_or(("", &artifact.revision));
    let noted = |what: &str| {
        artifact.metadata.as_ref().and_then(|notes| notes.get(&format!("org.opencontainers.image.{what}")))
    };
    let version = noted("version").map_or(tag, String::as_str);
    let digits: String = digest.trim_start_matches("sha256:").chars().take(DIGEST_DIGITS).collect();
    let last_segment = source.spec.url.rsplit('/').next().unwrap_or_default();
    Ok(Chart {
        name: noted("title").map_or(last_segment, String::as_str).to_owned(),
        version: format!("{version}+{digits}"),
        oci_digest: Some(digest.to_owned()),
        file,
    })
}

/// The source's artifact and its file, or why it has none for its present generation.
fn ready<'a, K: Resource<DynamicType = ()>>(
    flux: &Flux,
    kind: Kind,
    source: &K,
    status: Option<&'a SourceStatus>,
) -> Result<(&'a Artifact, PathBuf), String> {
    let key = Key::of(kind, source);
    let not_ready =
        |why: &str| Err(format!("{} is not ready: {why}", named(&K::kind(&()), &key.namespace, &key.name)));
    let observed = status.filter(|status| Some(status.observed_generation.0) == source.meta().generation);
    let Some(status) =
        observed.or_else(|| status.filter(|status| has_failed(status, source.meta().generation)))
    else {
        return not_ready("latest generation of object has not been reconciled");
    };
    if !status.conditions.is_true("Ready") {
        return not_ready(status.conditions.get("Ready").map_or("no condition", |ready| &ready.message));
    }
    match status.artifact.as_ref().map(|artifact| (artifact, flux.store.file(&key, artifact))) {
        Some((artifact, Some(file))) => Ok((artifact, file)),
        Some((_, None)) | None => not_ready("no artifact in storage"),
    }
}

/// Whether the source says that fetching its present generation failed, though it has not observed it for good.
fn has_failed(status: &SourceStatus, generation: Option<i64>) -> bool {
    let ready = status.conditions.get("Ready");
    ready.is_some_and(|ready| ready.status == "False" && ready.observed_generation == generation)
}
