//! Objects as a list or a watch brings them, each read by itself.
//!
//! The API server takes objects that this program cannot read: nested deeper than its parser goes, or with a time after
//! the last that it knows, be it in `managedFields`. Whoever may write one object of a kind could make every list of that
//! kind unreadable, and so stop what is done for all others.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// An object, or why it cannot be read. Only for JSON, where the text of a part can be kept.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that cannot be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Which one it is: no more than [`lean_metadata`] reads.
    pub metadata: ObjectMeta,
    /// Why it cannot be read.
    pub error: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let read = match serde_json::from_str(text.get()) {
            Ok(object) => Ok(object),
            Err(error) => {
                let Headed { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
                Err(Unreadable { metadata, error: error.to_string() })
            }
        };
        Ok(Self(read))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }
}

#[derive(Deserialize)]
struct Headed {
    #[serde(deserialize_with = "lean_metadata")]
    metadata: ObjectMeta,
}

/// Of an object's metadata what the API server alone writes, and its names: identity, versions, times.
///
/// # Errors
/// It is none of an object that an API server holds.
pub fn lean_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let metadata = labelled_metadata(deserializer)?;
    Ok(ObjectMeta { labels: None, annotations: None, ..metadata })
}

/// As [`lean_metadata`], with labels and annotations.
///
/// # Errors
/// It is none of an object that an API server holds.
pub fn labelled_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let lean = Lean::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: lean.name,
        namespace: lean.namespace,
        uid: lean.uid,
        generation: lean.generation,
        resource_version: lean.resource_version,
        creation_timestamp: lean.creation_timestamp,
        deletion_timestamp: lean.deletion_timestamp,
        labels: lean.labels,
        annotations: lean.annotations,
        ..ObjectMeta::default()
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Lean {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    generation: Option<i64>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Objects that the API server takes and nothing here can read, as it lists and tells them.
#[cfg(test)]
pub(crate) mod odd {
    use serde_json::{Value, json};

    /// A list of an object with so odd a spec, one with so odd a time, and one like any other.
    pub(crate) fn list() -> String {
        format!(r#"{{"kind": "L", "apiVersion": "v1", "metadata": {{}}, "items": [{}]}}"#, all().join(","))
    }

    /// The same three, as a watch tells them.
    pub(crate) fn events() -> Vec<String> {
        all().iter().map(|object| format!(r#"{{"type": "ADDED", "object": {object}}}"#)).collect()
    }

    fn all() -> [String; 3] {
        let deep = format!("{}{{}}{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        let mut late = object("late", &json!({}));
        late["metadata"]["managedFields"] = json!([{"manager": "m", "time": "9999-12-31T23:59:59Z"}]);
        let odd = object("deep", &json!("here")).to_string().replace(r#""here""#, &deep);
        [odd, late.to_string(), object("good", &json!({})).to_string()]
    }

    fn object(name: &str, inline: &Value) -> Value {
        let condition = json!({"type": "Ready", "status": "True", "reason": "r", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "7"},
            "spec": {"appRef": {"catalogId": "hello"}, "values": {"source": "inline", "inline": inline}},
            "status": {"conditions": [condition]},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::{
        ResourceExt as _,
        core::{ObjectList, WatchEvent},
    };
    use vworkspace_crds::ApplicationInstance;

    type One = Guarded<ApplicationInstance>;

    #[test]
    fn an_object_that_cannot_be_read_stands_in_no_others_way() {
        let is_read = |object: &One| (object.name_any(), object.resource_version(), object.0.is_ok());
        let expected = [("deep", false), ("late", false), ("good", true)]
            .map(|(name, is_ok)| (name.to_owned(), Some("7".to_owned()), is_ok));
        let list: ObjectList<One> = serde_json::from_str(&odd::list()).unwrap();
        assert_eq!(list.items.iter().map(is_read).collect::<Vec<_>>(), expected);
        let told = odd::events().into_iter().map(|event| match serde_json::from_str(&event).unwrap() {
            WatchEvent::Added(object) => is_read(&object),
            other => panic!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
