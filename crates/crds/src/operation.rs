//! Operation: one day-2 action on an ApplicationInstance, run by an engine.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is to be done (reference contract, section 6.2).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ops.vworkspace.io",
    version = "v1alpha1",
    kind = "Operation",
    plural = "operations",
    singular = "operation",
    shortname = "op",
    namespaced,
    status = "OperationStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Type","type":"string","jsonPath":".spec.type"}"#,
    printcolumn = r#"{"name":"Engine","type":"string","jsonPath":".spec.engine"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(validation = Rule::new("self.targetRef == oldSelf.targetRef").message("spec.targetRef cannot change"))]
#[x_kube(validation = Rule::new("self.type == oldSelf.type && self.engine == oldSelf.engine").message("spec.type and spec.engine cannot change"))]
#[serde(rename_all = "camelCase")]
pub struct OperationSpec {
    /// The ApplicationInstance it is about, in the same namespace.
    pub target_ref: TargetRef,
    /// What to do.
    #[serde(rename = "type")]
    pub type_: OperationType,
    /// What does it.
    pub engine: Engine,
    /// The engine's own parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::preserved_object")]
    pub parameters: Option<Map<String, Value>>,
    /// Who allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
}

/// The object an operation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.apiVersion == 'apps.vworkspace.io/v1alpha1' && self.kind == 'ApplicationInstance'").message("targetRef names an apps.vworkspace.io/v1alpha1 ApplicationInstance"))]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// `apps.vworkspace.io/v1alpha1`.
    #[schemars(length(max = 253))]
    pub api_version: String,
    /// `ApplicationInstance`.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Name of the instance.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Types of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationType {
    /// Save the application's data.
    Backup,
    /// Bring saved data back.
    Restore,
    /// Move to another chart version or other values.
    Upgrade,
    /// Change data for a new version.
    Migration,
    /// Run one command.
    RunCommand,
    /// Run a prepared procedure.
    Runbook,
}

/// Engines that run operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Engine {
    /// Velero backups and restores.
    Velero,
    /// Argo Workflows.
    Workflow,
    /// A Kubernetes Job.
    Job,
    /// A Helm upgrade through Flux.
    Helm,
    /// VolSync replication.
    Volsync,
    /// A chart's own hook, run as a Kubernetes Job.
    HelmHookJob,
}

/// Approval of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// Whether a claim must be present.
    #[serde(default)]
    pub required: bool,
    /// The signed claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Who approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<String>,
}

/// How far an operation is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// Absent until first looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<OperationPhase>,
    /// When the engine was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// The engine's own object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_ref: Option<EngineRef>,
    /// Accepted, Running, Succeeded, Failed, Cancelled, Blocked.
    #[serde(default)]
    #[schemars(schema_with = "crate::conditions")]
    pub conditions: Vec<Condition>,
    /// What the engine produced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::preserved_object")]
    pub outputs: Option<Map<String, Value>>,
    /// Where the logs are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_ref: Option<LogsRef>,
}

/// Phases of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationPhase {
    /// Not started.
    Pending,
    /// The engine works.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended by request.
    Cancelled,
}

/// The engine's object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineRef {
    /// Kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Where logs are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogsRef {
    /// Kind of the object that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A URL to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
