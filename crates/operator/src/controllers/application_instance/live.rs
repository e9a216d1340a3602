//! Objects of Flux as the API server has them.

use super::{
    build::Desired,
    error::{Error, is_absent},
};
use crate::flux::written::FluxKind;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::{DynamicObject, ObjectMeta},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use vworkspace_crds::key;

/// One object: all of it, to compare with what is wanted, and the members that are read.
#[derive(Clone, Debug)]
pub struct Live<V> {
    /// All of it, as JSON.
    raw: Value,
    /// The members that are read.
    pub view: V,
}

impl<V: DeserializeOwned> Live<V> {
    fn new(kind: FluxKind, object: &DynamicObject) -> Result<Self, Error> {
        let what = || format!("{} {}", kind.as_str(), object.metadata.name.as_deref().unwrap_or_default());
        let raw =
            serde_json::to_value(object).map_err(|source| Error::Unreadable { what: what(), source })?;
        let view = serde_json::from_value(raw.clone())
            .map_err(|source| Error::Unreadable { what: what(), source })?;
        Ok(Self { raw, view })
    }
}

impl<V> Live<V> {
    /// Whether the last apply sent exactly this, and nobody has changed any of it since.
    pub fn is_as(&self, desired: &Desired) -> bool {
        let path = format!("/metadata/annotations/{}", key::APPLIED_DIGEST.replace('/', "~1"));
        self.raw.pointer(&path) == desired.manifest.pointer(&path) && contains(&self.raw, &desired.manifest)
    }
}

/// Reads an object; `None` when it is not there.
pub async fn read<V: DeserializeOwned>(
    client: &Client,
    kind: FluxKind,
    namespace: &str,
    name: &str,
) -> Result<Option<Live<V>>, Error> {
    match api(client, kind, namespace).get(name).await {
        Ok(object) => Live::new(kind, &object).map(Some),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(Error::Call { action: "read", what: format!("{} {name}", kind.as_str()), source }),
    }
}

/// Applies an object by server-side apply, without force: what others own stays theirs.
pub async fn apply<V: DeserializeOwned>(
    client: &Client,
    namespace: &str,
    desired: &Desired,
) -> Result<Live<V>, Error> {
    let params = PatchParams::apply(key::OPERATOR_FIELD_MANAGER).validation_strict();
    let object = api(client, desired.kind, namespace)
        .patch(&desired.name, &params, &Patch::Apply(&desired.manifest))
        .await
        .map_err(|source| Error::Call { action: "apply", what: what(desired), source })?;
    Live::new(desired.kind, &object)
}

/// Access to one kind in one namespace.
pub fn api(client: &Client, kind: FluxKind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &kind.resource())
}

/// Whether the instance with this uid is the object's controller, or nobody is.
pub fn owner_other_than<'a>(metadata: &'a ObjectMeta, uid: &str) -> Option<&'a str> {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    (owner.uid != uid).then_some(owner.name.as_str())
}

fn what(desired: &Desired) -> String {
    format!("{} {}", desired.kind.as_str(), desired.name)
}

/// Whether everything in `part` is in `whole`. Lists of owners may have been added to; other lists may not.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(key, value)| match whole.get(key) {
            Some(found) if key == "ownerReferences" => contains_all(found, value),
            Some(found) => contains(found, value),
            None => false,
        }),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        _ => whole == part,
    }
}

fn contains_all(whole: &Value, part: &Value) -> bool {
    let (Some(whole), Some(part)) = (whole.as_array(), part.as_array()) else {
        return false;
    };
    part.iter().all(|part| whole.iter().any(|whole| contains(whole, part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_and_other_peoples_members_do_not_count() {
        let part = json!({"metadata": {"labels": {"a": "1"}, "ownerReferences": [{"uid": "u"}]}, "spec": {"list": [1]}});
        let mut whole = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "ownerReferences": [{"uid": "x"}, {"uid": "u", "name": "n"}]},
            "spec": {"list": [1], "default": true},
        });
        assert!(contains(&whole, &part));
        whole["spec"]["list"] = json!([1, 2]);
        assert!(!contains(&whole, &part));
    }

    #[test]
    fn another_controller_owns_and_a_plain_owner_does_not() {
        let metadata = |owners: Value| -> ObjectMeta {
            serde_json::from_value(json!({"ownerReferences": owners})).unwrap()
        };
        let owner = |controller: bool| json!([{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": controller}]);
        assert_eq!(owner_other_than(&metadata(owner(true)), "u"), None);
        assert_eq!(owner_other_than(&metadata(owner(true)), "v"), Some("n"));
        assert_eq!(owner_other_than(&metadata(owner(false)), "v"), None);
    }
}
