//! Step 4: the objects become what they should be. Needs a client.
//!
//! Guarantees: nothing is forced; nothing is written when everything is as wanted. What the API server answers is compared
//! with what was sent, and sent once more if the API server made something else of it.

use super::{
    build::{Desired, Prepared, source_kind},
    dereference::{Dereferenced, Lack},
    drift,
    error::{Error, is_absent},
    live::{self, Live, Standing, owner_other_than},
    request::{self, Annotations, Request},
    validate::Refusal,
    values_revision::{self, Mark},
    values_secret,
};
use crate::flux::{
    observed::{HelmRelease, Observed, Source},
    reading::Seen,
    written::FluxKind,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::ObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;
use vworkspace_core::agent::held::Comparison;
use vworkspace_crds::{ApplicationInstance, application_instance::AppliedChart, key};

/// What the API server holds after the apply; only from this is a status made.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The instance, with its finalizer.
    pub instance: Arc<ApplicationInstance>,
    /// The release.
    pub release: HelmRelease,
    /// The HelmRepository or OCIRepository.
    pub source: Source,
    /// The HelmChart, as read before the apply.
    pub helm_chart: Option<Source>,
    /// The chart that Flux is asked for.
    pub chart: AppliedChart,
    /// Where the objects hold something else than was asked, in words; empty if nowhere.
    pub drift: String,
    /// What the spec names and the cluster lacks.
    pub lacks: Vec<Lack>,
}

impl Applied {
    /// What a reading needs.
    pub fn seen(&self) -> Seen<'_> {
        Seen { release: Some(&self.release), source: Some(&self.source), chart: self.helm_chart.as_ref() }
    }

    /// The request that stands on the release since we first asked Flux to look, and whether it is about changed values.
    /// People set Flux's annotation too.
    pub fn request(&self) -> Option<(&str, bool)> {
        let annotations = self.release.metadata.annotations.as_ref()?;
        let values = annotations.get(key::VALUES_REVISION);
        values.or_else(|| annotations.get(key::REQUEST))?;
        let requested_at = annotations.get(key::FLUX_REQUESTED_AT)?;
        Some((requested_at, Some(requested_at) == values))
    }
}

/// Applies everything. The instance carries its finalizer already.
///
/// # Errors
/// A name that belongs to others, fields that others own, and what passes by itself.
pub async fn apply(
    client: &Client,
    instance: Arc<ApplicationInstance>,
    prepared: Prepared,
    found: Dereferenced,
) -> Result<Applied, Error> {
    let uid = instance.uid().unwrap_or_default();
    let is_new = found.release.is_none();
    let (source, of_source): (Source, _) =
        keep(client, &prepared.namespace, &prepared.source, found.source, &uid).await?;
    if let Some(secret) = &prepared.values_secret {
        values_secret::keep(client, &prepared.namespace, secret, &uid).await?;
    }
    let (release, of_release): (HelmRelease, _) =
        keep(client, &prepared.namespace, &prepared.release, found.release, &uid).await?;
    let drift = drift::words(&[(&prepared.source, &of_source), (&prepared.release, &of_release)]);
    let request = request::of(&instance);
    let for_source = request.map(|request| request.for_source(source.metadata.annotations.as_ref()));
    let source = annotate(client, &prepared.namespace, &prepared.source, source, for_source).await?;
    let for_release = marks(&release, request, found.values_revision, is_new);
    let release =
        annotate(client, &prepared.namespace, &prepared.release, release, Some(for_release)).await?;
    drop_other_source(client, &instance, &prepared, &uid).await?;
    Ok(Applied {
        instance,
        release,
        source,
        helm_chart: found.chart,
        chart: prepared.chart,
        drift,
        lacks: found.lacks,
    })
}

/// Adds the finalizer where it is missing; `None` when it is there. The write is refused if the instance has changed
/// meanwhile.
pub async fn add_finalizer(
    client: &Client,
    instance: &ApplicationInstance,
) -> Result<Option<ApplicationInstance>, Error> {
    if instance.finalizers().iter().any(|finalizer| finalizer == key::APPLICATION_INSTANCE_FINALIZER) {
        return Ok(None);
    }
    let mut finalizers = instance.finalizers().to_vec();
    finalizers.push(key::APPLICATION_INSTANCE_FINALIZER.to_owned());
    write_finalizers(client, instance, &finalizers).await.map(Some)
}

/// Replaces the list of finalizers, if the instance is still as it was read.
pub async fn write_finalizers(
    client: &Client,
    instance: &ApplicationInstance,
    finalizers: &[String],
) -> Result<ApplicationInstance, Error> {
    let api: Api<ApplicationInstance> =
        Api::namespaced(client.clone(), &instance.namespace().unwrap_or_default());
    let metadata = json!({ "resourceVersion": instance.resource_version(), "finalizers": finalizers });
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    api.patch(&instance.name_any(), &operator_params(), &patch).await.map_err(|source| Error::Call {
        action: "set the finalizers of",
        what: format!("ApplicationInstance {}", instance.name_any()),
        source,
    })
}

/// Applies one object unless it is as wanted already, or belongs to others. Answers what of it is not as wanted.
async fn keep<V: DeserializeOwned + Observed>(
    client: &Client,
    namespace: &str,
    desired: &Desired,
    found: Option<Live<V>>,
    uid: &str,
) -> Result<(V, Comparison), Error> {
    if let Some(found) = found {
        if let Some(owner) = owner_other_than(found.view.metadata(), uid) {
            let (kind, name) = (desired.kind.as_str(), desired.name.clone());
            return Err(Refusal::NameTaken { kind, name, owner: owner.to_owned() }.into());
        }
        if let Standing::Applied(comparison) = found.standing(desired) {
            return Ok((found.view, comparison));
        }
    }
    let mut live: Live<V> = live::apply(client, namespace, desired).await?;
    if !live.compare(desired).changed.is_empty() {
        // For example `null` where a map was emptied: the second write has what it takes.
        live = live::apply(client, namespace, desired).await?;
    }
    let comparison = live.compare(desired);
    Ok((live.view, comparison))
}

/// What asks Flux to look at the release: for a job, and to read the referenced values again when they are not the ones it
/// was last asked to read (fact 8). The job's request is the later one.
fn marks(
    release: &HelmRelease,
    request: Option<Request<'_>>,
    values: Option<String>,
    is_new: bool,
) -> Annotations {
    let carried = release.metadata.annotations.as_ref();
    let carried = carried.and_then(|annotations| annotations.get(key::VALUES_REVISION)).map(String::as_str);
    let mut annotations = Annotations::new();
    if let Some(revision) = values {
        match values_revision::mark(carried, &revision, is_new) {
            Mark::Keep => {}
            Mark::Write => _ = annotations.insert(key::VALUES_REVISION, revision),
            Mark::WriteAndRequest => {
                annotations.insert(key::FLUX_REQUESTED_AT, revision.clone());
                annotations.insert(key::VALUES_REVISION, revision);
            }
        }
    }
    annotations.extend(request.map(|request| request.for_release(release)).unwrap_or_default());
    annotations
}

/// Writes annotations, if there are any, in one plain patch outside the applied set: people set Flux's annotation too, and
/// that is no conflict.
async fn annotate<V: DeserializeOwned>(
    client: &Client,
    namespace: &str,
    desired: &Desired,
    object: V,
    annotations: Option<Annotations>,
) -> Result<V, Error> {
    let Some(annotations) = annotations.filter(|annotations| !annotations.is_empty()) else {
        return Ok(object);
    };
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    let what = || format!("{} {}", desired.kind.as_str(), desired.name);
    let object = live::api(client, desired.kind, namespace)
        .patch(&desired.name, &operator_params(), &patch)
        .await
        .map_err(|source| Error::Call { action: "annotate", what: what(), source })?;
    let value = serde_json::to_value(object).map_err(|source| Error::Unreadable { what: what(), source })?;
    serde_json::from_value(value).map_err(|source| Error::Unreadable { what: what(), source })
}

/// The chart that Flux was asked for before. An operator of an earlier version kept it in the other member.
pub(super) fn requested(instance: &ApplicationInstance) -> Option<&AppliedChart> {
    let status = instance.status.as_ref()?;
    status.requested_chart.as_ref().or(status.last_applied_chart.as_ref())
}

/// After a change of `sourceType` the source of the other kind serves nobody.
async fn drop_other_source(
    client: &Client,
    instance: &ApplicationInstance,
    prepared: &Prepared,
    uid: &str,
) -> Result<(), Error> {
    let Some(last) = requested(instance).filter(|last| last.source_type != prepared.chart.source_type) else {
        return Ok(());
    };
    let kind = source_kind(last.source_type);
    let Some(other) = live::read::<Source>(client, kind, &prepared.namespace, &prepared.source.name).await?
    else {
        return Ok(());
    };
    if owner_other_than(&other.view.metadata, uid).is_some() {
        return Ok(());
    }
    delete(client, kind, &prepared.namespace, &other.view.metadata).await
}

/// Deletes exactly the object that was read; one that is gone already is fine.
pub async fn delete(
    client: &Client,
    kind: FluxKind,
    namespace: &str,
    metadata: &ObjectMeta,
) -> Result<(), Error> {
    let name = metadata.name.as_deref().unwrap_or_default();
    let preconditions = Preconditions { uid: metadata.uid.clone(), resource_version: None };
    match live::api(client, kind, namespace)
        .delete(name, &DeleteParams::default().preconditions(preconditions))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(source) => {
            Err(Error::Call { action: "delete", what: format!("{} {name}", kind.as_str()), source })
        }
    }
}

fn operator_params() -> PatchParams {
    PatchParams { field_manager: Some(key::OPERATOR_FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}
