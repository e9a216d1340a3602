//! Step 5: what the Cluster tells (reference contract, section 5.3, amended by contract, section 4).

use super::{
    Error,
    apply::Exchange,
    build::object_ref,
    dereference::Found,
    validate::{Blocked, Plan, belongs},
};
use crate::{
    agent::conversation::LinkState, announce::Announcer, conditions, context::Context,
    metrics::CredentialGauge, report::version_of,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use vworkspace_core::agent::session::{Rejected, Rejection, State};
use vworkspace_crds::{
    Cluster,
    cluster::{ClusterPhase, ClusterStatus, CredentialStatus, CredentialsSecretRef},
};
use vworkspace_protocol::{
    ConditionStatus,
    condition::{reasons, types},
};
use vworkspace_transport::EchoMark;

/// A heartbeat alone is written down at most this often.
const HEARTBEAT_STEP: SignedDuration = SignedDuration::from_secs(60);

/// Sets conditions of one generation at one time.
struct Teller<'a> {
    status: &'a mut ClusterStatus,
    generation: i64,
    now: Timestamp,
}

impl Teller<'_> {
    fn tell(&mut self, type_: &str, holds: bool, reason: &str, message: &str) {
        let status = ConditionStatus::from(holds);
        conditions::set(
            &mut self.status.conditions,
            type_,
            status,
            reason,
            message,
            self.generation,
            self.now,
        );
    }

    fn not_registered(&mut self, phase: ClusterPhase, reason: &str, connected_reason: &str, message: &str) {
        self.status.phase = Some(phase);
        self.tell(types::AUTHENTICATED, false, reason, message);
        self.tell(types::CONNECTED, false, connected_reason, message);
    }
}

/// The status as it is to be. Pure.
pub fn status(
    found: &Found,
    plan: &Plan,
    exchange: &Exchange,
    link: &LinkState,
    now: Timestamp,
) -> ClusterStatus {
    let mut status = found.cluster.status.clone().unwrap_or_default();
    let generation = found.cluster.metadata.generation.unwrap_or_default();
    let mut teller = Teller { status: &mut status, generation, now };
    match plan {
        Plan::NotInCharge => {
            let message = "another Cluster object is in charge of this cluster; delete one of them";
            teller.not_registered(
                ClusterPhase::Error,
                reasons::NOT_SINGLETON,
                reasons::NOT_SINGLETON,
                message,
            );
            return status;
        }
        Plan::Finalize { .. } => teller.status.phase = Some(ClusterPhase::Terminating),
        Plan::Blocked(blocked) => tell_blocked(&mut teller, blocked),
        Plan::Register(_) => tell_exchange(&mut teller, found, exchange, link),
        Plan::Adopt { fingerprint } => {
            record(teller.status, found, now);
            teller.status.observed_token =
                fingerprint.clone().or_else(|| teller.status.observed_token.clone());
            tell_link(&mut teller, link);
        }
        // A rotated credential works until the new one is used: only the link tells how it is.
        Plan::Keep | Plan::TakeBackWish | Plan::Rotate(_) | Plan::RegisterAgain(_) => {
            tell_age(teller.status, found);
            tell_link(&mut teller, link);
        }
    }
    tell_outbox(&mut teller, link);
    tell_report(&mut teller, link);
    status
}

fn tell_blocked(teller: &mut Teller<'_>, blocked: &Blocked) {
    let pending = reasons::REGISTRATION_PENDING;
    match blocked {
        Blocked::TokenMissing(message) => {
            teller.not_registered(ClusterPhase::Pending, reasons::TOKEN_SECRET_MISSING, pending, message);
        }
        Blocked::NoToken => {
            let message = "there is neither a registration token nor a credential";
            let reason = reasons::CREDENTIAL_MISSING;
            teller.not_registered(ClusterPhase::Pending, reason, reason, message);
        }
        Blocked::NoEndpoint => {
            let message = "spec.controlPlaneEndpoint is not set";
            teller.not_registered(ClusterPhase::Error, reasons::REGISTRATION_FAILED, pending, message);
        }
        Blocked::CaMissing(message) => {
            teller.not_registered(ClusterPhase::Error, reasons::REGISTRATION_FAILED, pending, message);
        }
        Blocked::TokenRejected { message, .. } => {
            teller.not_registered(ClusterPhase::Error, reasons::REGISTRATION_TOKEN_INVALID, pending, message);
        }
    }
}

fn tell_exchange(teller: &mut Teller<'_>, found: &Found, exchange: &Exchange, link: &LinkState) {
    let is_registered = found.stored.as_ref().is_some_and(|stored| belongs(stored, &found.cluster));
    match exchange {
        Exchange::Done { fingerprint } => {
            teller.status.phase = Some(ClusterPhase::Registering);
            teller.status.observed_token = Some(fingerprint.clone());
            record(teller.status, found, teller.now);
            teller.tell(
                types::AUTHENTICATED,
                true,
                reasons::REGISTRATION_COMPLETE,
                "the token was exchanged",
            );
            teller.tell(types::CONNECTED, true, reasons::CONTROL_PLANE_REACHABLE, "");
        }
        // An older credential goes on working: only the new token does not, or not yet.
        Exchange::None | Exchange::Waits { .. } | Exchange::Failed { .. } | Exchange::Rejected { .. }
            if is_registered =>
        {
            tell_link(teller, link);
        }
        Exchange::None | Exchange::Waits { .. } => {}
        Exchange::Failed { problem, .. } => {
            let foreign = problem.foreign.as_ref().map(|_| reasons::UNEXPECTED_RESPONSE);
            let connected = foreign.unwrap_or(reasons::REGISTRATION_PENDING);
            let (phase, failed) = (ClusterPhase::Error, reasons::REGISTRATION_FAILED);
            teller.not_registered(phase, failed, connected, &problem.message);
        }
        Exchange::Rejected { reason, .. } => {
            let pending = reasons::REGISTRATION_PENDING;
            teller.not_registered(ClusterPhase::Error, reasons::REGISTRATION_TOKEN_INVALID, pending, reason);
        }
    }
}

fn record(status: &mut ClusterStatus, found: &Found, now: Timestamp) {
    let (name, namespace) = (found.secret_name.clone(), found.secret_namespace.clone());
    status.credentials_secret_ref =
        Some(CredentialsSecretRef { name: name.clone(), namespace: Some(namespace.clone()) });
    status.credential_status = Some(CredentialStatus {
        secret_name: Some(name),
        secret_namespace: Some(namespace),
        registered_at: Some(Time(vworkspace_protocol::time::whole_seconds(now))),
        registration_token_consumed: true,
    });
}

/// The credential is as old as its Secret says, whoever exchanged it and for whom.
fn tell_age(status: &mut ClusterStatus, found: &Found) {
    let issued = found.stored.as_ref().and_then(|stored| stored.held.life).map(|life| life.issued_at);
    if let (Some(credential), Some(issued)) = (&mut status.credential_status, issued) {
        credential.registered_at = Some(Time(vworkspace_protocol::time::whole_seconds(issued)));
    }
}

fn tell_link(teller: &mut Teller<'_>, link: &LinkState) {
    let problem = &link.problem.message;
    if link.disconnected {
        let message = if problem.is_empty() { "no good round trip" } else { problem.as_str() };
        teller.tell(types::DISCONNECTED, true, reasons::NO_RECENT_ROUND_TRIP, message);
    }
    match link.session {
        State::Rejected(_) => {
            if let Some(rejected) = link.rejected {
                tell_rejected(teller, rejected, problem);
            }
        }
        State::Unregistered if !link.problem.is_empty() => {
            teller.status.phase = Some(ClusterPhase::Error);
            teller.tell(types::CONNECTED, false, reasons::CONTROL_PLANE_UNREACHABLE, problem);
        }
        State::Resyncing | State::Active if is_in_conflict(link) => {
            teller.status.phase = Some(ClusterPhase::Error);
            let message = format!(
                "{problem}; another agent uses this cluster's identity and goes first. If this cluster is the one to \
                 keep, run vwctl cluster keep"
            );
            teller.tell(types::CONNECTED, false, reasons::IDENTITY_CONFLICT, &message);
        }
        State::Resyncing | State::Active if link.disconnected => {
            teller.status.phase = Some(ClusterPhase::Disconnected);
            let foreign = link.problem.foreign.as_ref().map(|_| reasons::UNEXPECTED_RESPONSE);
            let reason = foreign.unwrap_or(reasons::CONTROL_PLANE_UNREACHABLE);
            teller.tell(types::CONNECTED, false, reason, problem);
        }
        State::Resyncing | State::Active if link.reached => tell_connected(teller, link),
        // Not known yet: what was told last stands.
        State::Unregistered | State::Resyncing | State::Active => {}
    }
}

fn is_in_conflict(link: &LinkState) -> bool {
    link.rejected.is_some_and(|rejected| rejected.why == Rejection::IdentityConflict)
}

fn tell_rejected(teller: &mut Teller<'_>, rejected: Rejected, problem: &str) {
    teller.status.phase = Some(ClusterPhase::Error);
    let reason = match rejected.why {
        Rejection::CredentialRejected => reasons::CREDENTIAL_REJECTED,
        Rejection::IdentityForbidden => reasons::IDENTITY_FORBIDDEN,
        Rejection::IdentityConflict => reasons::IDENTITY_CONFLICT,
    };
    let at = vworkspace_protocol::time::whole_seconds(rejected.retry_at);
    let message = format!(
        "{problem}; no credential held is accepted; asked again at {at}, or at once when the Cluster or its credentials \
         Secret changes. If it stays so, give the Cluster another registration token for this cluster id"
    );
    teller.tell(types::AUTHENTICATED, false, reason, &message);
    teller.tell(types::CONNECTED, false, reason, &message);
}

fn tell_connected(teller: &mut Teller<'_>, link: &LinkState) {
    teller.status.phase = Some(ClusterPhase::Connected);
    if link.echo.as_ref().is_some_and(|echo| echo.mark == EchoMark::Stripped) {
        let message = "something on the way removes the header X-Vworkspace-Session from the control plane's answers, \
                       so they cannot be told from a proxy's; let it pass";
        teller.tell(types::CONNECTED, true, reasons::HEADERS_STRIPPED, message);
    } else {
        teller.tell(types::CONNECTED, true, reasons::ROUND_TRIP_OK, "");
    }
    teller.tell(types::DISCONNECTED, false, reasons::CONNECTED, "");
    teller.tell(types::AUTHENTICATED, true, reasons::CREDENTIAL_ACCEPTED, "");
    if let Some(beat) = link.last_heartbeat {
        let last = teller.status.last_heartbeat.as_ref().map(|time| time.0);
        if last.is_none_or(|last| beat.duration_since(last) >= HEARTBEAT_STEP) {
            teller.status.last_heartbeat = Some(Time(vworkspace_protocol::time::whole_seconds(beat)));
        }
    }
}

fn tell_outbox(teller: &mut Teller<'_>, link: &LinkState) {
    if link.overflowing {
        let message = format!("{} events were dropped so far", link.dropped_events);
        teller.tell(types::BUFFER_OVERFLOW, true, reasons::EVENT_BUFFER_FULL, &message);
    } else {
        teller.tell(types::BUFFER_OVERFLOW, false, reasons::BUFFER_DRAINED, "");
    }
}

/// A cluster whose reports never diverged has no such condition.
fn tell_report(teller: &mut Teller<'_>, link: &LinkState) {
    let was_told = teller.status.conditions.iter().any(|condition| condition.type_ == types::REPORT_DIVERGED);
    if link.report_diverged {
        let message = "the control plane holds something else than was reported to it; \
                       everything is reported once more, at most once a minute to once an hour";
        teller.tell(types::REPORT_DIVERGED, true, reasons::REPORT_DIFFERS, message);
    } else if was_told {
        teller.tell(types::REPORT_DIVERGED, false, reasons::REPORT_AGREES, "");
    }
}

/// Writes the status where it differs, and tells what changed.
pub(super) async fn write(
    context: &Context,
    announcer: &Announcer,
    cluster: &Cluster,
    told: ClusterStatus,
    credential: &CredentialGauge,
) -> Result<(), Error> {
    let issued = told.credential_status.as_ref().and_then(|credential| credential.registered_at.as_ref());
    if let Some(issued) = issued {
        credential.issued(issued.0);
    }
    let before = cluster.status.clone().unwrap_or_default();
    if before == told {
        return Ok(());
    }
    let api = Api::<Cluster>::all(context.client.clone());
    let written = api
        .patch_status(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(json!({"status": told})))
        .await
        .map_err(Error::api("writing the Cluster's status"))?;
    announcer.transitions(&cluster.object_ref(&()), &before.conditions, &told.conditions).await;
    let (before, after) = (conditions::to_wire(&before.conditions), conditions::to_wire(&told.conditions));
    context.reporter.transition(object_ref(cluster), version_of(&written), before, after);
    Ok(())
}

#[cfg(test)]
mod tests {
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

    fn told(plan: &Plan, exchange: &Exchange, link: &LinkState) -> (Option<ClusterPhase>, Vec<String>) {
        let status = status(&found(), plan, exchange, link, Timestamp::UNIX_EPOCH);
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
            let told = status(&found(), &Plan::Keep, &Exchange::None, &link, Timestamp::UNIX_EPOCH);
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
            let told = status(&found, &Plan::Keep, &Exchange::None, &link, Timestamp::UNIX_EPOCH);
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
        found.stored = Some(Stored {
            base_url: "https://x".into(),
            held: Held::new(ClusterId::new("id"), Secret::new("t"), None),
            ca_pem: None,
            owner: Some("u".into()),
            version: None,
        });
        let (token, base_url) = (Secret::new("vwksp-reg-2"), "https://x".to_owned());
        let registration = Registration { base_url, token, fingerprint: String::new(), ca_pem: None };
        let (plan, problem, at) = (Plan::Register(registration), "503".into(), Timestamp::UNIX_EPOCH);
        for exchange in [Exchange::Waits { at }, Exchange::Failed { problem, at }] {
            let cut = link(State::Active, true, true);
            let told = status(&found, &plan, &exchange, &cut, Timestamp::UNIX_EPOCH);
            assert_eq!(told.phase, Some(ClusterPhase::Disconnected), "{exchange:?}");
        }
    }

    #[test]
    fn rejection_says_when_it_is_asked_again_and_what_helps() {
        let mut session = Session::new(Duration::from_secs(60));
        session.handle_credential(true, Timestamp::UNIX_EPOCH);
        session.handle_failure(Failure::Unauthorized, Timestamp::UNIX_EPOCH, 1.0);
        let rejected = LinkState { rejected: session.rejected(), ..link(session.state(), false, true) };
        let told = status(&found(), &Plan::Keep, &Exchange::None, &rejected, Timestamp::UNIX_EPOCH);
        assert_eq!(told.phase, Some(ClusterPhase::Error));
        for type_ in [types::AUTHENTICATED, types::CONNECTED] {
            let condition = told.conditions.iter().find(|c| c.type_ == type_).unwrap();
            assert_eq!((&*condition.status, &*condition.reason), ("False", reasons::CREDENTIAL_REJECTED));
            assert!(condition.message.contains("1970-01-01T00:01:00Z"), "{}", condition.message);
            assert!(condition.message.contains("registration token"), "{}", condition.message);
        }
    }

    #[test]
    fn conflict_of_identity_is_told_though_results_are_taken() {
        let mut session = Session::new(Duration::from_secs(60));
        session.handle_credential(true, Timestamp::UNIX_EPOCH);
        let conflict = Failure::IdentityConflict { retry_after: None };
        session.handle_failure(conflict, Timestamp::UNIX_EPOCH, 1.0);
        session.handle_good(Timestamp::UNIX_EPOCH);
        let conflict = LinkState { rejected: session.rejected(), ..link(session.state(), false, true) };
        let (_, conditions) = told(&Plan::Keep, &Exchange::None, &conflict);
        assert_eq!(conditions, ["Connected=False/IdentityConflict"]);
    }

    #[test]
    fn foreign_answer_is_an_unexpected_response() {
        let (content_type, excerpt) = ("text/html".to_owned(), "<h1>Blocked</h1>".to_owned());
        let answer = LinkError::Unexpected { status: 403, content_type, excerpt, retry_after: None };
        let cut = LinkState { problem: Problem::from(&answer), ..link(State::Active, true, true) };
        let told = status(&found(), &Plan::Keep, &Exchange::None, &cut, Timestamp::UNIX_EPOCH);
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
        assert_eq!(
            told(&Plan::Keep, &Exchange::None, &link(State::Resyncing, false, false)),
            (None, Vec::new())
        );
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
        let first = status(&found, &Plan::Keep, &Exchange::None, &beat(100), Timestamp::UNIX_EPOCH);
        found.cluster.status = Some(first.clone());
        let soon = status(&found, &Plan::Keep, &Exchange::None, &beat(130), Timestamp::UNIX_EPOCH);
        assert!(soon == first);
        let later = status(&found, &Plan::Keep, &Exchange::None, &beat(160), Timestamp::UNIX_EPOCH);
        assert!(later != first);
    }
}
