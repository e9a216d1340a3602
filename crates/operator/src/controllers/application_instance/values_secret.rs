//! The Secret in which values given as texts reach Helm. Needs a client.
//!
//! Guarantees: it is made once and never changed; a Secret that is not ours is left alone; nothing is written when it is
//! there; every one that may exist is named in the instance's status before it is made, so that it can be deleted once
//! nothing uses it.

use super::{
    Shared,
    error::{Error, is_absent},
    situation::Situation,
    validate::Refusal,
    values_content, values_text,
};
use crate::{
    cause::chain,
    flux::reading::{Progress, Reading},
};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use vworkspace_crds::{ApplicationInstance, key};

/// Most Secrets of one instance that wait for a release to run; beyond it the oldest go before.
const MOST_WAITING: usize = 8;

/// The members of a Secret that are read.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    data: BTreeMap<String, ByteString>,
    #[serde(default)]
    immutable: bool,
}

/// Names the Secret in the status, where it is not named yet.
///
/// # Errors
/// The write is refused when the instance has changed since it was read; the next reconcile reads it afresh.
pub(super) async fn announce(
    shared: &Shared,
    instance: Arc<ApplicationInstance>,
) -> Result<Arc<ApplicationInstance>, Error> {
    let Some(name) = values_text::secret_name(&instance) else { return Ok(instance) };
    let mut names = known(&instance).to_vec();
    if names.contains(&name) {
        return Ok(instance);
    }
    names.push(name);
    let api: Api<ApplicationInstance> =
        Api::namespaced(shared.context.client.clone(), &instance.namespace().unwrap_or_default());
    let metadata = json!({ "resourceVersion": instance.resource_version() });
    let patch = Patch::Merge(json!({ "metadata": metadata, "status": { "valuesSecrets": names } }));
    let params =
        PatchParams { field_manager: Some(key::OPERATOR_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let answer = api.patch_status(&instance.name_any(), &params, &patch).await.map_err(|source| {
        let what = format!("the status of ApplicationInstance {}", instance.name_any());
        Error::Call { action: "write", what, source }
    })?;
    let answer = Arc::new(answer);
    shared.own_writes.record(&instance, answer.clone());
    Ok(answer)
}

/// Makes the Secret unless it is there.
///
/// # Errors
/// A Secret of that name that is not the instance's, or not what it should be.
pub(super) async fn keep(client: &Client, namespace: &str, secret: &Secret, uid: &str) -> Result<(), Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let name = secret.name_any();
    let Some(found) = read(client, &api, &name).await? else { return create(&api, secret).await };
    let is_same = found.immutable && secret.data.as_ref() == Some(&found.data);
    if is_same && is_owned(&found.metadata, uid) {
        return Ok(());
    }
    Err(Refusal::ForeignValuesSecret { name }.into())
}

/// Deletes what the instance needed before, once the release asked for runs. Returns the names of those that may exist.
///
/// A deletion that fails is repeated at the next look.
pub(super) async fn settle(
    shared: &Shared,
    instance: &ApplicationInstance,
    situation: &Situation,
) -> Vec<String> {
    let needed = values_text::secret_name(instance);
    let runs = matches!(
        situation,
        Situation::Flux(Reading { progress: Progress::Done { .. } | Progress::Resting, .. })
    );
    let mut kept = Vec::new();
    let known = known(instance);
    let excess = known.len().saturating_sub(MOST_WAITING);
    for (index, name) in known.iter().enumerate() {
        let is_over = needed.as_ref() != Some(name) && (runs || index < excess);
        if !is_over || !is_dropped(shared, instance, name).await {
            kept.push(name.clone());
        }
    }
    kept
}

async fn is_dropped(shared: &Shared, instance: &ApplicationInstance, name: &str) -> bool {
    let (namespace, uid) = (instance.namespace().unwrap_or_default(), instance.uid().unwrap_or_default());
    let dropped = drop_one(&shared.context.client, &namespace, name, &uid).await;
    if let Err(error) = &dropped {
        let error = chain(error);
        tracing::warn!(
            namespace,
            name,
            error,
            "cannot delete a Secret with former values, retrying at the next look"
        );
    }
    dropped.is_ok()
}

async fn drop_one(client: &Client, namespace: &str, name: &str, uid: &str) -> Result<(), Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = match api.get_metadata(name).await {
        Ok(found) => found.metadata,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(source) => return Err(Error::Call { action: "read", what: what(name), source }),
    };
    if !is_owned(&found, uid) {
        return Ok(());
    }
    let same = Preconditions { uid: found.uid, resource_version: None };
    match api.delete(name, &DeleteParams::default().preconditions(same)).await {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(source) => Err(Error::Call { action: "delete", what: what(name), source }),
    }
}

/// Reads the text by itself: the client would log the whole of a Secret that it cannot parse.
async fn read(client: &Client, api: &Api<Secret>, name: &str) -> Result<Option<Found>, Error> {
    match values_content::text(client, api, name).await {
        Ok(text) => {
            let found = serde_json::from_str(&text);
            found.map(Some).map_err(|_| Error::UnreadableValues { what: what(name) })
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(Error::Call { action: "read", what: what(name), source }),
    }
}

async fn create(api: &Api<Secret>, secret: &Secret) -> Result<(), Error> {
    let params =
        PostParams { field_manager: Some(key::OPERATOR_FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, secret).await {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Call { action: "create", what: what(&secret.name_any()), source }),
    }
}

fn known(instance: &ApplicationInstance) -> &[String] {
    instance.status.as_ref().map_or(&[], |status| status.values_secrets.as_slice())
}

fn is_owned(metadata: &ObjectMeta, uid: &str) -> bool {
    let is_ours = |owner: &OwnerReference| owner.controller == Some(true) && owner.uid == uid;
    metadata.owner_references.iter().flatten().any(is_ours)
}

fn what(name: &str) -> String {
    format!("Secret {name}")
}
