//! Flux's objects as written: sources `v1`, releases `v2` (contract, section 7).

use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;
use serde_json::{Map, Value};
use vworkspace_crds::application_instance::SecretName;

/// Media type of the layer that holds a Helm chart in an OCI artifact.
const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// The kinds of Flux objects that matter to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FluxKind {
    /// A Helm release.
    HelmRelease,
    /// A chart that Flux makes from a HelmRepository; only read.
    HelmChart,
    /// A classic chart repository.
    HelmRepository,
    /// An OCI registry's repository.
    OciRepository,
}

impl FluxKind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::HelmRelease, Self::HelmChart, Self::HelmRepository, Self::OciRepository];

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HelmRelease => "HelmRelease",
            Self::HelmChart => "HelmChart",
            Self::HelmRepository => "HelmRepository",
            Self::OciRepository => "OCIRepository",
        }
    }

    /// Where the API server serves it.
    pub fn resource(self) -> ApiResource {
        let (group, version, plural) = match self {
            Self::HelmRelease => ("helm.toolkit.fluxcd.io", "v2", "helmreleases"),
            Self::HelmChart => ("source.toolkit.fluxcd.io", "v1", "helmcharts"),
            Self::HelmRepository => ("source.toolkit.fluxcd.io", "v1", "helmrepositories"),
            Self::OciRepository => ("source.toolkit.fluxcd.io", "v1", "ocirepositories"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, self.as_str()), plural)
    }
}

/// Spec of a source.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SourceSpec {
    /// A classic chart repository.
    HelmRepository {
        /// How often its index is fetched.
        interval: &'static str,
        /// Where it is.
        url: String,
        /// What it asks for.
        #[serde(flatten)]
        secrets: SourceSecrets,
    },
    /// A chart in an OCI registry.
    OciRepository(OciRepositorySpec),
}

impl SourceSpec {
    /// The kind it belongs to.
    pub const fn kind(&self) -> FluxKind {
        match self {
            Self::HelmRepository { .. } => FluxKind::HelmRepository,
            Self::OciRepository(_) => FluxKind::OciRepository,
        }
    }
}

/// Spec of an OCIRepository.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OciRepositorySpec {
    /// How often the tag is looked up.
    pub interval: &'static str,
    /// `oci://host/path/chart`.
    pub url: String,
    /// Which artifact.
    #[serde(rename = "ref")]
    pub reference: OciReference,
    /// Which layer of it.
    pub layer_selector: LayerSelector,
    /// Speak plain HTTP.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// What the registry asks for.
    #[serde(flatten)]
    pub secrets: SourceSecrets,
}

/// Secrets of a private source.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSecrets {
    /// Holds credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
    /// Holds a CA, a client certificate, or both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretName>,
}

/// Which artifact of a repository.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OciReference {
    /// By tag.
    Tag(String),
    /// By the newest version in a range.
    Semver(String),
}

/// Which layer of an artifact.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerSelector {
    /// By media type.
    pub media_type: &'static str,
    /// `copy` keeps the archive as it is, as a chart must be.
    pub operation: &'static str,
}

impl LayerSelector {
    /// The layer that holds a Helm chart.
    pub const CHART: Self = Self { media_type: CHART_LAYER, operation: "copy" };
}

/// Spec of a HelmRelease.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HelmReleaseSpec {
    /// How often Flux looks by itself.
    pub interval: &'static str,
    /// How long Helm may take.
    pub timeout: String,
    /// Where the chart comes from.
    #[serde(flatten)]
    pub chart: ReleaseChart,
    /// Values written inline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Map<String, Value>>,
    /// Values that Flux reads itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values_from: Vec<ValuesReference>,
}

/// Where a release's chart comes from: exactly one of the two members.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum ReleaseChart {
    /// Flux makes a HelmChart by this template.
    #[serde(rename = "chart")]
    Template {
        /// Its spec.
        spec: ChartTemplate,
    },
    /// An OCIRepository.
    #[serde(rename = "chartRef")]
    Reference(KindAndName),
}

/// Spec of the HelmChart that Flux makes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartTemplate {
    /// Name of the chart.
    pub chart: String,
    /// Version or range.
    pub version: String,
    /// The HelmRepository.
    pub source_ref: KindAndName,
}

/// An object of the same namespace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindAndName {
    /// Kind.
    pub kind: &'static str,
    /// Name.
    pub name: String,
}

/// A key of a Secret or ConfigMap that holds values as YAML.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValuesReference {
    /// `Secret` or `ConfigMap`.
    pub kind: &'static str,
    /// Name of the object.
    pub name: String,
    /// Key within it.
    pub values_key: String,
    /// Where the value goes, as in `helm --set`; absent for a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_path: Option<String>,
    /// The value is exactly that text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub literal: bool,
}
