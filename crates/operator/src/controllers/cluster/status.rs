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
use std::borrow::Cow;
use vworkspace_core::agent::session::{Rejected, Rejection, State};
use vworkspace_crds::{
    Cluster,
    cluster::{ClusterPhase, ClusterStatus, CredentialStatus, CredentialsSecretRef},
};
use vworkspace_protocol::{
    ConditionStatus,
    condition::{reasons, types},
    id::SessionId,
};
use vworkspace_transport::EchoMark;

/// A heartbeat alone is written down at most this often.
const HEARTBEAT_STEP: SignedDuration = SignedDuration::from_secs(60);

/// Sets conditions of one generation at one time.
struct StatusDraft<'a> {
    status: &'a mut ClusterStatus,
    generation: i64,
    now: Timestamp,
}

impl StatusDraft<'_> {
    fn set(&mut self, type_: &str, holds: bool, reason: &str, message: &str) {
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

    /// A condition that is absent until there is trouble for the first time.
    fn set_trouble(&mut self, type_: &str, trouble: Option<(&str, &str)>, over: &str) {
        let was_set = self.status.conditions.iter().any(|condition| condition.type_ == type_);
        match trouble {
            Some((reason, message)) => self.set(type_, true, reason, message),
            None if was_set => self.set(type_, false, over, ""),
            None => {}
        }
    }

    fn not_registered(&mut self, phase: ClusterPhase, reason: &str, connected_reason: &str, message: &str) {
        self.status.phase = Some(phase);
        self.set(types::AUTHENTICATED, false, reason, message);
        self.set(types::CONNECTED, false, connected_reason, message);
    }
}

/// The status as it is to be; `session` is the agent's. Pure.
pub fn status(
    found: &Found,
    plan: &Plan,
    exchange: &Exchange,
    link: &LinkState,
    session: &SessionId,
    now: Timestamp,
) -> ClusterStatus {
    let link = &Link::new(found, link, session);
    let mut status = found.cluster.status.clone().unwrap_or_default();
    let generation = found.cluster.metadata.generation.unwrap_or_default();
    let mut draft = StatusDraft { status: &mut status, generation, now };
    match plan {
        Plan::NotInCharge => {
            let message = "another Cluster object is in charge of this cluster; delete one of them";
            draft.not_registered(
                ClusterPhase::Error,
                reasons::NOT_SINGLETON,
                reasons::NOT_SINGLETON,
                message,
            );
            return status;
        }
        Plan::Finalize { .. } => draft.status.phase = Some(ClusterPhase::Terminating),
        Plan::Blocked(blocked) => tell_blocked(&mut draft, blocked),
        Plan::Register(_) => tell_exchange(&mut draft, found, exchange, link),
        Plan::Adopt { fingerprint } => {
            record(draft.status, found, now);
            draft.status.observed_token = fingerprint.clone().or_else(|| draft.status.observed_token.clone());
            tell_link(&mut draft, link);
        }
        // A rotated credential works until the new one is used: only the link tells how it is.
        Plan::Keep | Plan::TakeBackWish | Plan::Rotate(_) | Plan::RegisterAgain(_) => {
            tell_age(draft.status, found);
            tell_link(&mut draft, link);
            tell_ca(&mut draft, found);
        }
    }
    tell_outbox(&mut draft, link.state);
    tell_report(&mut draft, link.state);
    status
}

fn tell_blocked(draft: &mut StatusDraft<'_>, blocked: &Blocked) {
    let pending = reasons::REGISTRATION_PENDING;
    match blocked {
        Blocked::TokenMissing(message) => {
            draft.not_registered(ClusterPhase::Pending, reasons::TOKEN_SECRET_MISSING, pending, message);
        }
        Blocked::NoToken => {
            let message = "there is neither a registration token nor a credential";
            let reason = reasons::CREDENTIAL_MISSING;
            draft.not_registered(ClusterPhase::Pending, reason, reason, message);
        }
        Blocked::NoEndpoint => {
            let message = "spec.controlPlaneEndpoint is not set";
            draft.not_registered(ClusterPhase::Error, reasons::REGISTRATION_FAILED, pending, message);
        }
        Blocked::CaMissing(message) => {
            draft.not_registered(ClusterPhase::Error, reasons::REGISTRATION_FAILED, pending, message);
        }
        Blocked::TokenRejected { message, .. } => {
            draft.not_registered(ClusterPhase::Error, reasons::REGISTRATION_TOKEN_INVALID, pending, message);
        }
    }
}

fn tell_exchange(draft: &mut StatusDraft<'_>, found: &Found, exchange: &Exchange, link: &Link<'_>) {
    let is_registered = found.stored.as_ref().is_some_and(|stored| belongs(stored, &found.cluster));
    match exchange {
        Exchange::Done { fingerprint } => {
            draft.status.phase = Some(ClusterPhase::Registering);
            draft.status.observed_token = Some(fingerprint.clone());
            record(draft.status, found, draft.now);
            draft.set(types::AUTHENTICATED, true, reasons::REGISTRATION_COMPLETE, "the token was exchanged");
            draft.set(types::CONNECTED, true, reasons::CONTROL_PLANE_REACHABLE, "");
        }
        // An older credential goes on working: only the new token does not, or not yet.
        Exchange::None | Exchange::Waits { .. } | Exchange::Failed { .. } | Exchange::Rejected { .. }
            if is_registered =>
        {
            tell_link(draft, link);
        }
        Exchange::None | Exchange::Waits { .. } => {}
        Exchange::Failed { problem, .. } => {
            let foreign = problem.foreign.as_ref().map(|_| reasons::UNEXPECTED_RESPONSE);
            let connected = foreign.unwrap_or(reasons::REGISTRATION_PENDING);
            let (phase, failed) = (ClusterPhase::Error, reasons::REGISTRATION_FAILED);
            draft.not_registered(phase, failed, connected, &problem.message);
        }
        Exchange::Rejected { reason, .. } => {
            let pending = reasons::REGISTRATION_PENDING;
            draft.not_registered(ClusterPhase::Error, reasons::REGISTRATION_TOKEN_INVALID, pending, reason);
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

/// How the link is, and what is said about it.
struct Link<'a> {
    state: &'a LinkState,
    /// In a conflict of identity its own words, the same ones until it is over: what the calls meet meanwhile changes
    /// with each of them.
    problem: Cow<'a, str>,
    is_in_conflict: bool,
}

impl<'a> Link<'a> {
    fn new(found: &Found, state: &'a LinkState, session: &SessionId) -> Self {
        let is_in_conflict =
            state.rejected.is_some_and(|rejected| rejected.why == Rejection::IdentityConflict);
        let problem = if is_in_conflict {
            let stored = found.stored.as_ref().map(|stored| stored.held.cluster.to_string());
            let cluster = stored.unwrap_or_else(|| found.cluster.name_any());
            Cow::Owned(format!(
                "another agent uses this cluster's identity and goes first. If this cluster is the one to keep, run \
                 vwctl cluster keep --cluster {cluster} --session {session}"
            ))
        } else {
            Cow::Borrowed(&*state.problem.message)
        };
        Self { state, problem, is_in_conflict }
    }
}

fn tell_link(draft: &mut StatusDraft<'_>, link: &Link<'_>) {
    let Link { state: link, problem, is_in_conflict } = link;
    if link.disconnected {
        let message = if problem.is_empty() { "no good round trip" } else { problem };
        draft.set(types::DISCONNECTED, true, reasons::NO_RECENT_ROUND_TRIP, message);
    }
    match link.session {
        State::Rejected(_) => {
            if let Some(rejected) = link.rejected {
                tell_rejected(draft, rejected, problem);
            }
        }
        State::Unregistered if !link.problem.is_empty() => {
            draft.status.phase = Some(ClusterPhase::Error);
            draft.set(types::CONNECTED, false, reasons::CONTROL_PLANE_UNREACHABLE, problem);
        }
        State::Resyncing | State::Active if *is_in_conflict => {
            draft.status.phase = Some(ClusterPhase::Error);
            draft.set(types::CONNECTED, false, reasons::IDENTITY_CONFLICT, problem);
        }
        State::Resyncing | State::Active if link.disconnected => {
            draft.status.phase = Some(ClusterPhase::Disconnected);
            let foreign = link.problem.foreign.as_ref().map(|_| reasons::UNEXPECTED_RESPONSE);
            let reason = foreign.unwrap_or(reasons::CONTROL_PLANE_UNREACHABLE);
            draft.set(types::CONNECTED, false, reason, problem);
        }
        State::Resyncing | State::Active if link.reached => tell_connected(draft, link),
        // Not known yet: what was told last stands.
        State::Unregistered | State::Resyncing | State::Active => {}
    }
}

fn tell_rejected(draft: &mut StatusDraft<'_>, rejected: Rejected, problem: &str) {
    draft.status.phase = Some(ClusterPhase::Error);
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
    draft.set(types::AUTHENTICATED, false, reason, &message);
    draft.set(types::CONNECTED, false, reason, &message);
}

fn tell_connected(draft: &mut StatusDraft<'_>, link: &LinkState) {
    draft.status.phase = Some(ClusterPhase::Connected);
    if link.echo.as_ref().is_some_and(|echo| echo.mark == EchoMark::Stripped) {
        let message = "something on the way removes the header X-Vworkspace-Session from the control plane's answers, \
                       so they cannot be told from a proxy's; let it pass";
        draft.set(types::CONNECTED, true, reasons::HEADERS_STRIPPED, message);
    } else {
        draft.set(types::CONNECTED, true, reasons::ROUND_TRIP_OK, "");
    }
    draft.set(types::DISCONNECTED, false, reasons::CONNECTED, "");
    draft.set(types::AUTHENTICATED, true, reasons::CREDENTIAL_ACCEPTED, "");
    if let Some(beat) = link.last_heartbeat {
        let last = draft.status.last_heartbeat.as_ref().map(|time| time.0);
        if last.is_none_or(|last| beat.duration_since(last) >= HEARTBEAT_STEP) {
            draft.status.last_heartbeat = Some(Time(vworkspace_protocol::time::whole_seconds(beat)));
        }
    }
}

fn tell_outbox(draft: &mut StatusDraft<'_>, link: &LinkState) {
    if link.overflowing {
        let message = format!("{} events were dropped so far", link.dropped_events);
        draft.set(types::BUFFER_OVERFLOW, true, reasons::EVENT_BUFFER_FULL, &message);
    } else {
        draft.set(types::BUFFER_OVERFLOW, false, reasons::BUFFER_DRAINED, "");
    }
}

fn tell_report(draft: &mut StatusDraft<'_>, link: &LinkState) {
    let message = "the control plane holds something else than was reported to it; \
                   everything is reported once more, at most once a minute to once an hour";
    let trouble = link.report_diverged.then_some((reasons::REPORT_DIFFERS, message));
    draft.set_trouble(types::REPORT_DIVERGED, trouble, reasons::REPORT_AGREES);
}

/// An identity goes on with the certificates that it had: only whoever registers needs the ones that the object names.
fn tell_ca(draft: &mut StatusDraft<'_>, found: &Found) {
    let message = found.ca_pem.as_ref().err().map(|missing| {
        format!(
            "spec.controlPlaneCASecretRef: {missing}; what Secret {} trusts stays trusted",
            found.secret_name
        )
    });
    let trouble = message.as_deref().map(|message| (reasons::CA_SECRET_INVALID, message));
    draft.set_trouble(types::BLOCKED, trouble, reasons::UNBLOCKED);
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
mod tests;
