use super::*;
use proptest::prelude::*;
use vworkspace_protocol::outcome::FieldConflict;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn job(extra: &str) -> Job {
    serde_json::from_str(&format!(r#"{{"id":"j1","kind":"apply","payload":{{}}{extra}}}"#)).unwrap()
}

fn applied(generation: i64) -> ObjectRef {
    ObjectRef { kind: "ApplicationInstance".into(), uid: "u".into(), generation, ..ObjectRef::default() }
}

fn condition(type_: &str, status: ConditionStatus, reason: &str, generation: i64) -> Condition {
    Condition {
        type_: type_.into(),
        status,
        observed_generation: generation,
        last_transition_time: None,
        reason: reason.into(),
        message: "m".into(),
    }
}

fn observed(conditions: &[Condition]) -> Option<Observed> {
    Some(Observed {
        uid: "u".into(),
        observed_generation: 0,
        conditions: conditions.to_vec(),
        handled_request: Some("j1".into()),
        failing: None,
    })
}

fn waiting(goal: Goal, generation: i64) -> JobRun {
    let mut run = JobRun::new(&job(r#","deadlineSeconds":60"#));
    run.handle_applying(at(0));
    run.handle_applied(goal, applied(generation));
    run
}

use ConditionStatus::{False, True, Unknown};

#[test]
fn succeeded_only_with_ready_about_the_applied_generation() {
    let mut run = waiting(Goal::Ready, 2);
    run.handle_observed(observed(&[condition("Ready", True, reasons::HELM_RELEASE_READY, 1)]));
    assert_eq!(run.result(), None);
    run.handle_observed(observed(&[condition("Ready", True, reasons::HELM_RELEASE_READY, 2)]));
    let result = run.result().unwrap();
    assert_eq!((result.outcome, result.applied_ref.clone()), (Outcome::Succeeded, Some(applied(2))));
}

#[test]
fn conditions_from_before_the_request_was_handled_are_no_answer() {
    let failed =
        [condition("Ready", False, reasons::HELM_RELEASE_FAILED, 2), condition("Reconciling", False, "r", 2)];
    let ready = [condition("Ready", True, reasons::HELM_RELEASE_READY, 2)];
    for (conditions, outcome) in
        [(failed.as_slice(), Outcome::Failed), (ready.as_slice(), Outcome::Succeeded)]
    {
        let mut run = waiting(Goal::Ready, 2);
        for handled_request in [None, Some("j0".to_owned())] {
            let older = Observed { handled_request, ..observed(conditions).unwrap() };
            run.handle_observed(Some(older));
            assert_eq!(run.result(), None);
            assert!(run.poll_status(at(1)).is_none_or(|told| told.conditions.is_empty()));
        }
        run.handle_observed(observed(conditions));
        assert_eq!(run.result().unwrap().outcome, outcome);
    }
}

/// An operator of an earlier version applied it and made no request.
#[test]
fn job_that_made_no_request_is_answered_by_conditions_alone() {
    let taken: Taken = serde_json::from_value(serde_json::json!({
        "goal": "Ready", "applied": applied(2), "deadline": at(60),
    }))
    .unwrap();
    let mut run = JobRun::new(&job(""));
    run.resume(taken, at(0));
    let ready = observed(&[condition("Ready", True, reasons::HELM_RELEASE_READY, 2)]).unwrap();
    run.handle_observed(Some(Observed { handled_request: None, ..ready }));
    assert_eq!(run.result().unwrap().outcome, Outcome::Succeeded);
}

/// The release is failing since second 1, by Flux's last word of second 1 + `tries`.
fn failing(message: &str, tries: i64) -> Observed {
    let counted =
        (1..=tries).fold(None, |before, count| Some(Failing::advance(before, message, count, at(count))));
    let mut ready = condition("Ready", False, reasons::HELM_RELEASE_FAILED, 2);
    ready.message = message.into();
    let reconciling = condition("Reconciling", True, "ProgressingWithRetry", 2);
    Observed { failing: counted, ..observed(&[ready, reconciling]).unwrap() }
}

fn waiting_with(extra: &str) -> JobRun {
    let mut run = JobRun::new(&job(extra));
    run.handle_applying(at(0));
    run.handle_applied(Goal::Ready, applied(2));
    run
}

const REQUIRED: &str = "Helm install failed for release t/app with chart x@1.0.0: execution error at (x.yaml:1:2): host is required";
const NO_KIND: &str = "Helm install failed for release t/app with chart x@1.0.0: no matches for kind Foo";

#[test]
fn second_equal_failure_of_chart_or_values_ends_the_job_in_helms_words() {
    let mut run = waiting_with("");
    run.handle_observed(Some(failing(REQUIRED, 1)));
    run.handle_timeout(at(100));
    assert_eq!(run.result(), None);
    run.handle_observed(Some(failing(REQUIRED, 2)));
    assert_eq!(run.poll_timeout(), Some(at(1)));
    run.handle_timeout(at(101));
    let result = run.result().unwrap();
    assert_eq!(result.outcome, Outcome::Failed);
    assert_eq!(
        result.error,
        format!("HelmReleaseFailed: {REQUIRED} (the same failure 2 times; Flux tries on)")
    );
}

#[test]
fn failure_that_depends_on_the_cluster_ends_the_job_after_five_minutes() {
    let mut run = waiting_with("");
    run.handle_observed(Some(failing(NO_KIND, 3)));
    assert_eq!(run.poll_timeout(), Some(at(302)));
    run.handle_timeout(at(301));
    assert_eq!(run.result(), None);
    run.handle_timeout(at(302));
    assert!(run.result().unwrap().error.contains(NO_KIND));
}

#[test]
fn caller_with_patience_waits_until_the_deadline() {
    let mut run = waiting_with(r#","retrySeconds":0,"deadlineSeconds":60"#);
    run.handle_observed(Some(failing(REQUIRED, 3)));
    run.handle_timeout(at(59));
    assert_eq!(run.result(), None);
    run.handle_timeout(at(60));
    assert!(run.result().unwrap().error.starts_with("DeadlineExceeded: "));
    let mut run = waiting_with(r#","retrySeconds":40"#);
    run.handle_observed(Some(failing(REQUIRED, 3)));
    assert_eq!(run.poll_timeout(), Some(at(42)));
}

#[test]
fn failures_from_before_the_request_was_handled_end_nothing() {
    let mut run = waiting_with("");
    for handled_request in [None, Some("j0".to_owned())] {
        run.handle_observed(Some(Observed { handled_request, ..failing(REQUIRED, 3) }));
        run.handle_timeout(at(1_000));
        assert_eq!(run.result(), None);
    }
}

/// The foreign value runs: the job ends with the word on it unless somebody takes it away.
#[test]
fn no_success_while_drifted() {
    let ready = condition("Ready", True, reasons::HELM_RELEASE_READY, 2);
    let drifted = |status, generation| {
        let mut drifted = condition("Drifted", status, reasons::DRIFT_DETECTED, generation);
        drifted.message = "the HelmRelease holds .spec.values.color of \"kubectl-patch\"".into();
        drifted
    };
    let mut run = waiting(Goal::Ready, 2);
    run.handle_observed(observed(&[ready.clone(), drifted(True, 2)]));
    assert_eq!(run.result(), None);
    let mut late = run.clone();
    late.handle_timeout(at(60));
    let error = &late.result().unwrap().error;
    assert!(error.starts_with("DeadlineExceeded: Drifted=True/DriftDetected"), "{error}");
    assert!(error.contains("kubectl-patch"), "{error}");
    run.handle_observed(observed(&[ready.clone(), drifted(False, 2)]));
    assert_eq!(run.result().unwrap().outcome, Outcome::Succeeded);
    let mut run = waiting(Goal::Ready, 2);
    run.handle_observed(observed(&[ready, drifted(True, 1)]));
    assert_eq!(run.result().unwrap().outcome, Outcome::Succeeded, "the drift is of the generation before");
}

#[test]
fn failed_now_only_for_good_and_when_nothing_works_on_it() {
    let failed = |reason, reconciling| {
        let mut run = waiting(Goal::Ready, 1);
        run.handle_observed(observed(&[
            condition("Ready", False, reason, 1),
            condition("Reconciling", reconciling, "Stable", 1),
        ]));
        run.result().map(|result| (result.outcome, result.error.clone()))
    };
    let now = Some((Outcome::Failed, "HelmReleaseFailed: m".to_owned()));
    assert_eq!(failed(reasons::HELM_RELEASE_FAILED, False), now);
    assert_eq!(failed(reasons::VALIDATION_FAILED, False).unwrap().0, Outcome::Failed);
    assert_eq!(failed(reasons::HELM_RELEASE_FAILED, True), None);
    assert_eq!(failed("ChartNotFound", False), None);
    assert_eq!(failed(reasons::DEPENDENCY_MISSING, False), None);
}

#[test]
fn job_fails_with_the_words_of_a_stalled_source() {
    let seen = |blocked: ConditionStatus, rule, reconciling, generation| {
        let mut run = waiting(Goal::Ready, 2);
        run.handle_observed(observed(&[
            condition("Ready", False, "InvalidChartReference", 2),
            condition("Reconciling", reconciling, "Stable", 2),
            condition("Blocked", blocked, rule, generation),
        ]));
        run.result().map(|result| result.error.clone())
    };
    assert_eq!(seen(True, reasons::SOURCE_STALLED, False, 2).unwrap(), "InvalidChartReference: m");
    for waits in [
        seen(True, reasons::SOURCE_STALLED, False, 1),
        seen(True, reasons::SOURCE_STALLED, True, 2),
        seen(False, reasons::SOURCE_STALLED, False, 2),
        seen(True, reasons::DEPENDENCY_MISSING, False, 2),
    ] {
        assert_eq!(waits, None);
    }
}

#[test]
fn job_fails_when_the_namespace_loses_its_rights() {
    let ready = |reason| observed(&[condition("Ready", False, reason, 1)]);
    let mut run = waiting(Goal::Ready, 1);
    run.handle_observed(ready(reasons::NAMESPACE_NOT_AUTHORIZED));
    assert_eq!(run.result(), None, "it may be older than the job");
    run.handle_observed(ready(reasons::ACCESS_DENIED));
    assert_eq!(run.result(), None, "one refusal may be a moment's");
    run.handle_observed(ready(reasons::NAMESPACE_NOT_AUTHORIZED));
    assert_eq!(run.result().unwrap().error, "NamespaceNotAuthorized: m");
}

#[test]
fn a_failure_about_an_older_generation_waits() {
    let mut run = waiting(Goal::Ready, 2);
    run.handle_observed(observed(&[condition("Ready", False, reasons::HELM_RELEASE_FAILED, 1)]));
    assert_eq!(run.result(), None);
}

#[test]
fn the_deadline_tells_the_last_ready_condition() {
    let mut run = waiting(Goal::Ready, 1);
    run.handle_observed(observed(&[condition("Ready", False, "ChartNotFound", 1)]));
    run.handle_timeout(at(59));
    assert_eq!(run.result(), None);
    assert_eq!(run.poll_timeout(), Some(at(60)));
    run.handle_timeout(at(60));
    assert_eq!(run.result().unwrap().error, "DeadlineExceeded: Ready=False/ChartNotFound: m");
}

#[test]
fn what_succeeded_means_follows_the_kind_unless_the_job_says() {
    use WaitFor::{Accepted, Ready};
    for (kind, by_default, ready) in [
        ("ApplicationInstance", Goal::Ready, Goal::Ready),
        ("Operation", Goal::Finished, Goal::Finished),
        ("ConfigMap", Goal::Accepted, Goal::Ready),
    ] {
        assert_eq!(Goal::of_apply(kind, None), by_default, "{kind}");
        assert_eq!(Goal::of_apply(kind, Some(Ready)), ready, "{kind}");
        assert_eq!(Goal::of_apply(kind, Some(Accepted)), Goal::Accepted, "{kind}");
    }
}

#[test]
fn without_a_deadline_a_job_waits_half_an_hour() {
    let mut run = JobRun::new(&job(""));
    run.handle_applying(at(0));
    run.handle_applied(Goal::Ready, applied(1));
    assert_eq!(run.poll_timeout(), Some(at(1800)));
}

#[test]
fn an_object_that_vanishes_while_waiting_for_ready_waits() {
    let mut run = waiting(Goal::Ready, 1);
    run.handle_observed(None);
    assert_eq!(run.result(), None);
}

#[test]
fn a_delete_waits_until_gone_or_another_life_of_the_name() {
    let mut run = waiting(Goal::Gone, 0);
    run.handle_observed(observed(&[]));
    assert_eq!(run.result(), None);
    run.handle_observed(None);
    assert_eq!(run.result().unwrap().outcome, Outcome::Succeeded);
    let mut other = waiting(Goal::Gone, 0);
    other.handle_observed(Some(Observed { uid: "another".into(), ..Observed::default() }));
    assert_eq!(other.result().unwrap().outcome, Outcome::Succeeded);
}

#[test]
fn accepted_is_enough_where_asked_for() {
    assert_eq!(waiting(Goal::Accepted, 1).result().unwrap().outcome, Outcome::Succeeded);
    assert_eq!(Goal::of_apply("ApplicationInstance", None), Goal::Ready);
    assert_eq!(Goal::of_apply("ApplicationInstance", Some(WaitFor::Accepted)), Goal::Accepted);
    assert_eq!(Goal::of_apply("Operation", None), Goal::Finished);
    assert_eq!(Goal::of_apply("ConfigMap", None), Goal::Accepted);
}

#[test]
fn an_operation_ends_with_its_terminal_condition() {
    let end = |type_| {
        let mut run = waiting(Goal::Finished, 1);
        run.handle_observed(observed(&[condition(type_, True, "EngineFailed", 1)]));
        run.result().map(|result| result.outcome)
    };
    assert_eq!(end("Running"), None);
    assert_eq!(end("Succeeded"), Some(Outcome::Succeeded));
    assert_eq!(end("Failed"), Some(Outcome::Failed));
    assert_eq!(end("Cancelled"), Some(Outcome::Failed));
}

#[test]
fn a_later_job_supersedes_a_waiting_one_and_nothing_else() {
    let mut run = waiting(Goal::Ready, 1);
    run.handle_superseded(&JobId::new("j2"));
    assert_eq!(run.result().unwrap().error, "Superseded: by job j2");
    let mut done = waiting(Goal::Accepted, 1);
    done.handle_superseded(&JobId::new("j2"));
    assert_eq!(done.result().unwrap().outcome, Outcome::Succeeded);
}

#[test]
fn a_job_that_gave_way_tells_to_whom_and_why_it_was_not_taken() {
    let mut run = JobRun::new(&job(""));
    run.handle_applying(at(0));
    run.handle_delayed("the API server is busy");
    run.handle_gave_way(&JobId::new("j2"));
    let result = run.result().unwrap();
    assert_eq!((result.outcome, &result.applied_ref), (Outcome::Failed, &None));
    assert_eq!(result.error, "Superseded: by job j2; it was not taken before: the API server is busy");
}

/// The journal takes a result beside the largest payload, and an entry holds 1 MiB in all.
#[test]
fn a_result_is_bounded_however_much_the_api_server_has_to_say() {
    let conflict =
        |n| FieldConflict { manager: "kubectl-edit".into(), field_path: format!(".spec.values.v{n}") };
    let conflicts: Vec<_> = (0..10_000).map(conflict).collect();
    let (outcome, error) = (Outcome::Conflict, "\u{1}".repeat(1_000_000));
    let mut run = JobRun::new(&job(""));
    run.handle_ended(JobResult { error, conflicts: conflicts.clone(), ..outcome.into() });
    let result = run.result().unwrap();
    assert!(serde_json::to_string(result).unwrap().len() <= 256 * 1024);
    assert!(result.conflicts.len() > 400 && conflicts.starts_with(&result.conflicts));
}

#[test]
fn an_expired_job_is_noop() {
    let mut run = JobRun::new(&job(r#","expiresAt":"1970-01-01T00:00:10Z""#));
    run.handle_start(at(10));
    assert_eq!(run.result(), None);
    run.handle_start(at(11));
    assert_eq!(run.result().map(|r| (r.outcome, r.error.as_str())), Some((Outcome::Noop, "expired")));
}

#[test]
fn status_is_told_on_change_and_at_most_once_a_second() {
    let mut run = waiting(Goal::Ready, 1);
    assert_eq!(run.poll_status(at(1)).unwrap().phase, phase::RECONCILING);
    assert!(run.poll_status(at(5)).is_none());
    run.handle_observed(observed(&[condition("Ready", Unknown, "Progressing", 1)]));
    assert_eq!(run.poll_status(at(5)).unwrap().conditions.len(), 1);
    run.handle_observed(observed(&[condition("Blocked", True, "X", 1)]));
    assert!(run.poll_status(at(5)).is_none());
    assert_eq!(run.poll_timeout(), Some(at(6)));
    assert_eq!(run.poll_status(at(6)).unwrap().phase, phase::BLOCKED);
}

proptest! {
    /// Whatever is observed, a success is told only after Ready=True about the applied generation once the request was
    /// handled, and an ended job stays as it ended.
    #[test]
    fn no_success_too_early_and_ends_are_final(
        steps in proptest::collection::vec((0..3u8, 0..4i64, any::<bool>(), any::<bool>()), 0..30)
    ) {
        let mut run = waiting(Goal::Ready, 2);
        let mut earned = false;
        for (status, generation, stalled, handled) in steps {
            let status = [True, False, Unknown][usize::from(status)];
            let before = run.result().cloned();
            earned |= before.is_none() && status == True && generation >= 2 && handled;
            let seen = observed(&[
                condition("Ready", status, reasons::HELM_RELEASE_FAILED, generation),
                condition("Reconciling", ConditionStatus::from(!stalled), "r", generation),
            ]);
            let handled_request = Some(if handled { "j1" } else { "j0" }.to_owned());
            run.handle_observed(seen.map(|seen| Observed { handled_request, ..seen }));
            prop_assert!(handled || before.is_some() || run.result().is_none());
            if before.is_some() {
                prop_assert_eq!(run.result().cloned(), before);
            }
        }
        if run.result().is_some_and(|result| result.outcome == Outcome::Succeeded) {
            prop_assert!(earned);
        }
    }
}

#[test]
fn a_clock_that_went_back_between_two_processes_moves_no_deadline_away() {
    let mut run = JobRun::new(&job(r#","deadlineSeconds":60"#));
    let taken =
        Taken { goal: Goal::Ready, applied: ObjectRef::default(), deadline: at(3_600), is_requested: false };
    run.resume(taken, at(0));
    assert_eq!(run.deadline(), Some(at(60)));
}

#[test]
fn deadline_does_not_quote_ready_of_an_earlier_generation() {
    let error = |generation| {
        let mut run = waiting(Goal::Ready, 2);
        run.handle_observed(observed(&[condition("Ready", Unknown, reasons::PROGRESSING, generation)]));
        run.handle_timeout(at(60));
        run.result().unwrap().error.clone()
    };
    assert_eq!(error(2), "DeadlineExceeded: Ready=Unknown/Progressing: m");
    assert_eq!(
        error(1),
        "DeadlineExceeded: the object has not reported its Ready condition for generation 2 yet"
    );
}
