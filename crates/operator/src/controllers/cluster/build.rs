//! Step 3: builds what is written. Pure and infallible.

use super::dereference::Stored;
use k8s_openapi::ByteString;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vworkspace_crds::{
    Cluster,
    key::{
        FORCE_REGISTRATION, SECRET_CA, SECRET_CLUSTER_ID, SECRET_EXPIRES_AT, SECRET_HISTORY,
        SECRET_ISSUED_AT, SECRET_NEXT, SECRET_ROTATED, SECRET_ROTATED_JOB, SECRET_ROTATION, SECRET_TOKEN,
        SECRET_URL,
    },
};
use vworkspace_protocol::ObjectRef;

/// What makes an existing Secret the credentials Secret with these contents, as a merge patch: of the keys that are ours
/// those that are absent here go, whoever wrote them; others stay. Applied server-side they would stay as long as
/// another manager, for example one that restored a backup, owns them as well.
pub fn credentials_patch(owner: Option<&Cluster>, contents: &Stored) -> Value {
    let mut metadata = json!({});
    if let Some(cluster) = owner {
        metadata["ownerReferences"] = json!([{
            "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "controller": true,
            "name": cluster.metadata.name, "uid": cluster.metadata.uid,
        }]);
    }
    if let Some(version) = &contents.version {
        metadata["resourceVersion"] = version.as_str().into();
    }
    json!({"metadata": metadata, "data": credentials_data(contents)})
}

/// The credentials Secret with these contents, where there is none.
pub fn credentials_secret(owner: Option<&Cluster>, name: &str, contents: &Stored) -> Value {
    let mut secret = credentials_patch(owner, contents);
    secret["apiVersion"] = "v1".into();
    secret["kind"] = "Secret".into();
    secret["type"] = "Opaque".into();
    secret["metadata"]["name"] = name.into();
    if let Some(data) = secret["data"].as_object_mut() {
        data.retain(|_, value| !value.is_null());
    }
    secret
}

/// Every key that is ours; `None`: absent.
fn credentials_data(contents: &Stored) -> BTreeMap<&'static str, Option<ByteString>> {
    let held = &contents.held;
    let text = |text: String| Some(ByteString(text.into_bytes()));
    BTreeMap::from([
        (SECRET_URL, text(contents.base_url.clone())),
        (SECRET_CLUSTER_ID, text(held.cluster.to_string())),
        (SECRET_TOKEN, text(held.token.expose().to_owned())),
        (SECRET_CA, contents.ca_pem.clone().map(ByteString)),
        (SECRET_ISSUED_AT, held.life.and_then(|life| text(life.issued_at.to_string()))),
        (SECRET_EXPIRES_AT, held.life.and_then(|life| text(life.expires_at.to_string()))),
        (SECRET_ROTATED, held.fulfilled.wish.and_then(|generation| text(generation.to_string()))),
        (SECRET_ROTATED_JOB, held.fulfilled.job.as_ref().and_then(|job| text(job.to_string()))),
        (SECRET_ROTATION, held.rotation.clone().and_then(text)),
        (SECRET_NEXT, held.next().and_then(|next| text(json!(next).to_string()))),
        (SECRET_HISTORY, contents.history().and_then(|history| text(json!(history).to_string()))),
    ])
}

/// The Cluster as reports name it.
pub fn object_ref(cluster: &Cluster) -> ObjectRef {
    ObjectRef {
        api_version: Cluster::api_version(&()).into_owned(),
        kind: Cluster::kind(&()).into_owned(),
        namespace: String::new(),
        name: cluster.name_any(),
        uid: cluster.uid().unwrap_or_default(),
        generation: cluster.metadata.generation.unwrap_or_default(),
    }
}

/// The Cluster in charge as reports name it; without one the identity is all there is to name.
pub fn object_ref_or_identity(cluster: Option<&Cluster>, id: &str) -> ObjectRef {
    cluster.map_or_else(
        || ObjectRef {
            api_version: Cluster::api_version(&()).into_owned(),
            kind: Cluster::kind(&()).into_owned(),
            name: id.to_owned(),
            ..ObjectRef::default()
        },
        object_ref,
    )
}

/// What a successful registration changes in the Cluster itself, as it is `now`; absent: nothing. What has come since it was
/// `exchanged` has not been used.
pub fn cluster_patch(now: &Cluster, exchanged: &Cluster, cluster_id: &str) -> Option<Value> {
    let mut patch = json!({});
    if now.spec.cluster_id.as_deref().unwrap_or_default().is_empty() {
        patch["spec"]["clusterId"] = cluster_id.into();
    }
    let token = now.spec.registration_token.as_ref();
    if token.is_some() && token == exchanged.spec.registration_token.as_ref() {
        patch["spec"]["registrationToken"] = Value::Null;
    }
    let force = now.annotations().get(FORCE_REGISTRATION);
    if force.is_some() && force == exchanged.annotations().get(FORCE_REGISTRATION) {
        patch["metadata"]["annotations"][FORCE_REGISTRATION] = Value::Null;
    }
    if now.metadata.uid != exchanged.metadata.uid || patch.as_object().is_none_or(serde_json::Map::is_empty) {
        return None;
    }
    if let Some(version) = &now.metadata.resource_version {
        patch["metadata"]["resourceVersion"] = version.as_str().into();
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_core::agent::{
        credentials::{Fetched, Held},
        rotation::Cause,
    };
    use vworkspace_protocol::{ClusterId, Secret};

    #[test]
    fn keys_that_are_absent_are_taken_away_and_those_of_others_are_not_named() {
        let held = Held::new(ClusterId::new("c"), Secret::new("old"), None);
        let fetched = Fetched { token: Secret::new("new"), life: None, rotation: "r".into() };
        let both = Stored {
            base_url: "https://x".into(),
            held: held.fetched(fetched, &Cause::Age),
            ca_pem: None,
            owner: None,
            version: Some("7".into()),
        };
        let patch = credentials_patch(None, &both);
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!((&patch["data"][SECRET_TOKEN], &patch["data"][SECRET_CA]), (&json!("b2xk"), &Value::Null));
        assert!(patch["data"][SECRET_NEXT].is_string());
        let one = credentials_patch(None, &Stored { held, ..both });
        assert_eq!(one["data"].get(SECRET_NEXT), Some(&Value::Null));
    }

    #[test]
    fn a_new_secret_is_whole_and_has_no_empty_key() {
        let held = Held::new(ClusterId::new("c"), Secret::new("old"), None);
        let stored = Stored { base_url: "https://x".into(), held, ca_pem: None, owner: None, version: None };
        let made = credentials_secret(None, "s", &stored);
        let keys: Vec<_> = made["data"].as_object().unwrap().keys().collect();
        assert_eq!(keys, [SECRET_CLUSTER_ID, SECRET_URL, SECRET_TOKEN]);
        assert_eq!((&made["metadata"]["name"], &made["type"]), (&json!("s"), &json!("Opaque")));
    }

    #[test]
    fn only_what_needs_changing_is_patched() {
        let read = |value: Value| serde_json::from_value::<Cluster>(value).unwrap();
        let kind = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
            "metadata": {"name": "c"}, "spec": {"clusterId": "id"}});
        let kind_now = read(kind.clone());
        assert_eq!(cluster_patch(&kind_now, &kind_now, "id"), None);
        let mut inline = kind;
        inline["spec"] = json!({"registrationToken": "vwksp-reg-1"});
        inline["metadata"]["annotations"] = json!({FORCE_REGISTRATION: "true"});
        assert_eq!(
            cluster_patch(&read(inline.clone()), &read(inline), "id").unwrap(),
            json!({"spec": {"clusterId": "id", "registrationToken": null},
                "metadata": {"annotations": {FORCE_REGISTRATION: null}}})
        );
    }
}
