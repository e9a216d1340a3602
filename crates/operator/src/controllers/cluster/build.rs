//! Step 3: builds what is written. Pure and infallible.

use serde_json::{Map, Value, json};
use vworkspace_core::agent::rotation::Life;
use vworkspace_crds::{
    Cluster,
    key::{
        FORCE_REGISTRATION, SECRET_CA, SECRET_CLUSTER_ID, SECRET_EXPIRES_AT, SECRET_ISSUED_AT,
        SECRET_ROTATED, SECRET_TOKEN, SECRET_URL,
    },
};
use vworkspace_protocol::Secret;

/// The data of a credentials Secret.
pub struct Contents<'a> {
    /// Base URL.
    pub base_url: &'a str,
    /// Cluster identity.
    pub cluster_id: &'a str,
    /// Bearer credential.
    pub token: &'a Secret,
    /// PEM certificates.
    pub ca_pem: Option<&'a [u8]>,
    /// How long the credential is good for, if that was told.
    pub life: Option<Life>,
    /// Generation of the Cluster whose wish for a rotation it fulfils.
    pub rotated: Option<i64>,
}

/// The credentials Secret, owned by the Cluster.
pub fn credentials_secret(cluster: &Cluster, name: &str, contents: &Contents<'_>) -> Value {
    let mut data = Map::new();
    data.insert(SECRET_URL.to_owned(), contents.base_url.into());
    data.insert(SECRET_CLUSTER_ID.to_owned(), contents.cluster_id.into());
    data.insert(SECRET_TOKEN.to_owned(), contents.token.expose().into());
    if let Some(pem) = contents.ca_pem {
        data.insert(SECRET_CA.to_owned(), String::from_utf8_lossy(pem).into());
    }
    if let Some(life) = contents.life {
        data.insert(SECRET_ISSUED_AT.to_owned(), life.issued_at.to_string().into());
        data.insert(SECRET_EXPIRES_AT.to_owned(), life.expires_at.to_string().into());
    }
    if let Some(generation) = contents.rotated {
        data.insert(SECRET_ROTATED.to_owned(), generation.to_string().into());
    }
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "ownerReferences": [{
            "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "controller": true,
            "name": cluster.metadata.name, "uid": cluster.metadata.uid,
        }]},
        "stringData": data,
    })
}

/// What a successful registration changes in the Cluster itself; absent: nothing.
pub fn cluster_patch(cluster: &Cluster, cluster_id: &str) -> Option<Value> {
    let mut patch = json!({});
    if cluster.spec.cluster_id.as_deref().unwrap_or_default().is_empty() {
        patch["spec"]["clusterId"] = cluster_id.into();
    }
    if cluster.spec.registration_token.is_some() {
        patch["spec"]["registrationToken"] = Value::Null;
    }
    if cluster.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(FORCE_REGISTRATION)) {
        patch["metadata"]["annotations"][FORCE_REGISTRATION] = Value::Null;
    }
    patch.as_object().is_some_and(|patch| !patch.is_empty()).then_some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_changing_is_patched() {
        let read = |value: Value| serde_json::from_value::<Cluster>(value).unwrap();
        let kind = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
            "metadata": {"name": "c"}, "spec": {"clusterId": "id"}});
        assert_eq!(cluster_patch(&read(kind.clone()), "id"), None);
        let mut inline = kind;
        inline["spec"] = json!({"registrationToken": "vwksp-reg-1"});
        inline["metadata"]["annotations"] = json!({FORCE_REGISTRATION: "true"});
        assert_eq!(
            cluster_patch(&read(inline), "id").unwrap(),
            json!({"spec": {"clusterId": "id", "registrationToken": null},
                "metadata": {"annotations": {FORCE_REGISTRATION: null}}})
        );
    }
}
