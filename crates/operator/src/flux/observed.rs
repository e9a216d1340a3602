//! Flux's objects as read: only the members that decide something.
//!
//! Every member may be absent; unknown ones are skipped. Sources and charts share one view, for the same members
//! matter.

use kube::core::ObjectMeta;
use serde::Deserialize;
use vworkspace_crds::key;

/// A HelmRelease.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HelmRelease {
    /// Name, generation, annotations, owner.
    pub metadata: ObjectMeta,
    /// What is wanted of Flux.
    pub spec: HelmReleaseSpec,
    /// What Flux says.
    pub status: HelmReleaseStatus,
}

/// The members of the spec that are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HelmReleaseSpec {
    /// Nothing is applied while this holds, whatever the status says (fact 7).
    pub suspend: bool,
}

/// What the helm-controller says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmReleaseStatus {
    /// Ready, Reconciling, Stalled, Released, Remediated, Drifted.
    pub conditions: Vec<Condition>,
    /// The generation that was carried through; -1 before the first.
    pub observed_generation: i64,
    /// The last request by annotation that was carried through.
    pub last_handled_reconcile_at: Option<String>,
    /// Version of the chart last attempted, with build metadata.
    pub last_attempted_revision: Option<String>,
    /// Digest of the OCI artifact last attempted.
    pub last_attempted_revision_digest: Option<String>,
    /// Digest of the values last attempted.
    pub last_attempted_config_digest: Option<String>,
    /// Tries that failed since the last success, a change or a reset.
    pub failures: i64,
    /// Helm's releases, newest first.
    pub history: Vec<Snapshot>,
}

impl HelmRelease {
    /// Returns `true` if Flux counts failures, or has given up.
    pub fn has_failed(&self) -> bool {
        self.status.failures > 0 || self.current_true("Stalled").is_some()
    }
}

/// One Helm release in the history.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// Name of the chart.
    pub chart_name: String,
    /// Version of the chart, with build metadata.
    pub chart_version: String,
    /// Helm's word: deployed, failed, superseded, uninstalling, …
    pub status: String,
    /// Helm's revision number.
    pub version: i64,
    /// Digest of the OCI artifact, where the chart came from one.
    pub oci_digest: Option<String>,
    /// Digest of the values it was made with.
    pub config_digest: Option<String>,
}

/// A HelmRepository, OCIRepository or HelmChart.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Source {
    /// Name, generation, owner.
    pub metadata: ObjectMeta,
    /// What is wanted of Flux.
    pub spec: SourceSpec,
    /// What Flux says.
    pub status: SourceStatus,
}

impl Source {
    /// Returns `true` if its controller has handled the request that stands on it. One that is suspended handles none.
    pub fn is_request_handled(&self) -> bool {
        let requested = self.metadata.annotations.as_ref().and_then(|all| all.get(key::FLUX_REQUESTED_AT));
        let handled = &self.status.last_handled_reconcile_at;
        self.spec.suspend || requested.is_none() || handled.as_ref() == requested
    }
}

/// The members of the spec that are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SourceSpec {
    /// Nothing is fetched while this holds.
    pub suspend: bool,
    /// HelmChart: name of the chart asked for.
    pub chart: Option<String>,
    /// HelmChart: the version or range asked for.
    pub version: Option<String>,
    /// OCIRepository: which artifact is asked for.
    #[serde(rename = "ref")]
    pub reference: OciReference,
}

/// Which artifact an OCIRepository asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OciReference {
    /// A range of versions.
    pub semver: Option<String>,
}

/// What the source-controller says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceStatus {
    /// Ready, Reconciling, Stalled, FetchFailed, ….
    pub conditions: Vec<Condition>,
    /// The generation that was carried through; -1 before the first.
    pub observed_generation: i64,
    /// The last request by annotation that was carried through.
    pub last_handled_reconcile_at: Option<String>,
    /// HelmChart: revision of the repository's index in which the chart was looked for last.
    pub observed_source_artifact_revision: Option<String>,
    /// What was fetched last.
    pub artifact: Option<Artifact>,
}

/// What a source fetched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Artifact {
    /// HelmChart: the version; OCIRepository: `tag@digest`; HelmRepository: the index's digest.
    pub revision: String,
}

/// A condition of a Flux object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Cause.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// The generation it speaks about.
    pub observed_generation: i64,
}

/// An object with conditions and a generation.
pub trait Observed {
    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
    /// The generation its controller carried through.
    fn observed_generation(&self) -> i64;

    /// The spec's revision.
    fn generation(&self) -> i64 {
        self.metadata().generation.unwrap_or_default()
    }

    /// Whether its controller carried the current spec through.
    fn is_settled(&self) -> bool {
        self.observed_generation() == self.generation()
    }

    /// A condition, whatever generation it speaks about.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions().iter().find(|condition| condition.type_ == type_)
    }

    /// A condition that speaks about the current spec (facts 2 and 4: older ones linger).
    fn current(&self, type_: &str) -> Option<&Condition> {
        self.condition(type_).filter(|condition| condition.observed_generation == self.generation())
    }

    /// A condition that speaks about the current spec and holds.
    fn current_true(&self, type_: &str) -> Option<&Condition> {
        self.current(type_).filter(|condition| condition.status == "True")
    }

    /// A condition that speaks about the current spec and does not hold.
    fn current_false(&self, type_: &str) -> Option<&Condition> {
        self.current(type_).filter(|condition| condition.status == "False")
    }
}

impl Observed for HelmRelease {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn conditions(&self) -> &[Condition] {
        &self.status.conditions
    }

    fn observed_generation(&self) -> i64 {
        self.status.observed_generation
    }
}

impl Observed for Source {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn conditions(&self) -> &[Condition] {
        &self.status.conditions
    }

    fn observed_generation(&self) -> i64 {
        self.status.observed_generation
    }
}
