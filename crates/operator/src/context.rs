//! What every reconciler may use.

use crate::{
    args::SecretsInValues, controllers::gate::Gates, metrics::Metrics, namespace_access::NamespaceAccess,
    report::Reporter,
};
use kube::Client;
use tokio::sync::watch;
use vworkspace_protocol::ClusterId;

/// Shared by all reconcilers of one process.
#[derive(Clone)]
pub struct Context {
    /// The Kubernetes API, under the operator's own ServiceAccount.
    pub client: Client,
    /// Namespace the operator runs in: its Secrets, ConfigMaps and Lease live there.
    pub own_namespace: String,
    /// This cluster's identity, once known.
    pub cluster_id: watch::Receiver<Option<ClusterId>>,
    /// Where condition transitions go.
    pub reporter: Reporter,
    /// Which namespaces are open to the operator.
    pub gates: Gates,
    /// In which of them the operator may work.
    pub access: NamespaceAccess,
    /// What becomes of instances whose values look like secrets.
    pub secrets_in_values: SecretsInValues,
    /// Counters.
    pub metrics: Metrics,
}
