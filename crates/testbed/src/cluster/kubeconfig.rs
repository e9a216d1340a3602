//! Kubeconfig files: self-contained, one user each.

use super::credentials::{Credentials, User};
use anyhow::Context as _;
use k8s_openapi::ByteString;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Writes the one of `user` into `dir`.
pub(super) fn write(dir: &Path, url: &str, credentials: &Credentials, user: User) -> anyhow::Result<PathBuf> {
    let path = dir.join(format!("{}.kubeconfig", user.name().replace(':', "-")));
    let ca = serde_json::to_value(ByteString(credentials.ca_pem.clone().into_bytes()))?;
    write_file(
        &path,
        &json!({ "server": url, "certificate-authority-data": ca }),
        user.name(),
        credentials.token(user),
    )?;
    Ok(path)
}

/// Writes one for a bearer token, given the `cluster` part.
pub(super) fn write_file(
    path: &Path,
    cluster: &serde_json::Value,
    user: &str,
    token: &str,
) -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "testbed", "cluster": cluster }],
        "users": [{ "name": user, "user": { "token": token } }],
        "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": user } }],
        "current-context": "testbed",
    }))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How to reach the cluster of a kubeconfig, as its current user.
///
/// # Errors
/// The file cannot be read or is no kubeconfig.
pub async fn client_config(path: &Path) -> anyhow::Result<kube::Config> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.with_context(|| format!("cannot use {}", path.display()))
}
