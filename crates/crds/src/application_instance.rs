//! ApplicationInstance: one application a tenant wants in this cluster, installed by Helm through Flux.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vworkspace_rules::address;

/// What is wanted (reference contract, section 6.1; additions in contract, section 7).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "apps.vworkspace.io",
    version = "v1alpha1",
    kind = "ApplicationInstance",
    plural = "applicationinstances",
    singular = "applicationinstance",
    shortname = "appinst",
    namespaced,
    status = "ApplicationInstanceStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Chart","type":"string","jsonPath":".spec.chart.name"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.chart.version"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = Rule::new("self.mode != 'managed' || self.appRef.catalogId == 'seaweedfs' || (has(self.chart) && has(self.release))").message("a managed instance needs spec.chart and spec.release"))]
#[x_kube(validation = Rule::new("self.mode != 'placeholder' || (!has(self.chart) && !has(self.values))").message("a placeholder has neither spec.chart nor spec.values"))]
#[x_kube(validation = Rule::new("self.mode == 'managed' || oldSelf.mode != 'managed' || !has(oldSelf.chart)").message("a managed instance cannot become a placeholder; delete it instead"))]
#[x_kube(validation = Rule::new("!has(oldSelf.release) || has(self.release)").message("spec.release cannot be removed"))]
#[serde(rename_all = "camelCase")]
pub struct ApplicationInstanceSpec {
    /// Which entry of the catalog this is.
    pub app_ref: AppRef,
    /// `managed` installs the chart; `placeholder` only reserves the name.
    #[serde(default)]
    pub mode: Mode,
    /// Where the chart comes from. Required for managed instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,
    /// The Helm release. Required for managed instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// The chart's values. Absent: the chart's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
    /// Stored for other programs; the operator does not act on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrations: Option<Integrations>,
}

/// A catalog entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRef {
    /// The entry's id.
    #[schemars(length(min = 1, max = 253))]
    pub catalog_id: String,
}

/// What the operator does with an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Install and keep the chart.
    #[default]
    Managed,
    /// Install nothing.
    Placeholder,
}

/// Where a chart comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.sourceType != 'helm' || self.url.startsWith('https://') || self.url.startsWith('http://')").message("chart.url of a helm source starts with https:// or http://"))]
#[x_kube(validation = Rule::new("self.sourceType != 'oci' || !self.url.contains('://') || self.url.matches('(?i)^ *oci://')").message("chart.url of an oci source starts with oci:// or has no scheme"))]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// `helm`: a classic chart repository; `oci`: a registry.
    pub source_type: SourceType,
    /// The repository or registry, without credentials; for `oci` with or without `oci://`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(address::NO_CREDENTIALS).message(address::NO_CREDENTIALS_MESSAGE))]
    #[x_kube(validation = Rule::new(address::NO_FILE).message(address::NO_FILE_MESSAGE))]
    pub url: String,
    /// Name of the chart.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9._/-]*[a-z0-9])?$"))]
    pub name: String,
    /// Version of the chart or a range of versions, as Helm reads it; for `oci` also a tag.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// Speak plain HTTP to the OCI registry.
    #[serde(default)]
    pub insecure: bool,
    /// A Secret in the same namespace with what a private source asks for: `username` and `password`, `ca.crt`, `tls.crt`
    /// and `tls.key`; for `oci` the credentials are a Secret of type `kubernetes.io/dockerconfigjson`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretName {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// Kind of a chart source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    /// An OCI registry.
    Oci,
    /// A classic chart repository.
    Helm,
}

/// The Helm release's identity, fixed for the life of the instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.name == oldSelf.name && self.__namespace__ == oldSelf.__namespace__").message("release.name and release.namespace cannot change; make a new instance"))]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Name of the release: a DNS label of at most 53 characters, Helm's bound.
    #[schemars(length(min = 1, max = 53), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Must equal the instance's own namespace; the reconciler checks it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// How long Helm may take; a duration such as `5m` (the default).
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub timeout: String,
}

fn default_timeout() -> String {
    "5m".to_owned()
}

/// Where the chart's values come from: exactly one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.inline) == (self.source == 'inline') && has(self.texts) == (self.source == 'text') && has(self.secretRef) == (self.source == 'secretRef') && has(self.configMapRef) == (self.source == 'configMapRef')").message("values need exactly the member that values.source names"))]
#[serde(rename_all = "camelCase")]
pub struct Values {
    /// Which member holds them.
    pub source: ValuesSource,
    /// The values themselves. Secrets do not belong here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::preserved_object")]
    pub inline: Option<Map<String, Value>>,
    /// Texts that Helm reads itself, in order; of two that set the same, the later one counts. Secrets do not belong here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub texts: Option<Vec<ValuesText>>,
    /// A key of a Secret in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyRef>,
    /// A key of a ConfigMap in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
}

/// Which member of [`Values`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ValuesSource {
    /// [`Values::inline`].
    Inline,
    /// [`Values::texts`].
    Text,
    /// [`Values::secret_ref`].
    SecretRef,
    /// [`Values::config_map_ref`].
    ConfigMapRef,
}

/// A text that reaches Helm unread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValuesText {
    /// One YAML document; with `targetPath`, a value as `helm --set` takes it.
    #[schemars(length(max = 524288))]
    pub text: String,
    /// Where the value goes, as in `helm --set`; absent for a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 250), regex(pattern = r"^([a-zA-Z0-9_\-.\\\/]|\[[0-9]{1,5}\])+$"))]
    pub target_path: Option<String>,
    /// The value is exactly this text, whatever it looks like; with `targetPath` only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub literal: bool,
}

/// A key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Key within it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Wishes that other programs read. Replaced as a whole, so that members can be emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Integrations {
    /// External Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_secrets: Option<Integration>,
    /// cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<Integration>,
    /// Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
}

/// An integration that is on or off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Integration {
    /// Whether it is wanted.
    #[serde(default)]
    pub enabled: bool,
}

/// The ingress wish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ingress {
    /// Whether it is wanted.
    #[serde(default)]
    pub enabled: bool,
    /// Host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// What is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationInstanceStatus {
    /// The generation this status speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling, Degraded, Suspended, Blocked, Deleting, Drifted, SourceReachable, Insecure.
    #[serde(default)]
    #[schemars(schema_with = "crate::conditions")]
    pub conditions: Vec<Condition>,
    /// The newest request of a job that was answered: Flux has looked since, or a rule refused it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_request: Option<String>,
    /// The failures of Helm that Flux retries; absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailingRelease>,
    /// The HelmRelease that serves this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_release_ref: Option<ReleaseRef>,
    /// The chart that Flux was last asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_chart: Option<AppliedChart>,
    /// The chart that runs, with the version that was found for a range; absent before the first one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_chart: Option<AppliedChart>,
    /// The release behind the last Ready=True.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_release: Option<RunningRelease>,
    /// Secrets with values that the operator made for this instance and that may still exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values_secrets: Vec<String>,
    /// When a reconcile last changed this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reconcile_time: Option<Time>,
    /// Where the application can be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
}

/// Equal failures in a row, counted since the request that was answered last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingRelease {
    /// What the failures depend on.
    pub kind: FailureKind,
    /// What they have in common: Helm's message without digits, addresses and times.
    pub cause: String,
    /// How many there were; counted up to 3.
    pub tries: u32,
    /// Flux's count at the last of them.
    pub counted: i64,
    /// When the first was seen.
    pub since: Time,
}

/// What a failure depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// On chart and values alone: it is the same at every try.
    Chart,
    /// On what the cluster holds or does: it may pass.
    Cluster,
}

/// Name of a HelmRelease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseRef {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// A chart and where it comes from, without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedChart {
    /// Kind of source.
    pub source_type: SourceType,
    /// Repository or registry.
    pub url: String,
    /// Name of the chart.
    pub name: String,
    /// Version of the chart.
    pub version: String,
}

/// A release that runs, by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningRelease {
    /// Name of the chart.
    pub chart: String,
    /// Version of the chart as Flux names it; for an OCI chart with the first digits of its digest.
    pub version: String,
    /// Digest of the OCI artifact; absent for a chart of a classic repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Revision of the Helm release.
    pub revision: i64,
    /// Generation of this object that asked for the release.
    pub generation: i64,
    /// What Flux replaced with this content, with no change of the spec; absent if the spec asked for the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<ReplacedContent>,
}

/// The content of a release that Flux replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacedContent {
    /// Version of the chart.
    pub version: String,
    /// Digest of the OCI artifact; absent for a chart of a classic repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When the operator noticed the new content.
    pub at: Time,
}

impl RunningRelease {
    /// Returns `true` if both run the same content, whichever Helm revision it has.
    pub fn has_same_content(&self, other: &Self) -> bool {
        (&self.chart, &self.version, &self.digest) == (&other.chart, &other.version, &other.digest)
    }
}

/// One address of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// Name of the address.
    pub name: String,
    /// URL.
    pub url: String,
    /// Kind of address.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}
