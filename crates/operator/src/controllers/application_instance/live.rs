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
use vworkspace_core::agent::held::{self, Comparison, FreeForm};
use vworkspace_crds::key;

/// Places of a HelmRelease that decide with which values the chart runs. Flux's definition merges them member by member.
const HELM_VALUES: &[FreeForm] = &[&["spec", "values"], &["spec", "valuesFrom"]];

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

/// How an object stands to what is wanted, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as the last apply sent it: nothing is written. The differences are other managers' members in the values,
    /// which stay.
    Applied(Comparison),
    /// It is to be applied.
    Outdated,
}

impl<V> Live<V> {
    /// Compares the object with what is wanted, and with what the last apply sent.
    pub fn standing(&self, desired: &Desired) -> Standing {
        let path = format!("/metadata/annotations/{}", key::APPLIED_DIGEST.replace('/', "~1"));
        let is_sent = self.raw.pointer(&path) == desired.manifest.pointer(&path);
        let comparison = self.compare(desired);
        if is_sent && comparison.changed.is_empty() {
            Standing::Applied(comparison)
        } else {
            Standing::Outdated
        }
    }

    /// How the object differs from what is wanted.
    pub fn compare(&self, desired: &Desired) -> Comparison {
        let free_form = match desired.kind {
            FluxKind::HelmRelease => HELM_VALUES,
            FluxKind::HelmChart | FluxKind::HelmRepository | FluxKind::OciRepository => &[],
        };
        held::compare(&desired.manifest, &self.raw, free_form, key::OPERATOR_FIELD_MANAGER)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vworkspace_protocol::outcome::FieldConflict;

    fn desired(values: &Value) -> Desired {
        let mut manifest = json!({"metadata": {"annotations": {key::APPLIED_DIGEST: values.to_string()}}, "spec": {"interval": "5m"}});
        if !values.is_null() {
            manifest["spec"]["values"] = values.clone();
        }
        Desired { kind: FluxKind::HelmRelease, name: "shop".to_owned(), manifest }
    }

    fn standing(sent: &Value, held: &Value, wanted: &Value) -> Standing {
        let mut raw = desired(sent).manifest;
        raw["spec"]["values"] = held.clone();
        let values: serde_json::Map<_, _> =
            ["color", "replicas"].iter().map(|name| (format!("f:{name}"), json!({}))).collect();
        raw["metadata"]["managedFields"] =
            json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:values": values}}}]);
        Live { raw, view: () }.standing(&desired(wanted))
    }

    fn foreign(path: &str) -> Standing {
        let conflict = FieldConflict { manager: "kubectl".to_owned(), field_path: path.to_owned() };
        Standing::Applied(Comparison { foreign: vec![conflict], changed: Vec::new() })
    }

    #[test]
    fn members_of_others_in_the_values_are_no_reason_to_write() {
        let sent = json!({"env": "x", "replicas": 2});
        let rows = [
            (json!({"env": "x", "replicas": 2}), Standing::Applied(Comparison::default())),
            (json!({"env": "x", "replicas": 2, "color": "red"}), foreign(".spec.values.color")),
            (json!({"env": "x", "replicas": 7}), foreign(".spec.values.replicas")),
            (json!({"env": null, "replicas": 2}), Standing::Outdated),
            (json!({"replicas": 2, "color": "red"}), Standing::Outdated),
        ];
        for (held, expected) in rows {
            assert_eq!(standing(&sent, &held, &sent), expected, "{held}");
        }
        assert_eq!(
            standing(&json!(null), &json!({"color": "red"}), &json!(null)),
            foreign(".spec.values.color")
        );
        assert_eq!(standing(&sent, &sent, &json!({"env": "y"})), Standing::Outdated);
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
