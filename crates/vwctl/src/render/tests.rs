use super::{fixture, *};
use insta::assert_snapshot;
use vworkspace_protocol::{
    JobId, Outcome,
    admin::{
        AgentSession, ApiTokenPage, Cluster, ClusterPage, EventPage, EventRecord, Explanation, Holder,
        IdentityConflict, Job, JobPage, JobState, KeptSession, NextStep, Organization, OrganizationPage,
        Presence, RegistrationTokenPage, ReleasedJobs, ResourcePage, TimelineEntry, UnknownResult,
        UnknownResultPage,
    },
    id::SessionId,
    outcome::FieldConflict,
};

#[test]
fn one_of_each() {
    assert_snapshot!("organization", organization(&fixture::organization()));
    assert_snapshot!("cluster", cluster(&fixture::cluster()));
    assert_snapshot!("application", application(&fixture::application()));
    assert_snapshot!("job", job(&fixture::job()));
    assert_snapshot!("job_standing", job_standing(&fixture::job()));
}

#[test]
fn what_an_absent_cluster_told_is_said_to_be_old() {
    assert_eq!(absence(&fixture::cluster()), None);
    let away = Cluster { presence: Presence::Disconnected, ..fixture::cluster() };
    assert_eq!(
        absence(&away).unwrap(),
        "clinic-1 is Disconnected, last seen 12s ago: this is its last report."
    );
    assert!(cluster(&away).contains("by the cluster, last seen 12s ago:\nCONDITION"));
}

#[test]
fn cluster_in_conflict_names_both_sessions_and_what_to_do() {
    let session = |name: &str, address: &str, first, last| AgentSession {
        session: SessionId::new(name),
        address: address.to_owned(),
        first_seen: fixture::at(first),
        last_seen: fixture::at(last),
    };
    let conflict = IdentityConflict {
        since: fixture::at(70),
        served: session("8f2", "192.0.2.1", 10, 99),
        refused: vec![session("a31", "192.0.2.2", 60, 90)],
    };
    let cluster_in_conflict =
        Cluster { identity_conflict: Some(conflict), held_jobs: 3, unknown_results: 1, ..fixture::cluster() };
    assert_snapshot!("cluster_in_conflict", cluster(&cluster_in_conflict));
    let kept = KeptSession {
        session: SessionId::new("8f2"),
        since: fixture::at(95),
        refused: Some(session("a31", "192.0.2.2", 96, 98)),
    };
    assert_snapshot!("cluster_kept", cluster(&Cluster { kept_session: Some(kept), ..fixture::cluster() }));
}

#[test]
fn what_is_left_after_a_restore_is_listed() {
    let held = Job { held_since: Some(fixture::at(50)), ..fixture::job() };
    assert_snapshot!("job_held", job(&held));
    let result = UnknownResult {
        job_id: JobId::new("job-9"),
        outcome: Outcome::Succeeded,
        error: String::new(),
        applied_ref: Some(fixture::application().resource_ref),
        received_at: fixture::at(40),
    };
    let page = UnknownResultPage { items: vec![result], next_cursor: None };
    assert_snapshot!("unknown_results", unknown_results(&page));
    assert_eq!(released(&ReleasedJobs { released: 2, superseded: 0 }), "2 released");
    assert_eq!(
        released(&ReleasedJobs { released: 2, superseded: 1 }),
        "2 released, 1 superseded by newer jobs"
    );
}

#[test]
fn cluster_that_a_job_waits_for_is_named_with_since_when() {
    let unregistered = Cluster { presence: Presence::Unregistered, ..fixture::cluster() };
    let new = Cluster { last_seen: None, ..unregistered.clone() };
    assert!(awaited(&new).unwrap().starts_with("clinic-1 has not registered yet"));
    let away = Cluster { presence: Presence::Disconnected, ..fixture::cluster() };
    let told = awaited(&away).unwrap();
    assert_eq!(
        told,
        format!("clinic-1 is Disconnected since {}: the job waits for it.", when(away.last_seen.unwrap()))
    );
    assert!(awaited(&unregistered).unwrap().contains("until it registers again"));
    assert_eq!(awaited(&fixture::cluster()), None);
}

#[test]
fn events_have_a_line_for_each_condition() {
    let told = fixture::application();
    let event = |conditions| EventRecord {
        id: "e".into(),
        event_key: String::new(),
        kind: "ConditionTransition".into(),
        resource_ref: told.resource_ref.clone(),
        conditions,
        timestamp: None,
        received_at: fixture::at(40),
    };
    let items = vec![event(told.conditions.clone()), event(Vec::new())];
    assert_snapshot!("events", events(&EventPage { items, next_cursor: None }));
}

#[test]
fn listings() {
    let organizations_page = OrganizationPage { items: vec![fixture::organization()], next_cursor: None };
    assert_snapshot!("organizations", organizations(&organizations_page));
    assert_snapshot!(
        "clusters",
        clusters(&ClusterPage { items: vec![fixture::cluster()], next_cursor: None })
    );
    let page =
        ResourcePage { items: vec![fixture::application()], next_cursor: None, as_of: Some(fixture::at(60)) };
    assert_snapshot!("applications", applications(&page));
    assert_snapshot!("jobs", jobs(&JobPage { items: vec![fixture::job(), failed()], next_cursor: None }));
}

#[test]
fn tokens_are_listed_by_id_and_never_by_secret() {
    let page = ApiTokenPage { items: vec![fixture::api_token()], next_cursor: None };
    assert_snapshot!("api_tokens", api_tokens(&page));
    let page = RegistrationTokenPage { items: vec![fixture::registration_token()], next_cursor: None };
    assert_snapshot!("registration_tokens", registration_tokens(&page));
}

#[test]
fn archived_things_say_so_in_lists_and_alone() {
    let archived = Cluster {
        archived_at: Some(fixture::at(90)),
        presence: Presence::Unregistered,
        ..fixture::cluster()
    };
    let listed = clusters(&ClusterPage { items: vec![archived.clone()], next_cursor: None });
    assert!(listed.contains("Archived") && !listed.contains("Unregistered"), "{listed}");
    assert!(cluster(&archived).contains("archived:       2026-01-01T00:01:30Z"), "{}", cluster(&archived));
    let archived = Organization { archived_at: Some(fixture::at(90)), ..fixture::organization() };
    let listed = organizations(&OrganizationPage { items: vec![archived.clone()], next_cursor: None });
    assert!(listed.contains("acme (archived)"), "{listed}");
    assert!(organization(&archived).contains("archived:   2026-01-01T00:01:30Z"));
}

#[test]
fn a_job_in_conflict_names_each_field_and_its_owner() {
    assert_snapshot!("job_in_conflict", job(&failed()));
}

#[test]
fn what_was_told_before_a_job_succeeded_does_not_look_like_its_end() {
    for outcome in [Outcome::Succeeded, Outcome::Noop] {
        let ended = Job { state: JobState::Closed, outcome: Some(outcome), ..fixture::job() };
        let page = JobPage { items: vec![ended.clone()], next_cursor: None };
        for text in [job(&ended), jobs(&page), job_standing(&ended)] {
            assert!(!text.contains("Reconciling") && !text.contains("Progressing"), "{text}");
            assert!(text.contains("closed"), "{text}");
        }
    }
}

#[test]
fn what_was_told_before_another_end_says_so_and_is_not_in_the_list() {
    for state in [JobState::Closed, JobState::Cancelled] {
        let outcome = (state == JobState::Closed).then_some(Outcome::Failed);
        let ended = Job { state, outcome, ..fixture::job() };
        let text = job(&ended);
        let (before, told) = text.split_once("last reported before the end:").unwrap();
        assert!(!before.contains("Reconciling") && told.contains("Reconciling"), "{text}");
        assert!(told.contains("Progressing"), "{text}");
        let page = JobPage { items: vec![ended], next_cursor: None };
        assert!(!jobs(&page).contains("Reconciling"));
    }
    let silent =
        Job { state: JobState::Cancelled, phase: String::new(), conditions: Vec::new(), ..fixture::job() };
    assert!(!job(&silent).contains("last told"));
}

#[test]
fn the_error_of_a_followed_job_is_left_to_the_last_line() {
    let ended = failed();
    let entry = TimelineEntry {
        seq: 4,
        at: fixture::at(4),
        state: JobState::Closed,
        cause: format!("result: conflict: {}", ended.error),
    };
    let ended = Job { timeline: vec![entry.clone()], ..ended };
    assert_eq!(timeline_entry(&ended, &entry), "2026-01-01T00:00:04Z  closed     result: conflict");
    let shown = followed_job(&ended);
    assert!(!shown.contains(&ended.error) && shown.contains("closed (conflict)"), "{shown}");
    assert!(shown.contains("OWNED BY"), "which fields are whose stays: {shown}");
    let withdrawn =
        TimelineEntry { state: JobState::Cancelled, cause: "cancelled by admin".to_owned(), ..entry };
    assert!(timeline_entry(&ended, &withdrawn).ends_with("cancelled by admin"));
}

#[test]
fn deliveries_are_shown_while_they_are_not_acked() {
    assert!(!job(&fixture::job()).contains("deliveries"));
    assert!(job(&Job { deliveries: 2, ..fixture::job() }).contains("unacked deliveries:   2"));
}

#[test]
fn an_explanation_says_who_has_the_job_and_what_comes_next() {
    let next = vec![
        NextStep { at: None, what: "the agent reports the result".to_owned() },
        NextStep { at: Some(fixture::at(600)), what: "it is redelivered".to_owned() },
    ];
    let explained = Explanation { job: fixture::job(), holder: Holder::Agent, next };
    assert_snapshot!("explanation", explanation(&explained));
}

#[test]
fn an_empty_listing_still_names_its_columns() {
    assert_snapshot!("no_jobs", jobs(&JobPage { items: vec![], next_cursor: None }));
}

#[test]
fn what_a_cluster_says_cannot_steer_the_terminal() {
    let job_with_escape = Job { error: "red \u{1b}[31m and a bell \u{7}".to_owned(), ..failed() };
    assert!(!job(&job_with_escape).contains(['\u{1b}', '\u{7}']));
}

fn failed() -> Job {
    Job {
        state: JobState::Closed,
        outcome: Some(Outcome::Conflict),
        error: "field manager kubectl owns .spec.chart.version".to_owned(),
        conflicts: vec![FieldConflict {
            field_path: ".spec.chart.version".to_owned(),
            manager: "kubectl".to_owned(),
        }],
        ..fixture::job()
    }
}
