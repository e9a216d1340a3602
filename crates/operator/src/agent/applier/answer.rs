//! Whether the API server holds what the job asks for, before and after the write (contract, section 2). Pure.

use super::{ApplyError, conflict_message};
use kube::core::{DynamicObject, Status};
use serde_json::{Map, Value};
use vworkspace_core::agent::held::{self, Comparison};
use vworkspace_crds::{
    free_form,
    key::{AGENT_FIELD_MANAGER, FORCED_REQUEST},
};
use vworkspace_protocol::{ObjectRef, outcome::FieldConflict};

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It holds what was sent.
    Held,
    /// The API server made something else of it, for example `null` of `{}`: a second write has what it takes.
    SendAgain,
}

/// Looks for members of other managers in the object's free-form maps before it is written.
///
/// The API server does so by itself, except where it knows an owner from the time before these maps had one owner each:
/// it does not carry such ownership over, and would drop the member without a word.
///
/// # Errors
/// A conflict with each owner.
pub(super) fn check_owners(manifest: &Value, found: &DynamicObject) -> Result<(), ApplyError> {
    no_foreign(compare(manifest, found)?.foreign)
}

/// Compares the answer with the manifest as the job gave it.
///
/// # Errors
/// A conflict with the owner of a member that the job does not have, or a refusal if the second answer still differs.
pub(super) fn judge(manifest: &Value, live: &DynamicObject, is_repeat: bool) -> Result<Answer, ApplyError> {
    let Comparison { foreign, changed } = compare(manifest, live)?;
    no_foreign(foreign)?;
    match changed.is_empty() {
        true => Ok(Answer::Held),
        false if !is_repeat => Ok(Answer::SendAgain),
        false => Err(ApplyError::Refused(format!(
            "NotHeld: the API server holds something else than was asked at {}; an admission webhook may change it",
            changed.join(", ")
        ))),
    }
}

/// The refusal of what was sent by a rule of the kind. Where members of other managers stand at the place that the rule is
/// about, they are named: the job may be right, and the rule broken by both together.
///
/// A rule about the whole spec tells nothing about which member breaks it, and is told as it is.
pub(super) fn explain_refusal(
    status: &Status,
    manifest: &Value,
    found: Option<&DynamicObject>,
) -> ApplyError {
    let text = &status.message;
    let held = found.and_then(|found| serde_json::to_value(found).ok());
    let mut conflicts =
        held.map(|held| held::unsent_of_others(manifest, &held, AGENT_FIELD_MANAGER)).unwrap_or_default();
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let places: Vec<String> =
        causes.filter(|cause| cause.field.contains('.')).map(|cause| format!(".{}.", cause.field)).collect();
    conflicts.retain(|conflict| {
        let path = format!("{}.", conflict.field_path);
        places.iter().any(|place| path.starts_with(place.as_str()))
    });
    if conflicts.is_empty() {
        return ApplyError::Refused(text.clone());
    }
    let message = format!(
        "{}; server-side apply keeps them, and together with what the job asks for they break a rule: {text}; remove them \
         with kubectl, or ask for them in the job",
        conflict_message(&conflicts)
    );
    ApplyError::Conflict { message, conflicts }
}

/// The manifest that applies once more what jobs have applied, with these annotations.
///
/// # Errors
/// There is no such object, or no job has applied it.
pub(super) fn applied_again(
    object: &ObjectRef,
    found: Option<&DynamicObject>,
    annotations: &Map<String, Value>,
) -> Result<Value, ApplyError> {
    let name = format!("{} {:?} in namespace {:?}", object.kind, object.name, object.namespace);
    let found = found.ok_or_else(|| ApplyError::Refused(format!("NotFound: there is no {name}")))?;
    let mut manifest = held::applied(&as_json(found)?, AGENT_FIELD_MANAGER).ok_or_else(|| {
        ApplyError::Refused(format!("NotApplied: no job has applied {name}; deploy it first"))
    })?;
    // What an earlier request asked for.
    if let Some(kept) = manifest["metadata"]["annotations"].as_object_mut() {
        kept.remove(FORCED_REQUEST);
    }
    for (key, value) in annotations {
        manifest["metadata"]["annotations"][key] = value.clone();
    }
    Ok(manifest)
}

fn as_json(object: &DynamicObject) -> Result<Value, ApplyError> {
    serde_json::to_value(object)
        .map_err(|error| ApplyError::Unsettled(format!("the object cannot be read: {error}")))
}

fn compare(manifest: &Value, object: &DynamicObject) -> Result<Comparison, ApplyError> {
    let held = as_json(object)?;
    let kind = manifest.get("kind").and_then(Value::as_str).unwrap_or_default();
    Ok(held::compare(manifest, &held, free_form(kind), AGENT_FIELD_MANAGER))
}

fn no_foreign(conflicts: Vec<FieldConflict>) -> Result<(), ApplyError> {
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(ApplyError::Conflict { message: conflict_message(&conflicts), conflicts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest() -> Value {
        json!({"kind": "ApplicationInstance", "metadata": {"name": "web"},
            "spec": {"values": {"source": "inline", "inline": {"a": {}}}}})
    }

    fn answer(inline: &Value, owners: &Value) -> DynamicObject {
        let mut live = manifest();
        live["apiVersion"] = json!("apps.vworkspace.io/v1alpha1");
        live["spec"]["values"]["inline"] = inline.clone();
        live["metadata"]["managedFields"] = owners.clone();
        serde_json::from_value(live).unwrap()
    }

    #[test]
    fn emptied_map_is_sent_once_more_and_once_only() {
        let lost = answer(&json!({"a": null}), &json!([]));
        assert_eq!(judge(&manifest(), &lost, false).unwrap(), Answer::SendAgain);
        let Err(ApplyError::Refused(text)) = judge(&manifest(), &lost, true) else { panic!("not refused") };
        assert!(text.starts_with("NotHeld: ") && text.contains(".spec.values.inline.a"), "{text}");
        let held = answer(&json!({"a": {}}), &json!([]));
        assert_eq!(judge(&manifest(), &held, false).unwrap(), Answer::Held);
    }

    #[test]
    fn refusal_by_a_rule_names_what_others_hold_beside_the_job() {
        let fields = json!({"f:spec": {"f:values": {"f:secretRef": {"f:name": {}, "f:key": {}}, "f:source": {}}},
            "f:status": {"f:phase": {}}});
        let owners = json!([
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": fields},
            {"manager": AGENT_FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:chart": {}}}},
        ]);
        let found = answer(&json!({"a": {}}), &owners);
        let at = |field: &str| {
            let details = json!({"causes": [{"reason": "FieldValueInvalid", "field": field}]});
            let status = json!({"code": 422, "message": "spec.values: rule", "details": details});
            serde_json::from_value::<Status>(status).unwrap()
        };
        let refused = explain_refusal(&at("spec.values"), &manifest(), Some(&found));
        let ApplyError::Conflict { message, conflicts } = refused else { panic!("no conflict") };
        let paths: Vec<_> = conflicts.iter().map(|conflict| conflict.field_path.as_str()).collect();
        assert_eq!(paths, [".spec.values.secretRef.key", ".spec.values.secretRef.name"]);
        assert!(
            message.contains(r#"owned by "kubectl-edit""#) && message.contains("spec.values: rule"),
            "{message}"
        );
        let own = answer(&json!({"a": {}}), &json!([]));
        assert!(matches!(
            explain_refusal(&at("spec.values"), &manifest(), Some(&own)),
            ApplyError::Refused(_)
        ));
        // A rule about something else, and one that names no member.
        for place in ["spec.chart.name", "spec.val", "spec"] {
            let refused = explain_refusal(&at(place), &manifest(), Some(&found));
            assert!(matches!(refused, ApplyError::Refused(_)), "{place}: {refused}");
        }
    }

    #[test]
    fn member_of_another_manager_in_the_answer_is_a_conflict() {
        let fields = json!({"f:spec": {"f:values": {"f:inline": {"f:replicaCount": {}}}}});
        let owners = json!([{"manager": "kubectl-patch", "operation": "Update", "fieldsV1": fields}]);
        let merged = answer(&json!({"a": {}, "replicaCount": 3}), &owners);
        let Err(ApplyError::Conflict { message, conflicts }) = judge(&manifest(), &merged, false) else {
            panic!("no conflict")
        };
        assert_eq!(message, r#"conflict: .spec.values.inline.replicaCount is owned by "kubectl-patch""#);
        let field_path = ".spec.values.inline.replicaCount".to_owned();
        assert!(matches!(check_owners(&manifest(), &merged), Err(ApplyError::Conflict { .. })));
        assert_eq!(conflicts, [FieldConflict { manager: "kubectl-patch".to_owned(), field_path }]);
    }
}
