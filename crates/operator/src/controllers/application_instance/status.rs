//! Step 5: what is told. The status is computed purely and written once, and only when it says something new.

use super::{
    Shared,
    apply::Applied,
    build::address_hint,
    dereference::Lack,
    drift,
    error::Error,
    failing, request, running,
    situation::{self, Situation},
    warning,
};
use crate::{
    clock,
    conditions::to_wire,
    flux::reading::{self, Progress, Reading},
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
    application_instance::{ApplicationInstanceStatus, AppliedChart, ReleaseRef},
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
    reading.progress = addressed(waiting(reading.progress, &applied.lacks), &applied.chart);
    reading.drift = drift::merge(&applied.drift, reading.drift);
    Situation::Flux(reading)
}

/// Names what is missing at once: Flux names it only after it has tried the source, or in the words of a registry.
fn waiting(progress: Progress, lacks: &[Lack]) -> Progress {
    let is_early = matches!(progress, Progress::Starting { .. } | Progress::Waiting { .. });
    let is_source = matches!(progress, Progress::SourceFailing { .. });
    let lack = lacks.iter().find_map(|lack| match lack {
        Lack::ChartSecret(message) if is_early || is_source => {
            Some((reasons::CHART_SECRET_INCOMPLETE, message))
        }
        Lack::Values(message) if is_early => Some((reasons::VALUES_ERROR, message)),
        Lack::ChartSecret(_) | Lack::Values(_) => None,
    });
    match lack {
        Some((reason, message)) => Progress::Waiting { reason: reason.to_owned(), message: message.clone() },
        None => progress,
    }
}

/// Says of a registry that does not have the chart which address was asked.
fn addressed(progress: Progress, chart: &AppliedChart) -> Progress {
    let hint = address_hint(chart);
    match (progress, hint) {
        (Progress::SourceFailing { reason, message }, Some(hint)) if is_missing(&message) => {
            Progress::SourceFailing { reason, message: format!("{message}; {hint}") }
        }
        (progress, _) => progress,
    }
}

/// What registries say of a repository, a tag or a version that they do not have.
fn is_missing(message: &str) -> bool {
    let words = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "404", "not found", "no match found"];
    words.into_iter().any(|word| message.contains(word))
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
    let mut conditions = situation::conditions(&before.conditions, situation, generation, now);
    warning::apply(&mut conditions, &warning::warnings(instance), generation, now);
    let mut status =
        ApplicationInstanceStatus { observed_generation: Some(generation), conditions, ..before };
    if let Some(applied) = applied {
        if let Situation::Flux(Reading { running: Some(running), .. }) = situation {
            status.last_applied_chart = Some(running::chart(&applied.chart, running));
        } else if status.requested_chart.is_none() && status.running_release.is_none() {
            // An operator of an earlier version noted there what was asked for.
            status.last_applied_chart = None;
        }
        status.requested_chart = Some(applied.chart.clone());
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
        status.requested_chart = None;
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
    let mut body = json!({ "failing": null, "helmReleaseRef": null, "requestedChart": null, "lastAppliedChart": null, "runningRelease": null, "valuesSecrets": null, "endpoints": null });
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

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_crds::application_instance::SourceType;

    #[test]
    fn registry_without_the_chart_is_named_by_the_address_that_was_asked() {
        let chart = AppliedChart {
            source_type: SourceType::Oci,
            url: "oci://r.example/web".to_owned(),
            name: "web".to_owned(),
            version: "1.0.0".to_owned(),
        };
        let failing = |message: &str| {
            let progress = Progress::SourceFailing {
                reason: "OCIArtifactPullFailed".to_owned(),
                message: message.to_owned(),
            };
            let Progress::SourceFailing { message, .. } = addressed(progress, &chart) else { unreachable!() };
            message
        };
        assert!(
            failing("GET https://r.example/v2/web/manifests/1.0.0: NAME_UNKNOWN: x")
                .contains("asked was oci://")
        );
        assert_eq!(failing("dial tcp: connection refused"), "dial tcp: connection refused");
    }

    #[test]
    fn what_is_missing_is_named_before_flux_finds_it() {
        let words = || ("r".to_owned(), "m".to_owned());
        let (reason, message) = words();
        let starting = Progress::Starting { reason, message };
        let (reason, message) = words();
        let failing = Progress::SourceFailing { reason, message };
        let lacks = |lacks: &[Lack], progress: &Progress| match waiting(progress.clone(), lacks) {
            Progress::Waiting { reason, message } => format!("{reason}: {message}"),
            other => {
                assert_eq!(other, *progress);
                String::new()
            }
        };
        let (secret, values) = (Lack::ChartSecret("no s".to_owned()), Lack::Values("no v".to_owned()));
        assert_eq!(lacks(&[secret.clone(), values.clone()], &starting), "ChartSecretIncomplete: no s");
        assert_eq!(lacks(std::slice::from_ref(&values), &starting), "ValuesError: no v");
        assert_eq!(lacks(std::slice::from_ref(&secret), &failing), "ChartSecretIncomplete: no s");
        assert_eq!(lacks(std::slice::from_ref(&values), &failing), "");
        assert_eq!(lacks(&[secret, values], &Progress::Resting), "");
    }
}
