//! Step 5: what is told. The status is computed purely and written once, and only when it says something new.

use super::{
    Shared,
    apply::Applied,
    drift,
    error::Error,
    failing, request, running,
    situation::{self, Situation},
};
use crate::{
    clock,
    conditions::to_wire,
    flux::reading::{self, Reading},
    report::version_of,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::json;
use std::sync::Arc;
use vworkspace_crds::{
    ApplicationInstance,
    application_instance::{ApplicationInstanceStatus, ReleaseRef},
    key,
};
use vworkspace_protocol::{ObjectRef, condition::reasons, time::whole_seconds};

/// What Flux makes of what was applied, given what the status reports already.
pub fn read(applied: &Applied) -> Situation {
    let request = applied.request();
    let wanted = reading::Wanted {
        source_type: applied.chart.source_type,
        chart: &applied.chart.name,
        version: &applied.chart.version,
        requested_at: request.map(|(requested_at, _)| requested_at),
        is_for_values: request.is_some_and(|(_, is_for_values)| is_for_values),
    };
    let mut reading = reading::read(&wanted, &applied.seen(), &running::reported(&applied.instance));
    reading.drift = drift::merge(&applied.drift, reading.drift);
    Situation::Flux(reading)
}

/// The status that tells the situation.
pub fn status(
    instance: &ApplicationInstance,
    situation: &Situation,
    applied: Option<&Applied>,
    now: Timestamp,
) -> ApplicationInstanceStatus {
    let before = instance.status.clone().unwrap_or_default();
    let generation = instance.metadata.generation.unwrap_or_default();
    let before_generation = before.observed_generation;
    let conditions = situation::conditions(&before.conditions, situation, generation, now);
    let mut status =
        ApplicationInstanceStatus { observed_generation: Some(generation), conditions, ..before };
    if let Some(applied) = applied {
        status.last_applied_chart = Some(applied.chart.clone());
        status.helm_release_ref = applied.release.metadata.name.clone().map(|name| ReleaseRef {
            name,
            namespace: applied.release.metadata.namespace.clone().unwrap_or_default(),
        });
    }
    if let Situation::Flux(Reading { running: Some(running), .. }) = situation {
        let before = status.running_release.as_ref();
        status.running_release = Some(running::advance(before, running, generation, now));
    }
    let answered = request::of(instance).filter(|_| situation.is_answer()).map(|request| request.id);
    let is_news = before_generation != Some(generation)
        || answered.is_some() && answered != status.handled_request.as_deref();
    status.failing =
        failing::advance(status.failing.filter(|_| !is_news), situation, &status.conditions, now);
    status.handled_request = answered.map(str::to_owned).or(status.handled_request);
    if *situation == Situation::Placeholder {
        status.helm_release_ref = None;
        status.running_release = None;
        status.last_applied_chart = None;
        status.endpoints = Vec::new();
    }
    if instance.status.as_ref() != Some(&status) {
        status.last_reconcile_time = Some(Time(whole_seconds(now)));
    }
    status
}

/// Writes the status where it differs, then reports and announces what changed.
///
/// # Errors
/// The write is refused when the instance has changed since it was read; the next reconcile reads it afresh.
pub(super) async fn write(
    shared: &Shared,
    instance: &ApplicationInstance,
    status: ApplicationInstanceStatus,
) -> Result<(), Error> {
    if instance.status.as_ref() == Some(&status) {
        report_change(shared, instance, &status);
        return Ok(());
    }
    let namespace = instance.namespace().unwrap_or_default();
    let api: Api<ApplicationInstance> = Api::namespaced(shared.context.client.clone(), &namespace);
    // A merge patch leaves out what is absent; members that may go away are named as null.
    let mut body = json!({ "failing": null, "helmReleaseRef": null, "lastAppliedChart": null, "runningRelease": null, "valuesSecrets": null, "endpoints": null });
    let what = || format!("the status of ApplicationInstance {}", instance.name_any());
    let told = serde_json::to_value(&status).map_err(|source| Error::Unreadable { what: what(), source })?;
    if let (Some(body), serde_json::Value::Object(told)) = (body.as_object_mut(), told) {
        body.extend(told);
    }
    let patch = Patch::Merge(
        json!({ "metadata": { "resourceVersion": instance.resource_version() }, "status": body }),
    );
    let params =
        PatchParams { field_manager: Some(key::OPERATOR_FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let answer = api
        .patch_status(&instance.name_any(), &params, &patch)
        .await
        .map_err(|source| Error::Call { action: "write", what: what(), source })?;
    let held = answer.status.as_ref().and_then(|held| held.handled_request.as_ref());
    if status.handled_request.is_some() && held.is_none() {
        tracing::error!(
            namespace,
            application_instance = instance.name_any(),
            "the definition of ApplicationInstance is older than this operator, jobs wait until their deadline; \
             apply deploy/crds.yaml"
        );
    }
    let version = version_of(&answer);
    shared.own_writes.record(instance, Arc::new(answer));
    tell(shared, instance, version, &status).await;
    Ok(())
}

async fn tell(
    shared: &Shared,
    instance: &ApplicationInstance,
    version: u64,
    status: &ApplicationInstanceStatus,
) {
    let before = instance.status.as_ref();
    let conditions = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let after = to_wire(&status.conditions);
    shared.context.reporter.transition(object_ref(instance), version, to_wire(conditions), after);
    report_change(shared, instance, status);
    let object = instance.object_ref(&());
    shared.announcer.transitions(&object, conditions, &status.conditions).await;
    let change = running::change(status.running_release.as_ref());
    let known = before.and_then(|status| running::change(status.running_release.as_ref()));
    if let Some(change) = change.filter(|change| known.as_ref() != Some(change)) {
        let note = format!("{} runs instead of {}, with no change of the spec", change.to, change.from);
        shared.announcer.tell(&object, EventType::Normal, reasons::APPLICATION_CHANGED, &note).await;
    }
}

/// Reports the change of content that the status tells of to the control plane, once by each process.
fn report_change(shared: &Shared, instance: &ApplicationInstance, status: &ApplicationInstanceStatus) {
    let Some(change) = running::change(status.running_release.as_ref()) else { return };
    let uid = instance.uid().unwrap_or_default();
    if shared.changes.is_due(&uid, &change, clock::now()) {
        shared.context.reporter.changed(object_ref(instance), change);
    }
}

/// The instance as reports name it.
pub fn object_ref(instance: &ApplicationInstance) -> ObjectRef {
    ObjectRef {
        api_version: ApplicationInstance::api_version(&()).into_owned(),
        kind: ApplicationInstance::kind(&()).into_owned(),
        namespace: instance.namespace().unwrap_or_default(),
        name: instance.name_any(),
        uid: instance.uid().unwrap_or_default(),
        generation: instance.metadata.generation.unwrap_or_default(),
    }
}
