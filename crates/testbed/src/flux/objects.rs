//! The fields of Flux's API that the stand-in reads and writes. Fields it does not know are left alone: it never
//! writes a spec but that of the HelmCharts it makes itself.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube::{CustomResource, Resource, ResourceExt as _};
use serde::{Deserialize, Serialize};

use super::access::SecretRef;
use super::status::Conditions;

/// Flux's finalizer on every object it manages.
pub(super) const FINALIZER: &str = "finalizers.fluxcd.io";
/// The annotation that asks for a reconcile.
const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// The annotation that clears failures.
const RESET_AT: &str = "reconcile.fluxcd.io/resetAt";
/// The annotation that forces an upgrade.
const FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";

/// A repository of charts over HTTP.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(group = "source.toolkit.fluxcd.io", version = "v1", kind = "HelmRepository", namespaced)]
#[kube(status = "SourceStatus", schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct HelmRepositorySpec {
    pub(super) url: String,
    #[serde(default)]
    pub(super) secret_ref: Option<SecretRef>,
    #[serde(default)]
    pub(super) cert_secret_ref: Option<SecretRef>,
    #[serde(default)]
    pub(super) interval: Option<String>,
    #[serde(default)]
    pub(super) suspend: bool,
}

/// A chart of a repository, made for one HelmRelease.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(group = "source.toolkit.fluxcd.io", version = "v1", kind = "HelmChart", namespaced)]
#[kube(status = "SourceStatus", schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct HelmChartSpec {
    pub(super) chart: String,
    #[serde(default)]
    pub(super) version: Option<String>,
    pub(super) source_ref: ObjectRef,
    #[serde(default)]
    pub(super) interval: Option<String>,
    #[serde(default)]
    pub(super) suspend: bool,
}

/// An artifact in an OCI registry.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(group = "source.toolkit.fluxcd.io", version = "v1", kind = "OCIRepository", namespaced)]
#[kube(status = "SourceStatus", schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct OCIRepositorySpec {
    pub(super) url: String,
    #[serde(default)]
    pub(super) insecure: bool,
    #[serde(default)]
    pub(super) interval: Option<String>,
    #[serde(default)]
    pub(super) suspend: bool,
    #[serde(default, rename = "ref")]
    pub(super) reference: Option<OciReference>,
    #[serde(default)]
    pub(super) layer_selector: Option<LayerSelector>,
    #[serde(default)]
    pub(super) secret_ref: Option<SecretRef>,
    #[serde(default)]
    pub(super) cert_secret_ref: Option<SecretRef>,
}

/// Which manifest of an OCI repository; `digest` wins over `tag`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OciReference {
    #[serde(default)]
    pub(super) tag: Option<String>,
    #[serde(default)]
    pub(super) semver: Option<String>,
    #[serde(default)]
    pub(super) digest: Option<String>,
}

/// Which layer of a manifest.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerSelector {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) operation: Option<String>,
}

/// A Helm release as it is wanted.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize)]
#[kube(group = "helm.toolkit.fluxcd.io", version = "v2", kind = "HelmRelease", namespaced)]
#[kube(status = "ReleaseStatus", schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct HelmReleaseSpec {
    #[serde(default)]
    pub(super) interval: Option<String>,
    #[serde(default)]
    pub(super) timeout: Option<String>,
    #[serde(default)]
    pub(super) suspend: bool,
    #[serde(default)]
    pub(super) chart: Option<ChartTemplate>,
    #[serde(default)]
    pub(super) chart_ref: Option<ObjectRef>,
    #[serde(default)]
    pub(super) values: Option<serde_json::Value>,
    #[serde(default)]
    pub(super) values_from: Vec<ValuesReference>,
}

/// The HelmChart that a HelmRelease has made for itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ChartTemplate {
    pub(super) spec: ChartTemplateSpec,
}

/// See [`ChartTemplate`].
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartTemplateSpec {
    pub(super) chart: String,
    #[serde(default)]
    pub(super) version: Option<String>,
    pub(super) source_ref: ObjectRef,
    #[serde(default)]
    pub(super) interval: Option<String>,
}

/// A reference to an object of Flux's, in the namespace of who refers to it unless it says another.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ObjectRef {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
}

/// Values kept in a Secret or ConfigMap.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValuesReference {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) values_key: Option<String>,
    #[serde(default)]
    pub(super) target_path: Option<String>,
    #[serde(default)]
    pub(super) literal: bool,
    #[serde(default)]
    pub(super) optional: bool,
}

/// The generation that a controller has looked at last; -1 before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct ObservedGeneration(pub(super) i64);

impl Default for ObservedGeneration {
    fn default() -> Self {
        Self(-1)
    }
}

/// Status of the three kinds of sources.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    #[serde(default)]
    pub(super) observed_generation: ObservedGeneration,
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub(super) conditions: Conditions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact: Option<Artifact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) observed_chart_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) observed_source_artifact_revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) observed_layer_selector: Option<LayerSelector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_handled_reconcile_at: Option<String>,
}

/// What a source fetched last.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    pub(super) digest: String,
    pub(super) last_update_time: Timestamp,
    pub(super) path: String,
    pub(super) revision: String,
    #[serde(default)]
    pub(super) size: u64,
    pub(super) url: String,
    /// Annotations of the OCI manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<BTreeMap<String, String>>,
}

/// Status of a HelmRelease.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    #[serde(default)]
    pub(super) observed_generation: ObservedGeneration,
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub(super) conditions: Conditions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) helm_chart: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) storage_namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) history: Vec<Snapshot>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) failures: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) install_failures: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) upgrade_failures: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_attempted_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_attempted_revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_attempted_revision_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_attempted_config_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_attempted_release_action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_attempted_release_action_duration: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_handled_reconcile_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_handled_reset_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_handled_force_at: Option<String>,
}

/// One revision of a Helm release; the newest comes first in the history.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) version: i64,
    pub(super) status: String,
    pub(super) chart_name: String,
    pub(super) chart_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) app_version: Option<String>,
    pub(super) config_digest: String,
    pub(super) digest: String,
    pub(super) first_deployed: Timestamp,
    pub(super) last_deployed: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) oci_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<String>,
}

/// The value of the annotation that asks for a reconcile, if there is one.
pub(super) fn requested_at<K: Resource>(object: &K) -> Option<String> {
    object.annotations().get(REQUESTED_AT).cloned()
}

/// What a request asks for beside a look. Both count only with the value of the request itself, and once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Extra {
    /// Failures are forgotten.
    pub(super) reset: bool,
    /// An upgrade is run though nothing changed.
    pub(super) force: bool,
}

impl Extra {
    pub(super) fn of(release: &HelmRelease, status: &ReleaseStatus) -> Self {
        let requested = requested_at(release);
        let asks = |annotation: &str, handled: &Option<String>| {
            let asked = release.annotations().get(annotation);
            asked.is_some() && asked == requested.as_ref() && asked != handled.as_ref()
        };
        Self {
            reset: asks(RESET_AT, &status.last_handled_reset_at),
            force: asks(FORCE_AT, &status.last_handled_force_at),
        }
    }

    /// Notes in the status that it was done.
    pub(super) fn note(self, status: &mut ReleaseStatus, request: Option<&String>) {
        if self.reset {
            status.last_handled_reset_at = request.cloned();
        }
        if self.force {
            status.last_handled_force_at = request.cloned();
        }
    }
}

/// A duration as Go writes it (`1h2m3s`, `1.5s`, `300ms`), or the default when it is absent or no such duration.
pub(super) fn duration_or(text: Option<&str>, default: Duration) -> Duration {
    text.and_then(parse_duration).unwrap_or(default)
}

/// A duration as Go prints it, in whole seconds.
pub(super) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (value, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        seconds += value.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(count: &i64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_durations_as_go_does() {
        for (text, seconds, printed) in
            [("20s", 20, "20s"), ("10m", 600, "10m0s"), ("1h2m3s", 3723, "1h2m3s")]
        {
            let duration = parse_duration(text).unwrap();
            assert_eq!((duration.as_secs(), go_duration(duration).as_str()), (seconds, printed));
        }
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        for wrong in ["5", "5x", "s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
