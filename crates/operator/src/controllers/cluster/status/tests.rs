use super::*;
use crate::agent::conversation::Echo;
use crate::{
    agent::problem::Problem,
    controllers::cluster::{dereference::Stored, validate::Registration},
};
use std::time::Duration;
use vworkspace_core::agent::{
    credentials::Held,
    session::{Failure, Session},
};
use vworkspace_protocol::{ClusterId, Secret};
use vworkspace_transport::LinkError;

fn found() -> Found {
    let cluster = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
        "metadata": {"name": "c", "uid": "u", "generation": 2}, "spec": {}});
    Found {
        cluster: serde_json::from_value(cluster).unwrap(),
        is_in_charge: true,
        token: Ok(None),
        ca_pem: Ok(None),
        stored: None,
        seed_url: String::new(),
        secret_name: "s".into(),
        secret_namespace: "n".into(),
    }
}

fn stored() -> Stored {
    Stored {
        base_url: "https://x".into(),
        held: Held::new(ClusterId::new("id"), Secret::new("t"), None),
        ca_pem: None,
        owner: Some("u".into()),
        version: None,
    }
}

fn session() -> SessionId {
    SessionId::new("2d9b1c9e")
}

fn told(plan: &Plan, exchange: &Exchange, link: &LinkState) -> (Option<ClusterPhase>, Vec<String>) {
    let status = status(&found(), plan, exchange, link, &session(), Timestamp::UNIX_EPOCH);
    let conditions = status.conditions.iter().filter(|c| c.type_ != types::BUFFER_OVERFLOW);
    (status.phase, conditions.map(|c| format!("{}={}/{}", c.type_, c.status, c.reason)).collect())
}

fn link(session: State, disconnected: bool, reached: bool) -> LinkState {
    LinkState { session, disconnected, reached, problem: "p".into(), ..LinkState::default() }
}

#[test]
fn a_good_round_trip_is_connected() {
    let (phase, conditions) = told(&Plan::Keep, &Exchange::None, &link(State::Active, false, true));
    assert_eq!(phase, Some(ClusterPhase::Connected));
    assert_eq!(
        conditions,
        [
            "Connected=True/RoundTripOK",
            "Disconnected=False/Connected",
            "Authenticated=True/CredentialAccepted"
        ]
    );
}

#[test]
fn a_cut_says_nothing_about_the_credential() {
    let (phase, conditions) = told(&Plan::Keep, &Exchange::None, &link(State::Active, true, true));
    assert_eq!(phase, Some(ClusterPhase::Disconnected));
    assert_eq!(
        conditions,
        ["Disconnected=True/NoRecentRoundTrip", "Connected=False/ControlPlaneUnreachable"]
    );
}

#[test]
fn dropped_events_are_told_with_their_number_until_the_outbox_is_empty() {
    let overflow = |overflowing, dropped_events| {
        let link = LinkState { overflowing, dropped_events, ..link(State::Active, false, true) };
        let told = status(&found(), &Plan::Keep, &Exchange::None, &link, &session(), Timestamp::UNIX_EPOCH);
        let condition = told.conditions.into_iter().find(|c| c.type_ == types::BUFFER_OVERFLOW).unwrap();
        (format!("{}/{}", condition.status, condition.reason), condition.message)
    };
    let (told, message) = overflow(true, 17);
    assert_eq!(told, "True/EventBufferFull");
    assert!(message.contains("17"), "{message}");
    assert_eq!(overflow(false, 17).0, "False/BufferDrained");
}

#[test]
fn report_diverged_appears_and_is_cleared_by_a_match() {
    let mut found = found();
    let mut tell = |report_diverged| {
        let link = LinkState { report_diverged, ..link(State::Active, false, true) };
        let told = status(&found, &Plan::Keep, &Exchange::None, &link, &session(), Timestamp::UNIX_EPOCH);
        let condition = told.conditions.iter().find(|c| c.type_ == types::REPORT_DIVERGED);
        let condition = condition.map(|c| format!("{}/{}", c.status, c.reason));
        found.cluster.status = Some(told);
        condition
    };
    let [never, diverged, agrees] = [false, true, false].map(&mut tell);
    assert_eq!(never, None);
    assert_eq!(diverged.as_deref(), Some("True/ReportDiffers"));
    assert_eq!(agrees.as_deref(), Some("False/ReportAgrees"));
}

#[test]
fn while_another_token_is_not_exchanged_the_link_of_the_credential_there_is_is_told() {
    let mut found = found();
    found.stored = Some(stored());
    let (token, base_url) = (Secret::new("vwksp-reg-2"), "https://x".to_owned());
    let registration = Registration { base_url, token, fingerprint: String::new(), ca_pem: None };
    let (plan, problem, at) = (Plan::Register(registration), "503".into(), Timestamp::UNIX_EPOCH);
    for exchange in [Exchange::Waits { at }, Exchange::Failed { problem, at }] {
        let cut = link(State::Active, true, true);
        let told = status(&found, &plan, &exchange, &cut, &session(), Timestamp::UNIX_EPOCH);
        assert_eq!(told.phase, Some(ClusterPhase::Disconnected), "{exchange:?}");
    }
}

#[test]
fn rejection_says_when_it_is_asked_again_and_what_helps() {
    let mut rejected = Session::new(Duration::from_secs(60));
    rejected.handle_credential(true, Timestamp::UNIX_EPOCH);
    rejected.handle_failure(Failure::Unauthorized, Timestamp::UNIX_EPOCH, 1.0);
    let rejected = LinkState { rejected: rejected.rejected(), ..link(rejected.state(), false, true) };
    let told = status(&found(), &Plan::Keep, &Exchange::None, &rejected, &session(), Timestamp::UNIX_EPOCH);
    assert_eq!(told.phase, Some(ClusterPhase::Error));
    for type_ in [types::AUTHENTICATED, types::CONNECTED] {
        let condition = told.conditions.iter().find(|c| c.type_ == type_).unwrap();
        assert_eq!((&*condition.status, &*condition.reason), ("False", reasons::CREDENTIAL_REJECTED));
        assert!(condition.message.contains("1970-01-01T00:01:00Z"), "{}", condition.message);
        assert!(condition.message.contains("registration token"), "{}", condition.message);
    }
}

#[test]
fn conflict_of_identity_is_told_in_the_same_words_whatever_is_answered() {
    let mut conflict = Session::new(Duration::from_secs(60));
    conflict.handle_credential(true, Timestamp::UNIX_EPOCH);
    let failure = Failure::IdentityConflict { retry_after: None };
    conflict.handle_failure(failure, Timestamp::UNIX_EPOCH, 1.0);
    let mut found = found();
    found.stored = Some(stored());
    let mut tell = |session_of: &Session, problem: &str, disconnected| {
        let state = link(session_of.state(), disconnected, true);
        let link = LinkState { rejected: session_of.rejected(), problem: problem.into(), ..state };
        let told = status(&found, &Plan::Keep, &Exchange::None, &link, &session(), Timestamp::UNIX_EPOCH);
        found.cluster.status = Some(told.clone());
        let of = |type_: &str| told.conditions.iter().find(|c| c.type_ == type_).cloned();
        [of(types::CONNECTED), of(types::DISCONNECTED)].map(Option::unwrap)
    };
    let first = tell(&conflict, "control plane answered 409: identity_conflict", true);
    assert_eq!((&*first[0].status, &*first[0].reason), ("False", reasons::IDENTITY_CONFLICT));
    let command = "vwctl cluster keep --cluster id --session 2d9b1c9e";
    assert!(first[0].message.ends_with(command), "{}", first[0].message);
    conflict.handle_good(Timestamp::UNIX_EPOCH);
    for (problem, disconnected) in [("", false), ("", true), ("503", true)] {
        assert!(tell(&conflict, problem, disconnected) == first, "{problem} {disconnected}");
    }
}

#[test]
fn foreign_answer_is_an_unexpected_response() {
    let (content_type, excerpt) = ("text/html".to_owned(), "<h1>Blocked</h1>".to_owned());
    let answer = LinkError::Unexpected { status: 403, content_type, excerpt, retry_after: None };
    let cut = LinkState { problem: Problem::from(&answer), ..link(State::Active, true, true) };
    let told = status(&found(), &Plan::Keep, &Exchange::None, &cut, &session(), Timestamp::UNIX_EPOCH);
    let connected = told.conditions.iter().find(|c| c.type_ == types::CONNECTED).unwrap();
    assert_eq!((&*connected.status, &*connected.reason), ("False", reasons::UNEXPECTED_RESPONSE));
    for part in ["403", "text/html", "Blocked"] {
        assert!(connected.message.contains(part), "{}", connected.message);
    }
}

#[test]
fn stripped_headers_are_told_beside_a_good_connection() {
    let echo = Some(Echo { target: String::new(), mark: EchoMark::Stripped });
    let stripped = LinkState { echo, ..link(State::Active, false, true) };
    let (_, conditions) = told(&Plan::Keep, &Exchange::None, &stripped);
    assert_eq!(conditions[0], "Connected=True/HeadersStripped");
}

#[test]
fn what_is_not_known_yet_changes_nothing() {
    assert_eq!(told(&Plan::Keep, &Exchange::None, &link(State::Resyncing, false, false)), (None, Vec::new()));
}

#[test]
fn a_second_cluster_is_told_so() {
    let (phase, conditions) = told(&Plan::NotInCharge, &Exchange::None, &LinkState::default());
    assert_eq!(phase, Some(ClusterPhase::Error));
    assert_eq!(conditions[0], "Authenticated=False/NotSingleton");
}

#[test]
fn a_spent_token_reads_as_such() {
    let (message, at) = ("spent".to_owned(), Timestamp::UNIX_EPOCH);
    let blocked = Plan::Blocked(Blocked::TokenRejected { message, at });
    let (_, conditions) = told(&blocked, &Exchange::None, &LinkState::default());
    assert_eq!(conditions[0], "Authenticated=False/RegistrationTokenInvalid");
}

#[test]
fn a_heartbeat_alone_is_written_once_a_minute() {
    let mut found = found();
    let beat = |second| LinkState {
        last_heartbeat: Timestamp::from_second(second).ok(),
        problem: Problem::default(),
        ..link(State::Active, false, true)
    };
    let first = status(&found, &Plan::Keep, &Exchange::None, &beat(100), &session(), Timestamp::UNIX_EPOCH);
    found.cluster.status = Some(first.clone());
    let soon = status(&found, &Plan::Keep, &Exchange::None, &beat(130), &session(), Timestamp::UNIX_EPOCH);
    assert!(soon == first);
    let later = status(&found, &Plan::Keep, &Exchange::None, &beat(160), &session(), Timestamp::UNIX_EPOCH);
    assert!(later != first);
}

#[test]
fn ca_secret_that_is_gone_is_told_while_its_copy_stays_in_use() {
    let told = |found: &Found| {
        let link = link(State::Active, false, true);
        status(found, &Plan::Keep, &Exchange::None, &link, &session(), Timestamp::UNIX_EPOCH)
    };
    let blocked = |status: &ClusterStatus| {
        let blocked = status.conditions.iter().find(|condition| condition.type_ == types::BLOCKED);
        blocked.map(|condition| (condition.status.clone(), condition.message.clone()))
    };
    let mut found = found();
    assert_eq!(blocked(&told(&found)), None);
    found.ca_pem = Err("Secret ca does not exist".into());
    let gone = told(&found);
    let message =
        "spec.controlPlaneCASecretRef: Secret ca does not exist; what Secret s trusts stays trusted";
    assert_eq!(blocked(&gone), Some(("True".to_owned(), message.to_owned())));
    (found.cluster.status, found.ca_pem) = (Some(gone), Ok(None));
    assert_eq!(blocked(&told(&found)), Some(("False".to_owned(), String::new())));
}
