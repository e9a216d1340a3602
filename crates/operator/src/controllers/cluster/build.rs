//! Step 3: builds what is written. Pure and infallible.

use super::dereference::Stored;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Map, Value, json};
use vworkspace_crds::{
    Cluster,
    key::{
        FORCE_REGISTRATION, SECRET_CA, SECRET_CLUSTER_ID, SECRET_EXPIRES_AT, SECRET_ISSUED_AT,
        SECRET_ROTATED, SECRET_ROTATED_JOB, SECRET_ROTATION, SECRET_TOKEN, SECRET_URL,
    },
};
use vworkspace_protocol::ObjectRef;

/// The credentials Secret, owned by the Cluster where there is one.
pub fn credentials_secret(owner: Option<&Cluster>, name: &str, contents: &Stored) -> Value {
    let mut data = Map::new();
    data.insert(SECRET_URL.to_owned(), contents.base_url.as_str().into());
    data.insert(SECRET_CLUSTER_ID.to_owned(), contents.cluster_id.as_str().into());
    data.insert(SECRET_TOKEN.to_owned(), contents.token.expose().into());
    if let Some(pem) = &contents.ca_pem {
        data.insert(SECRET_CA.to_owned(), String::from_utf8_lossy(pem).into());
    }
    if let Some(life) = contents.life {
        data.insert(SECRET_ISSUED_AT.to_owned(), life.issued_at.to_string().into());
        data.insert(SECRET_EXPIRES_AT.to_owned(), life.expires_at.to_string().into());
    }
    if let Some(generation) = contents.fulfilled.wish {
        data.insert(SECRET_ROTATED.to_owned(), generation.to_string().into());
    }
    if let Some(job) = &contents.fulfilled.job {
        data.insert(SECRET_ROTATED_JOB.to_owned(), job.as_str().into());
    }
    if let Some(rotation) = &contents.rotation {
        data.insert(SECRET_ROTATION.to_owned(), rotation.as_str().into());
    }
    let owners = owner.map(|cluster| {
        json!({
            "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "controller": true,
            "name": cluster.metadata.name, "uid": cluster.metadata.uid,
        })
    });
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "ownerReferences": Vec::from_iter(owners)},
        "stringData": data,
    })
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
