//! Handing objects to the API server: gate, server-side apply without force, delete.

use crate::rotations::RotationError;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind, Status},
};
use serde_json::Value;
use thiserror::Error;
use vworkspace_crds::key::{AGENT_FIELD_MANAGER, NAMESPACE_GATE, NAMESPACE_GATE_OPEN};
use vworkspace_protocol::{ObjectRef, outcome::FieldConflict};

/// Cause of a 409 that is about field ownership (Kubernetes API, `metav1.CauseTypeFieldManagerConflict`).
const FIELD_MANAGER_CONFLICT: &str = "FieldManagerConflict";
/// How the API server begins to say, with a status 500, that a manifest and its kind's schema do not go together.
const UNTYPED: &str = "failed to create typed patch object";

/// Why a job was not taken.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Other managers own fields that the job wants to set. Nothing is retried or forced.
    #[error("{message}")]
    Conflict {
        /// For people.
        message: String,
        /// Who owns what.
        conflicts: Vec<FieldConflict>,
    },
    /// It never will.
    #[error("{0}")]
    Refused(String),
    /// It may, later.
    #[error("{0}")]
    Transient(String),
}

impl From<RotationError> for ApplyError {
    fn from(error: RotationError) -> Self {
        let text = error.to_string();
        match error {
            RotationError::Refused(_) => Self::Refused(text),
            RotationError::Later(_) => Self::Transient(text),
        }
    }
}

/// What became of a deletion request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object is gone, or never was.
    Gone,
    /// Finalizers are at work on this life of the object.
    Pending(ObjectRef),
}

/// Writes what jobs ask for, as field manager `vworkspace-agent`; cheap to clone.
#[derive(Clone)]
pub struct Applier {
    client: Client,
}

impl Applier {
    /// An applier that acts under the client's identity.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Applies the manifest; gives the object back with uid and generation. The API server also takes what is being
    /// deleted: it is applied again once that is gone.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply(&self, object: &ObjectRef, manifest: &Value) -> Result<ObjectRef, ApplyError> {
        self.pass_gate(&object.namespace).await?;
        let params = PatchParams::apply(AGENT_FIELD_MANAGER);
        let applied = self.api(object)?.patch(&object.name, &params, &Patch::Apply(manifest)).await;
        lasting(object, &applied.map_err(classify)?)
    }

    /// Asks for the object's deletion. An object that is not there is gone.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn delete(&self, object: &ObjectRef) -> Result<Deletion, ApplyError> {
        self.pass_gate(&object.namespace).await?;
        match self.api(object)?.delete(&object.name, &DeleteParams::default()).await {
            Ok(answer) => Ok(answer.left().map_or(Deletion::Gone, |left| pending(object, &left))),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Deletion::Gone),
            Err(error) => Err(classify(error)),
        }
    }

    /// The life of the object that is there now.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn find(&self, object: &ObjectRef) -> Result<Option<ObjectRef>, ApplyError> {
        let found = self.api(object)?.get_metadata_opt(&object.name).await.map_err(classify)?;
        Ok(found.map(|found| ObjectRef {
            uid: found.metadata.uid.unwrap_or_default(),
            generation: found.metadata.generation.unwrap_or_default(),
            ..object.clone()
        }))
    }

    /// Only namespaces that their admin opened (contract, section 5).
    async fn pass_gate(&self, namespace: &str) -> Result<(), ApplyError> {
        let found =
            Api::<Namespace>::all(self.client.clone()).get_metadata_opt(namespace).await.map_err(classify)?;
        let open =
            found.is_some_and(|n| n.labels().get(NAMESPACE_GATE).is_some_and(|v| v == NAMESPACE_GATE_OPEN));
        if open { Ok(()) } else { Err(ApplyError::Refused(not_gated(namespace))) }
    }

    fn api(&self, object: &ObjectRef) -> Result<Api<DynamicObject>, ApplyError> {
        let resource = resource_of(object).ok_or_else(|| {
            ApplyError::Refused(format!("apiVersion {:?} cannot be read", object.api_version))
        })?;
        Ok(Api::namespaced_with(self.client.clone(), &object.namespace, &resource))
    }
}

fn not_gated(namespace: &str) -> String {
    format!(
        "NamespaceNotGated: namespace {namespace:?} is not opened to the operator; \
         the cluster's admin opens it with the label {NAMESPACE_GATE}={NAMESPACE_GATE_OPEN}"
    )
}

/// Our kinds have regular plural names.
fn resource_of(object: &ObjectRef) -> Option<ApiResource> {
    let (group, version) = object.api_version.split_once('/')?;
    let kind = GroupVersionKind::gvk(group, version, &object.kind);
    Some(ApiResource::from_gvk_with_plural(&kind, &format!("{}s", object.kind.to_lowercase())))
}

/// The applied object, unless it is about to vanish.
fn lasting(object: &ObjectRef, live: &DynamicObject) -> Result<ObjectRef, ApplyError> {
    if live.metadata.deletion_timestamp.is_some() {
        return Err(ApplyError::Transient("the object is still being deleted".to_owned()));
    }
    Ok(with_identity(object, live))
}

fn with_identity(object: &ObjectRef, live: &DynamicObject) -> ObjectRef {
    ObjectRef {
        uid: live.uid().unwrap_or_default(),
        generation: live.metadata.generation.unwrap_or_default(),
        ..object.clone()
    }
}

/// The API server answers with the object also where nothing held it back: then it has no finalizer.
fn pending(object: &ObjectRef, left: &DynamicObject) -> Deletion {
    if left.finalizers().is_empty() { Deletion::Gone } else { Deletion::Pending(with_identity(object, left)) }
}

fn classify(error: kube::Error) -> ApplyError {
    match error {
        kube::Error::Api(status) => classify_status(&status),
        other => ApplyError::Transient(format!("the API server was not reached: {other}")),
    }
}

fn classify_status(status: &Status) -> ApplyError {
    let conflicts = conflicts(status);
    match status.code {
        409 if !conflicts.is_empty() => {
            ApplyError::Conflict { message: conflict_message(&conflicts), conflicts }
        }
        // Said of the manifest, which no other try makes better.
        500 if status.message.starts_with(UNTYPED) => ApplyError::Refused(status.message.clone()),
        // A 409 without owners is a race, for example with a deletion that is not finished; a 401 is about us and not about
        // the job: our token has just been replaced, or the API server has just started.
        401 | 408 | 409 | 429 | 500.. => ApplyError::Transient(status.message.clone()),
        _ => ApplyError::Refused(status.message.clone()),
    }
}

fn conflicts(status: &Status) -> Vec<FieldConflict> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let about_fields = causes.filter(|cause| cause.reason == FIELD_MANAGER_CONFLICT);
    about_fields
        .map(|cause| FieldConflict { manager: manager_of(&cause.message), field_path: cause.field.clone() })
        .collect()
}

/// The cause's text reads `conflict with "NAME" using GROUP/VERSION at TIME`: the name is in no field of its own.
fn manager_of(message: &str) -> String {
    message.split('"').nth(1).unwrap_or(message).to_owned()
}

fn conflict_message(conflicts: &[FieldConflict]) -> String {
    let owned = conflicts.iter().map(|c| format!("{} is owned by {:?}", c.field_path, c.manager));
    format!("conflict: {}", owned.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(value: Value) -> Status {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn field_owners_are_read_from_the_causes() {
        let error = classify_status(&status(json!({
            "status": "Failure", "code": 409, "reason": "Conflict", "message": "Apply failed with 1 conflict",
            "details": {"causes": [{
                "reason": "FieldManagerConflict",
                "message": "conflict with \"kubectl-edit\" using apps.vworkspace.io/v1alpha1 at 2026-01-01T00:00:00Z",
                "field": ".spec.chart.version"}]}
        })));
        let ApplyError::Conflict { message, conflicts } = error else { panic!("{error}") };
        assert_eq!(
            conflicts,
            [FieldConflict { manager: "kubectl-edit".into(), field_path: ".spec.chart.version".into() }]
        );
        assert_eq!(message, r#"conflict: .spec.chart.version is owned by "kubectl-edit""#);
    }

    #[test]
    fn what_is_being_deleted_is_applied_again_later() {
        let live = |deleted: Value| {
            let metadata = json!({"name": "web", "uid": "u", "generation": 2, "deletionTimestamp": deleted});
            serde_json::from_value::<DynamicObject>(json!({"metadata": metadata})).unwrap()
        };
        let object = ObjectRef { name: "web".into(), ..ObjectRef::default() };
        assert_eq!(lasting(&object, &live(Value::Null)).unwrap().uid, "u");
        let dying = lasting(&object, &live(json!("2026-01-01T00:00:00Z")));
        assert!(matches!(dying, Err(ApplyError::Transient(_))));
    }

    #[test]
    fn a_field_that_no_schema_has_is_refused_though_the_api_server_calls_it_an_internal_error() {
        let message = "failed to create typed patch object (demo/x; apps.vworkspace.io/v1alpha1, \
             Kind=ApplicationInstance): .spec.chrat: field not declared in schema";
        let unknown = classify_status(&status(json!({"code": 500, "message": message})));
        assert!(matches!(unknown, ApplyError::Refused(why) if why.contains(".spec.chrat")));
    }

    #[test]
    fn that_the_api_server_does_not_know_us_at_the_moment_says_nothing_about_the_job() {
        let unknown = json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"});
        assert!(matches!(classify_status(&status(unknown)), ApplyError::Transient(_)));
    }

    #[test]
    fn races_and_overload_are_tried_again_and_refusals_are_not() {
        let classified = |code: u16| classify_status(&status(json!({"code": code, "message": "m"})));
        for code in [409, 429, 500, 503] {
            assert!(matches!(classified(code), ApplyError::Transient(_)), "{code}");
        }
        for code in [400, 403, 404, 422] {
            assert!(matches!(classified(code), ApplyError::Refused(m) if m == "m"), "{code}");
        }
    }
}
