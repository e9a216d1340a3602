//! Handing objects to the API server: gate, server-side apply without force, delete.

mod answer;

use crate::{
    cause::cause,
    namespace_access::{NamespaceAccess, is_no_answer},
    rotations::RotationError,
};
use answer::Answer;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::{ApiResource, GroupVersionKind, Status},
};
use serde_json::{Map, Value};
use std::time::Duration;
use thiserror::Error;
use vworkspace_core::namespace_access::Standing;
use vworkspace_crds::key::{AGENT_FIELD_MANAGER, NAMESPACE_GATE, NAMESPACE_GATE_OPEN};
use vworkspace_protocol::{ObjectRef, condition::reasons, outcome::FieldConflict};

/// Cause of a 409 that is about field ownership (Kubernetes API, `metav1.CauseTypeFieldManagerConflict`).
const FIELD_MANAGER_CONFLICT: &str = "FieldManagerConflict";
/// How the API server begins to say, with a status 500, that a manifest and its kind's schema do not go together.
const UNTYPED: &str = "failed to create typed patch object";

/// The status of an object that breaks its kind's schema or rules.
const INVALID: u16 = 422;

/// How long a yes about the rights in a namespace counts for later jobs.
const GRANTED_FOR: Duration = Duration::from_secs(60);
/// How long a no counts: jobs that come together share it.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// Most tries within one call, each on what is there by then: controllers write the object's status at any time.
const MAX_RACES: u32 = 5;

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
    /// It was reached and does not take it now; it may, later. A later job for the object may go first.
    #[error("{0}")]
    Declined(String),
    /// Nobody knows, or it goes on; it is to be asked for again.
    #[error("{0}")]
    Unsettled(String),
}

impl From<RotationError> for ApplyError {
    fn from(error: RotationError) -> Self {
        let text = error.to_string();
        match error {
            RotationError::Refused(_) => Self::Refused(text),
            RotationError::Later(_) => Self::Unsettled(text),
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
    access: NamespaceAccess,
}

impl Applier {
    /// An applier that acts under the client's identity.
    pub fn new(client: Client, access: NamespaceAccess) -> Self {
        Self { client, access }
    }

    /// Applies the manifest; gives the object back with uid and generation. What is being deleted is left alone, and is
    /// applied once it is gone. If the API server holds something else than was sent, it is sent once more.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply(&self, object: &ObjectRef, manifest: &Value) -> Result<ObjectRef, ApplyError> {
        self.pass_gate(&object.namespace).await?;
        let (api, params) = (self.api(object)?, PatchParams::apply(AGENT_FIELD_MANAGER));
        let (mut tries, mut is_repeat) = (0, false);
        loop {
            tries += 1;
            let found = api.get_opt(&object.name).await.map_err(classify)?;
            let sent = conditional(manifest, found.as_ref())?;
            found.as_ref().map_or(Ok(()), |found| answer::check_owners(manifest, found))?;
            match api.patch(&object.name, &params, &Patch::Apply(&sent)).await {
                Err(kube::Error::Api(status)) if is_race(&status) && tries < MAX_RACES => {}
                Err(kube::Error::Api(status)) if status.code == INVALID => {
                    return Err(answer::explain_refusal(&status, manifest, found.as_ref()));
                }
                applied => {
                    let live = applied.map_err(classify)?;
                    let applied = lasting(object, &live)?;
                    match answer::judge(manifest, &live, is_repeat)? {
                        Answer::Held => return Ok(applied),
                        Answer::SendAgain => is_repeat = true,
                    }
                }
            }
        }
    }

    /// Applies once more what jobs have applied of the object, with these annotations.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn sync(
        &self,
        object: &ObjectRef,
        annotations: &Map<String, Value>,
    ) -> Result<ObjectRef, ApplyError> {
        self.pass_gate(&object.namespace).await?;
        let found = self.api(object)?.get_opt(&object.name).await.map_err(classify)?;
        self.apply(object, &answer::applied_again(object, found.as_ref(), annotations)?).await
    }

    /// Asks for the deletion of the object as it is there now. An object that is not there is gone.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn delete(&self, object: &ObjectRef) -> Result<Deletion, ApplyError> {
        self.pass_gate(&object.namespace).await?;
        let api = self.api(object)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(found) = api.get_metadata_opt(&object.name).await.map_err(classify)? else {
                return Ok(Deletion::Gone);
            };
            let (uid, resource_version) = (found.metadata.uid, found.metadata.resource_version);
            let preconditions = Some(Preconditions { uid, resource_version });
            let params = DeleteParams { preconditions, ..DeleteParams::default() };
            match api.delete(&object.name, &params).await {
                Err(kube::Error::Api(status)) if is_race(&status) && tries < MAX_RACES => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Deletion::Gone),
                Err(error) => return Err(classify(error)),
                Ok(answer) => {
                    return Ok(answer.left().map_or(Deletion::Gone, |left| pending(object, &left)));
                }
            }
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

    /// Only namespaces that their admin opened (contract, section 5), by label and by RoleBinding.
    async fn pass_gate(&self, namespace: &str) -> Result<(), ApplyError> {
        let found =
            Api::<Namespace>::all(self.client.clone()).get_metadata_opt(namespace).await.map_err(classify)?;
        let Some(found) = found else { return Err(ApplyError::Refused(not_found(namespace))) };
        if found.labels().get(NAMESPACE_GATE).is_none_or(|value| value != NAMESPACE_GATE_OPEN) {
            return Err(ApplyError::Refused(not_gated(namespace)));
        }
        if found.metadata.deletion_timestamp.is_some() {
            // Its RoleBinding goes before its other objects. The API server says what is still possible there.
            return Ok(());
        }
        self.pass_review(namespace).await
    }

    /// Without the RoleBinding the object would be taken, since its kind is allowed cluster-wide, and nothing would
    /// ever become of it. One refusal is not believed.
    async fn pass_review(&self, namespace: &str) -> Result<(), ApplyError> {
        let is_granted = self.access.standing(namespace) == Standing::Granted;
        let age = if is_granted { GRANTED_FOR } else { REFUSED_FOR };
        let standing = match self.access.ask(namespace, age).await {
            Ok(standing) => standing,
            Err(error) if is_no_answer(&error) => return Ok(()),
            Err(error) => return Err(classify(error)),
        };
        match standing {
            Standing::Unknown | Standing::Granted => Ok(()),
            Standing::Refused => Err(ApplyError::Declined(self.not_authorized(namespace).await)),
            Standing::Confirmed => Err(ApplyError::Refused(self.not_authorized(namespace).await)),
        }
    }

    async fn not_authorized(&self, namespace: &str) -> String {
        format!("{}: {}", reasons::NAMESPACE_NOT_AUTHORIZED, self.access.remedy(namespace).await)
    }

    fn api(&self, object: &ObjectRef) -> Result<Api<DynamicObject>, ApplyError> {
        let resource = resource_of(object).ok_or_else(|| {
            ApplyError::Refused(format!("apiVersion {:?} cannot be read", object.api_version))
        })?;
        Ok(Api::namespaced_with(self.client.clone(), &object.namespace, &resource))
    }
}

/// It is not gated either, which is what older users of the API look for.
fn not_found(namespace: &str) -> String {
    format!(
        "{}: namespace {namespace:?} does not exist, and is {} therefore; the cluster's admin creates it, and opens it \
         with the label {NAMESPACE_GATE}={NAMESPACE_GATE_OPEN}",
        reasons::NAMESPACE_NOT_FOUND,
        reasons::NAMESPACE_NOT_GATED
    )
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

/// The manifest, for exactly what was found: a write that comes late, after its repetition or after the next job's,
/// changes nothing (Kubernetes API conventions, concurrency control). Where nothing was found, no condition says so.
fn conditional(manifest: &Value, found: Option<&DynamicObject>) -> Result<Value, ApplyError> {
    let mut manifest = manifest.clone();
    let Some(found) = found.map(|found| &found.metadata) else { return Ok(manifest) };
    if found.deletion_timestamp.is_some() {
        return Err(still_being_deleted());
    }
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), found.uid.clone().into());
        metadata.insert("resourceVersion".to_owned(), found.resource_version.clone().into());
    }
    Ok(manifest)
}

/// The applied object, unless it is about to vanish: nothing was found, and somebody made and deleted it since.
fn lasting(object: &ObjectRef, live: &DynamicObject) -> Result<ObjectRef, ApplyError> {
    if live.metadata.deletion_timestamp.is_some() {
        return Err(still_being_deleted());
    }
    Ok(with_identity(object, live))
}

fn still_being_deleted() -> ApplyError {
    ApplyError::Declined("the object is still being deleted".to_owned())
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
        other => ApplyError::Unsettled(format!("the API server was not reached: {}", cause(&other))),
    }
}

/// A 409 without owners: what is there is not what was found.
fn is_race(status: &Status) -> bool {
    status.code == 409 && conflicts(status).is_empty()
}

fn classify_status(status: &Status) -> ApplyError {
    let conflicts = conflicts(status);
    match status.code {
        409 if !conflicts.is_empty() => {
            ApplyError::Conflict { message: conflict_message(&conflicts), conflicts }
        }
        // Said of the manifest, which no other try makes better.
        500 if status.message.starts_with(UNTYPED) => ApplyError::Refused(status.message.clone()),
        // A 502 or 504 says that somebody waited for an answer in vain: the API server may have the write, and do it later.
        502 | 504 => ApplyError::Unsettled(status.message.clone()),
        // About us and not about the job, nor better for the next one: our token has just been replaced, or the API server
        // has just started.
        401 => ApplyError::Unsettled(status.message.clone()),
        // A 409 without owners is a race, for example with a deletion that is not finished.
        408 | 409 | 429 | 500.. => ApplyError::Declined(status.message.clone()),
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
mod tests;
