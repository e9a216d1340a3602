//! What counts of a payload's metadata: name, namespace, labels and annotations (contract, section 2). Pure.

use super::Refusal;
use serde_json::{Map, Value};
use vworkspace_crds::key::{APPLICATION_INSTANCE_FINALIZER, OPERATION_FINALIZER};

/// Members that a job sets.
const COUNT: [&str; 4] = ["name", "namespace", "labels", "annotations"];
/// Members that the API server writes: an object that was read from it has them.
const OF_THE_API_SERVER: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Set by our controllers, who also remove them.
const OWN_FINALIZERS: [&str; 2] = [APPLICATION_INSTANCE_FINALIZER, OPERATION_FINALIZER];
/// Annotations of other tools' own bookkeeping.
const RESERVED_ANNOTATIONS: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];

/// Leaves what a job may set.
///
/// # Errors
/// A member that would have an effect that no job may have.
pub(super) fn narrow(metadata: &mut Map<String, Value>) -> Result<(), Refusal> {
    metadata.retain(|name, value| !OF_THE_API_SERVER.contains(&name.as_str()) && !is_empty(value));
    for (name, value) in metadata.iter_mut() {
        match name.as_str() {
            "finalizers" => check_finalizers(value)?,
            "annotations" => check_annotations(value)?,
            "ownerReferences" => {
                let why = "the object would be deleted with its owner";
                return Err(refusal("metadata.ownerReferences[0]".to_owned(), why));
            }
            name if !COUNT.contains(&name) => {
                return Err(refusal(
                    format!("metadata.{name}"),
                    "only name, namespace, labels and annotations count",
                ));
            }
            _ => {}
        }
        if let Some(members) = value.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
    }
    metadata.remove("finalizers");
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// One that nobody removes would hold the object, and its namespace, for ever.
fn check_finalizers(finalizers: &Value) -> Result<(), Refusal> {
    let why = "nothing in the cluster would remove this finalizer";
    let Some(finalizers) = finalizers.as_array() else {
        return Err(refusal("metadata.finalizers".to_owned(), "it is no list"));
    };
    let is_own = |finalizer: &Value| finalizer.as_str().is_some_and(|name| OWN_FINALIZERS.contains(&name));
    match finalizers.iter().position(|finalizer| !is_own(finalizer)) {
        Some(index) => Err(refusal(format!("metadata.finalizers[{index}]"), why)),
        None => Ok(()),
    }
}

fn check_annotations(annotations: &Value) -> Result<(), Refusal> {
    let is_set = |name: &&str| annotations.get(*name).is_some_and(|value| !value.is_null());
    match RESERVED_ANNOTATIONS.into_iter().find(is_set) {
        Some(name) => Err(refusal(
            format!("metadata.annotations[{name:?}]"),
            "kubectl keeps what it applied last in it",
        )),
        None => Ok(()),
    }
}

fn refusal(path: String, why: &'static str) -> Refusal {
    Refusal::Metadata { path, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn narrowed(metadata: Value) -> Result<Value, Refusal> {
        let Value::Object(mut metadata) = metadata else { panic!("no object") };
        narrow(&mut metadata)?;
        Ok(metadata.into())
    }

    #[test]
    fn name_namespace_labels_and_annotations_count() {
        let counts = json!({"name": "web", "namespace": "team", "labels": {"a": "", "b": "1"},
            "annotations": {"note": "x"}});
        assert_eq!(narrowed(counts.clone()).unwrap(), counts);
    }

    #[test]
    fn what_the_api_server_writes_and_empty_members_are_ignored() {
        let exported = json!({
            "name": "web", "namespace": "team", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "selfLink": "/x", "managedFields": [{"manager": "m"}],
            "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0,
            "finalizers": ["apps.vworkspace.io/finalizer", "ops.vworkspace.io/finalizer"],
            "ownerReferences": [], "annotations": null, "labels": {"a": null, "b": "1"}, "generateName": "",
        });
        let expected = json!({"name": "web", "namespace": "team", "labels": {"b": "1"}});
        assert_eq!(narrowed(exported).unwrap(), expected);
        let created = json!({"name": "web", "creationTimestamp": null, "finalizers": null, "labels": {}});
        assert_eq!(narrowed(created).unwrap(), json!({"name": "web"}));
    }

    #[test]
    fn what_no_job_may_set_is_refused_by_path() {
        let last_applied = "kubectl.kubernetes.io/last-applied-configuration";
        let rows = [
            (
                json!({"finalizers": ["apps.vworkspace.io/finalizer", "example.com/x"]}),
                "metadata.finalizers[1]",
            ),
            (json!({"finalizers": [7]}), "metadata.finalizers[0]"),
            (json!({"finalizers": "x"}), "metadata.finalizers"),
            (json!({"ownerReferences": [{"uid": "u"}]}), "metadata.ownerReferences[0]"),
            (
                json!({"annotations": {last_applied: "{}"}}),
                r#"metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]"#,
            ),
            (json!({"generateName": "web-"}), "metadata.generateName"),
            (json!({"lables": {"a": "b"}}), "metadata.lables"),
        ];
        for (metadata, expected) in rows {
            match narrowed(metadata) {
                Err(Refusal::Metadata { path, .. }) => assert_eq!(path, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
