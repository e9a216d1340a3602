//! From a job's payload to what is done with which object. Pure.

mod metadata;

use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value, json};
use thiserror::Error;
use vworkspace_core::{
    agent::{ObjectKey, job_run::Goal},
    canonical,
};
use vworkspace_crds::key::{
    CLUSTER_ID, FORCED_REQUEST, MANAGED_BY, MANAGED_BY_CONTROL_PLANE, REQUEST, is_name,
};
use vworkspace_protocol::{
    ClusterId, Job, JobKind, ObjectRef, condition::reasons::INLINE_SECRET_MATERIAL_REJECTED,
    job::DeleteTarget, limits::clip,
};
use vworkspace_rules::secret;

/// Kinds that jobs may apply and delete (contract, section 5).
const OWN_KINDS: [(&str, &str); 2] =
    [("apps.vworkspace.io/v1alpha1", APPLICATION_INSTANCE), ("ops.vworkspace.io/v1alpha1", "Operation")];

/// Deepest nesting of a manifest. The API server answers with the object and says of each of its fields who owns it, as
/// deep again and a little deeper; beyond 128 that answer could not be read, and nobody would know that it took the job.
const MAX_DEPTH: usize = 100;

/// So much is shown of a text that is no name: as much as the longest name has.
const NAME_SHOWN: usize = 253;

/// The kind whose values are looked into.
const APPLICATION_INSTANCE: &str = "ApplicationInstance";

/// The kind that a rotation is about.
const CLUSTER: &str = "Cluster";

/// What a job does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hand the manifest to the API server.
    Apply {
        /// The object, without uid and generation.
        object: ObjectRef,
        /// As it is sent.
        manifest: Value,
        /// What must hold in the end.
        goal: Goal,
    },
    /// Apply what jobs have applied of the object once more, as a request of its own.
    Sync {
        /// The object, without uid and generation.
        object: ObjectRef,
        /// What the request is, as annotations.
        annotations: Map<String, Value>,
        /// What must hold in the end.
        goal: Goal,
    },
    /// Delete the object and wait until it is gone.
    Delete {
        /// The object, without uid and generation.
        object: ObjectRef,
    },
    /// Exchange the credential for a new one.
    Rotate,
}

impl Action {
    /// Names the values of an ApplicationInstance that look like secrets, as the job's error.
    pub fn secrets(&self) -> Option<String> {
        let Self::Apply { object, manifest, .. } = self else { return None };
        let values = manifest.pointer("/spec/values").filter(|_| object.kind == APPLICATION_INSTANCE)?;
        let words = secret::words(&secret::in_values(values))?;
        Some(format!("{INLINE_SECRET_MATERIAL_REJECTED}: spec.{words}"))
    }

    /// The lane the job belongs to. Rotations have one of their own: they are made one after the other.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Apply { object, .. } | Self::Sync { object, .. } | Self::Delete { object } => {
                ObjectKey::from(object)
            }
            Self::Rotate => {
                ObjectKey { kind: CLUSTER.to_owned(), namespace: String::new(), name: String::new() }
            }
        }
    }
}

/// Why a job cannot be done; its text is the job's error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A job kind this build does not know.
    #[error("unsupported job kind {0:?}")]
    UnknownKind(String),
    /// An intent this build does not know.
    #[error("unsupported intent {0:?}")]
    UnknownIntent(String),
    /// The payload lacks something, or is not of the shape its kind asks for.
    #[error("malformed payload: {0}")]
    Malformed(String),
    /// A member of the object's metadata that no job may set.
    #[error("{path} cannot be set by a job: {why}")]
    Metadata {
        /// The member.
        path: String,
        /// For people.
        why: &'static str,
    },
    /// An object that jobs may not touch.
    #[error(
        "KindNotAllowed: jobs of this cluster may not {verb} {api_version} {kind}; allowed are ApplicationInstance and Operation"
    )]
    KindNotAllowed {
        /// `apply` or `delete`.
        verb: &'static str,
        /// As the payload says.
        api_version: String,
        /// As the payload says.
        kind: String,
    },
}

/// What the job does, with the ownership labels of `cluster`.
///
/// # Errors
/// See [`Refusal`]; it concerns this job alone.
pub fn of_job(job: &Job, cluster: &ClusterId) -> Result<Action, Refusal> {
    check_text(job.payload.get())?;
    match &job.kind {
        JobKind::Apply => apply(read(job.payload.get())?, job, cluster),
        JobKind::Delete => delete(read::<DeleteTarget>(job.payload.get())?),
        JobKind::Intent => intent(job, cluster),
        JobKind::Other(kind) => Err(Refusal::UnknownKind(kind.clone())),
    }
}

/// Refuses what the API server would hold as something else than what was asked.
fn check_text(payload: &str) -> Result<(), Refusal> {
    let form = canonical::read(payload).map_err(|error| Refusal::Malformed(error.to_string()))?;
    form.inexact.map_or(Ok(()), |found| {
        let number = clip(&found.number, 64);
        let path = found.path;
        Err(Refusal::Malformed(format!(
            "{path} is {number}, which the API server would round; write it as a text"
        )))
    })
}

fn intent(job: &Job, cluster: &ClusterId) -> Result<Action, Refusal> {
    let mut payload: Map<String, Value> = read(job.payload.get())?;
    let name = payload.get("intent").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut member = |member: &str| {
        let object = payload.remove(member).filter(|value| !value.is_null());
        object.ok_or_else(|| Refusal::Malformed(format!("{name} requires {member}")))
    };
    match name.as_str() {
        "ensure-application-instance" => {
            own(member("applicationInstance")?, "ApplicationInstance", job, cluster)
        }
        "request-operation" => own(member("operation")?, "Operation", job, cluster),
        "delete-application-instance" => {
            let text =
                |value: Option<Value>| value.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            let (api_version, kind) = OWN_KINDS[0];
            delete(DeleteTarget {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                name: text(member("name").ok()),
                namespace: text(member("namespace").ok()),
            })
        }
        "sync-application-instance" => {
            let text =
                |member: &str| payload.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
            sync(text("name"), text("namespace"), job)
        }
        "rotate-operator-credentials" => Ok(Action::Rotate),
        "" => Err(Refusal::Malformed("an intent needs the member \"intent\"".to_owned())),
        _ => Err(Refusal::UnknownIntent(name)),
    }
}

/// The spec stays as jobs have applied it.
fn sync(name: String, namespace: String, job: &Job) -> Result<Action, Refusal> {
    let (api_version, kind) = OWN_KINDS[0];
    let object = ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: named(name, "name")?,
        namespace: named(namespace, "namespace")?,
        ..ObjectRef::default()
    };
    let goal = Goal::of_apply(kind, job.wait_for);
    let mut annotations = Map::new();
    insert_request(&mut annotations, job);
    Ok(Action::Sync { object, annotations, goal })
}

fn insert_request(annotations: &mut Map<String, Value>, job: &Job) {
    annotations.insert(REQUEST.to_owned(), job.id.as_str().into());
    if job.force {
        annotations.insert(FORCED_REQUEST.to_owned(), job.id.as_str().into());
    }
}

/// An intent names the kind by itself: a manifest of another kind in it is an error, not a way around.
fn own(manifest: Value, kind: &str, job: &Job, cluster: &ClusterId) -> Result<Action, Refusal> {
    let action = apply(manifest, job, cluster)?;
    match action.key().kind {
        named if named == kind => Ok(action),
        named => Err(Refusal::Malformed(format!("the object is a {named}, not a {kind}"))),
    }
}

fn apply(mut manifest: Value, job: &Job, cluster: &ClusterId) -> Result<Action, Refusal> {
    let object = object_of(&manifest)?;
    if depth(&manifest) > MAX_DEPTH {
        return Err(Refusal::Malformed(format!("the manifest is nested deeper than {MAX_DEPTH} levels")));
    }
    let root =
        manifest.as_object_mut().ok_or_else(|| Refusal::Malformed("the manifest is no object".to_owned()))?;
    // Written by the API server and our controllers only; sending them would be refused or make false conflicts.
    root.remove("status");
    let goal = Goal::of_apply(&object.kind, job.wait_for);
    if let Some(metadata) = root.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata::narrow(metadata)?;
        label(metadata, cluster)?;
        if object.kind == OWN_KINDS[0].1 {
            request(metadata, job, goal)?;
        }
    }
    Ok(Action::Apply { object, manifest, goal })
}

/// Bounded by that of what was parsed.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(values) => values.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    1 + inner.unwrap_or_default()
}

fn label(metadata: &mut Map<String, Value>, cluster: &ClusterId) -> Result<(), Refusal> {
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    let labels = labels
        .as_object_mut()
        .ok_or_else(|| Refusal::Malformed("metadata.labels is no object".to_owned()))?;
    labels.insert(MANAGED_BY.to_owned(), MANAGED_BY_CONTROL_PLANE.into());
    labels.insert(CLUSTER_ID.to_owned(), cluster.as_str().into());
    Ok(())
}

/// A job that waits for the goal is a request that Flux must handle. A replay repeats the value; what an exported object
/// carries of an earlier job does not count.
fn request(metadata: &mut Map<String, Value>, job: &Job, goal: Goal) -> Result<(), Refusal> {
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    let annotations = annotations
        .as_object_mut()
        .ok_or_else(|| Refusal::Malformed("metadata.annotations is no object".to_owned()))?;
    annotations.remove(REQUEST);
    annotations.remove(FORCED_REQUEST);
    if goal == Goal::Ready {
        insert_request(annotations, job);
    }
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    Ok(())
}

fn delete(payload: DeleteTarget) -> Result<Action, Refusal> {
    let object = ObjectRef {
        api_version: required(payload.api_version, "apiVersion")?,
        kind: required(payload.kind, "kind")?,
        namespace: payload.namespace,
        name: named(payload.name, "name")?,
        ..ObjectRef::default()
    };
    allow("delete", &object)?;
    named(object.namespace.clone(), "namespace")?;
    Ok(Action::Delete { object })
}

fn object_of(manifest: &Value) -> Result<ObjectRef, Refusal> {
    let text =
        |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let object = ObjectRef {
        api_version: required(text("/apiVersion"), "apiVersion")?,
        kind: required(text("/kind"), "kind")?,
        name: text("/metadata/name"),
        namespace: text("/metadata/namespace"),
        ..ObjectRef::default()
    };
    allow("apply", &object)?;
    named(object.name.clone(), "metadata.name")?;
    named(object.namespace.clone(), "metadata.namespace")?;
    Ok(object)
}

fn allow(verb: &'static str, object: &ObjectRef) -> Result<(), Refusal> {
    if OWN_KINDS.contains(&(object.api_version.as_str(), object.kind.as_str())) {
        return Ok(());
    }
    Err(Refusal::KindNotAllowed { verb, api_version: object.api_version.clone(), kind: object.kind.clone() })
}

fn named(text: String, member: &str) -> Result<String, Refusal> {
    let text = required(text, member)?;
    if is_name(&text) {
        Ok(text)
    } else {
        let shown = clip(&text, NAME_SHOWN);
        Err(Refusal::Malformed(format!("{member} {shown:?} is no name of an object")))
    }
}

fn required(text: String, member: &str) -> Result<String, Refusal> {
    if text.trim().is_empty() { Err(Refusal::Malformed(format!("{member} is required"))) } else { Ok(text) }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Refusal> {
    let read = if json == "null" {
        Err(serde_json::Error::custom("there is none"))
    } else {
        serde_json::from_str(json)
    };
    read.map_err(|e| Refusal::Malformed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The annotations with which a job is applied.
    fn annotations(job: &str, payload: &Value) -> Value {
        let mut job: Value = serde_json::from_str(job).unwrap();
        job["payload"] = payload.clone();
        let cluster = ClusterId::new("c");
        match of_job(&serde_json::from_value(job).unwrap(), &cluster).unwrap() {
            Action::Apply { manifest, .. } => manifest["metadata"]["annotations"].clone(),
            Action::Sync { annotations, .. } => annotations.into(),
            Action::Delete { .. } | Action::Rotate => Value::Null,
        }
    }

    #[test]
    fn job_that_waits_for_its_application_is_a_request() {
        let (api_version, kind) = OWN_KINDS[0];
        let mut instance =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "w", "namespace": "t"}});
        assert_eq!(annotations(r#"{"id": "j", "kind": "apply"}"#, &instance), json!({REQUEST: "j"}));
        let forced = r#"{"id": "j", "kind": "apply", "force": true}"#;
        let both = json!({REQUEST: "j", FORCED_REQUEST: "j"});
        assert_eq!(annotations(forced, &instance), both);
        // Of an exported object, what an earlier job asked for.
        instance["metadata"]["annotations"] = json!({REQUEST: "j0", FORCED_REQUEST: "j0", "note": "x"});
        let accepted = r#"{"id": "j", "kind": "apply", "waitFor": "accepted"}"#;
        assert_eq!(annotations(accepted, &instance), json!({"note": "x"}));
        let replay = annotations(r#"{"id": "j", "kind": "apply"}"#, &instance);
        assert_eq!(replay, json!({REQUEST: "j", "note": "x"}));
        let sync = json!({"intent": "sync-application-instance", "name": "w", "namespace": "t"});
        assert_eq!(annotations(r#"{"id": "j", "kind": "intent", "force": true}"#, &sync), both);
        let operation = json!({"apiVersion": OWN_KINDS[1].0, "kind": OWN_KINDS[1].1, "metadata": {"name": "w", "namespace": "t"}});
        assert_eq!(annotations(r#"{"id": "j", "kind": "apply"}"#, &operation), Value::Null);
    }

    fn of(kind: &str, payload: Value) -> Result<Action, Refusal> {
        let mut job = json!({"id": "j", "kind": kind});
        job["payload"] = payload;
        let job = serde_json::from_value(job).map_err(|e| Refusal::Malformed(e.to_string()))?;
        of_job(&job, &ClusterId::new("c-1"))
    }

    fn instance() -> Value {
        json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": "web", "namespace": "org-a", "resourceVersion": "7", "labels": {"x": "y"}},
            "spec": {}, "status": {"conditions": []},
        })
    }

    #[test]
    fn secrets_in_values_are_named_by_path() {
        let mut exposed = instance();
        exposed["spec"] = json!({"values": {"source": "inline", "inline": {"db": {"password": "hunter2"}}}});
        let words = of("apply", exposed).unwrap().secrets().unwrap();
        assert!(words.starts_with("InlineSecretMaterialRejected: spec.values.inline.db.password"), "{words}");
        assert!(!words.contains("hunter2"));
        assert_eq!(of("apply", instance()).unwrap().secrets(), None);
    }

    #[test]
    fn a_manifest_gets_our_labels_and_loses_what_the_server_writes() {
        let Action::Apply { object, manifest, goal } = of("apply", instance()).unwrap() else { panic!() };
        assert_eq!((object.name.as_str(), object.namespace.as_str(), goal), ("web", "org-a", Goal::Ready));
        let metadata = &manifest["metadata"];
        assert_eq!(
            metadata["labels"],
            json!({"x": "y", "app.vworkspace.io/managed-by": "control-plane", "app.vworkspace.io/cluster-id": "c-1"})
        );
        assert!(metadata.get("resourceVersion").is_none() && manifest.get("status").is_none());
    }

    #[test]
    fn only_our_own_kinds() {
        for manifest in [
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}}),
            json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "metadata": {"name": "c"}}),
            json!({"apiVersion": "apps/v1", "kind": "ApplicationInstance", "metadata": {"name": "s", "namespace": "n"}}),
        ] {
            let error = of("apply", manifest).unwrap_err();
            assert!(error.to_string().starts_with("KindNotAllowed"), "{error}");
        }
        let error = of("delete", json!({"apiVersion": "v1", "kind": "Namespace", "name": "n"})).unwrap_err();
        assert!(error.to_string().starts_with("KindNotAllowed"), "{error}");
    }

    /// What the API server answers about it could not be read: the job would be asked for again up to its deadline.
    #[test]
    fn a_manifest_that_is_nested_deeper_than_its_answer_could_be_read_is_refused() {
        let nested = |levels| {
            let mut manifest = instance();
            manifest["spec"] = (0..levels).fold(json!({}), |inner, _| json!({"a": inner}));
            of("apply", manifest)
        };
        assert!(nested(MAX_DEPTH - 2).is_ok());
        let refusal = nested(MAX_DEPTH).unwrap_err().to_string();
        assert!(refusal.contains("deeper than 100"), "{refusal}");
    }

    #[test]
    fn what_is_no_name_leads_to_no_other_object() {
        for name in ["?", "#", "..", "web/status", "web?dryRun=All", "web#", "a b", "Web"] {
            let target = |namespace: &str, name: &str| {
                json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
                    "namespace": namespace, "name": name})
            };
            for target in [target("team", name), target(name, "web")] {
                let refusal = of("delete", target.clone()).unwrap_err().to_string();
                assert!(refusal.contains("no name of an object"), "{target}: {refusal}");
            }
        }
    }

    #[test]
    fn intents_are_the_same_work_as_their_plain_forms() {
        let plain = of("apply", instance()).unwrap();
        let ensure = json!({"intent": "ensure-application-instance", "applicationInstance": instance()});
        assert_eq!(of("intent", ensure).unwrap(), plain);
        let gone = of(
            "intent",
            json!({"intent": "delete-application-instance", "name": "web", "namespace": "org-a"}),
        );
        assert_eq!(gone.unwrap().key(), plain.key());
    }

    #[test]
    fn rotations_share_a_lane_that_is_no_objects() {
        let rotation = of("intent", json!({"intent": "rotate-operator-credentials"})).unwrap();
        assert_eq!(rotation, Action::Rotate);
        assert_eq!(rotation.key().to_string(), "cluster//");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = |kind, payload| of(kind, payload).unwrap_err().to_string();
        assert_eq!(text("dance", json!({})), r#"unsupported job kind "dance""#);
        assert_eq!(text("intent", json!({"intent": "jump"})), r#"unsupported intent "jump""#);
        assert_eq!(
            text("intent", json!({"intent": "ensure-application-instance"})),
            "malformed payload: ensure-application-instance requires applicationInstance"
        );
        assert_eq!(text("apply", Value::Null), "malformed payload: there is none");
        assert!(text("apply", json!([1])).starts_with("malformed payload"));
        let mut nameless = instance();
        nameless["metadata"]["name"] = json!("");
        assert_eq!(text("apply", nameless), "malformed payload: metadata.name is required");
        let wrong = json!({"intent": "request-operation", "operation": instance()});
        assert_eq!(
            text("intent", wrong),
            "malformed payload: the object is a ApplicationInstance, not a Operation"
        );
        let mut odd = instance();
        odd["metadata"]["labels"] = json!("x");
        assert_eq!(text("apply", odd), "malformed payload: metadata.labels is no object");
    }
}
