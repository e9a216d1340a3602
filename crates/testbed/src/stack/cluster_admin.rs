//! What the admin of the cluster does by hand to join it to a control plane.

use anyhow::Context as _;
use k8s_openapi::{ByteString, api::core::v1::Secret as KubeSecret};
use kube::{
    Api, Client,
    api::{DynamicObject, ObjectMeta, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use std::{collections::BTreeMap, fs, path::Path};
use vworkspace_crds::{
    Cluster,
    cluster::{ClusterSpec, SecretKeyRef},
    key,
};
use vworkspace_protocol::Secret;

/// Name of the Cluster object and of the Secrets made here.
const CLUSTER: &str = "control-plane";
const TOKEN_SECRET: &str = "vworkspace-registration";
const CA_SECRET: &str = "vworkspace-control-plane-ca";

/// Makes the Secrets with the registration token and the control plane's CA, and the Cluster object that names them.
pub async fn register_cluster(admin: &Client, url: &str, ca: &Path, token: &Secret) -> anyhow::Result<()> {
    let ca = fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
    let secrets: Api<KubeSecret> = Api::namespaced(admin.clone(), key::DEFAULT_NAMESPACE);
    for (name, entry, content) in [
        (TOKEN_SECRET, key::REGISTRATION_TOKEN_KEY, token.expose().as_bytes().to_vec()),
        (CA_SECRET, key::SECRET_CA, ca),
    ] {
        let secret = KubeSecret {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([(entry.to_owned(), ByteString(content))])),
            ..KubeSecret::default()
        };
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .with_context(|| format!("cannot make Secret {name}"))?;
    }
    let named = |name: &str| Some(SecretKeyRef { name: name.to_owned(), key: None });
    let spec = ClusterSpec {
        control_plane_endpoint: Some(url.to_owned()),
        control_plane_ca_secret_ref: named(CA_SECRET),
        registration_token_secret_ref: named(TOKEN_SECRET),
        ..ClusterSpec::default()
    };
    let clusters: Api<Cluster> = Api::all(admin.clone());
    clusters
        .create(&PostParams::default(), &Cluster::new(CLUSTER, spec))
        .await
        .context("cannot make the Cluster")?;
    Ok(())
}

/// Whether Flux's HelmRelease itself names a failing source's cause yet, other than "not looked at".
pub async fn release_is_named(
    admin: &Client,
    namespace: &str,
    name: &str,
    cause: &str,
) -> anyhow::Result<bool> {
    let kind = GroupVersionKind::gvk("helm.toolkit.fluxcd.io", "v2", "HelmRelease");
    let releases: Api<DynamicObject> =
        Api::namespaced_with(admin.clone(), namespace, &ApiResource::from_gvk(&kind));
    let Some(release) = releases.get_opt(name).await? else {
        return Ok(false);
    };
    let conditions = release.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    Ok(conditions
        .iter()
        .any(|c| c["type"] == "Ready" && c["message"].as_str().is_some_and(|m| m.contains(cause))))
}
