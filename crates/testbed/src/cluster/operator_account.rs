//! The operator's own account: a kubeconfig with a token of its ServiceAccount, and nothing more.

use super::kubeconfig::write_file;
use anyhow::Context as _;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams, config::Kubeconfig};
use std::path::Path;
use vworkspace_crds::key;

/// Name of the ServiceAccount in `deploy/rbac.yaml`.
pub const ACCOUNT: &str = "vworkspace-operator";
/// A week: longer than any test run. The API server may shorten it.
const TOKEN_SECONDS: i64 = 7 * 24 * 3600;

/// Asks the API server for a token and writes `path`, with the cluster's address and CA as in `admin_kubeconfig`.
///
/// # Errors
/// The account is not there, or a file cannot be read or written.
pub async fn write_kubeconfig(client: &Client, admin_kubeconfig: &Path, path: &Path) -> anyhow::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), key::DEFAULT_NAMESPACE);
    let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await;
    let status = answer.context("cannot get a token of the operator's account")?.status;
    let token = status.context("the API server gave no token")?.token;

    let admin = Kubeconfig::read_from(admin_kubeconfig)
        .with_context(|| format!("cannot read {}", admin_kubeconfig.display()))?;
    let current = admin.current_context.as_deref();
    let context = admin.contexts.iter().find(|context| Some(context.name.as_str()) == current);
    let wanted = context.and_then(|context| context.context.as_ref()).map(|context| &context.cluster);
    let cluster = admin.clusters.iter().find(|cluster| Some(&cluster.name) == wanted);
    let cluster = cluster
        .and_then(|cluster| cluster.cluster.as_ref())
        .context("its current context names no cluster")?;
    write_file(path, &serde_json::to_value(cluster)?, ACCOUNT, &token)
}
