//! Step 4 for a rotation: a new credential is fetched and stored beside the current one. Nothing else in the operator
//! rotates; which of the two goes on is settled in `settle.rs`, once the agent knows.

use super::{
    Error,
    apply::{Registrar, issued_now},
    build::object_ref_or_identity,
    dereference::{Stored, Way, credential},
    validate::belongs,
};
use crate::{
    agent::links::{USER_AGENT, failure_of},
    announce::Announcer,
    clock,
    rotations::{Answer, RotationError},
};
use jiff::Timestamp;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::json;
use std::sync::Arc;
use vworkspace_core::agent::{
    credentials::{Fetched, LostRotation},
    rotation::{Cause, Rotation, rotation_by_job},
    session::Failure,
};
use vworkspace_crds::Cluster;
use vworkspace_protocol::{JobId, credential::RotateResponse};
use vworkspace_transport::{
    AgentLink as _, EchoMark, Witness,
    http::client::{HttpLink, LinkSettings},
};

/// Why no new credential was fetched; the current one goes on working.
pub(super) struct Unrotated {
    /// For people.
    reason: String,
    /// When it is tried again.
    pub(super) at: Timestamp,
    /// Whether the control plane never will do it.
    for_good: bool,
}

impl Registrar {
    /// Both credentials work until the new one is used, which is after it is stored: whatever fails in between, one
    /// that the cluster holds works, and the next try replaces the unused one. Not to be called while a rotation is under
    /// way.
    pub(super) async fn rotate(
        &mut self,
        cluster: Option<&Cluster>,
        stored: &Stored,
        cause: &Cause,
        announcer: &Announcer,
    ) -> Result<Result<(), Unrotated>, Error> {
        let way = Way::of(stored);
        if let Some(at) = self.rotating.not_before(&way, clock::now()) {
            let reason = format!("it failed a moment ago and is tried again at {at}");
            return Ok(Err(Unrotated { reason, at, for_good: false }));
        }
        // An earlier answer may have been lost: what is answered now says nothing about that one.
        let is_first = stored.held.lost_rotation() != Some(LostRotation::Asked);
        let stored = &self.with_lost_rotation(cluster, stored).await?;
        let answer = match self.ask_for_another(&way).await {
            Ok(answer) => answer,
            Err((reason, failure)) => {
                let held = stored.held.without_lost_rotation();
                // A rejection may be the answer to this very request, which arrived twice.
                let is_refused =
                    failure.is_some_and(|failure| failure.is_refusal() && !failure.is_rejection());
                if is_first && is_refused && held != stored.held {
                    self.write_secret(cluster, &Stored { held, ..stored.clone() }).await?;
                }
                tracing::warn!(reason, ?cause, "the credential was not rotated; the old one goes on working");
                tell(announcer, cluster, EventType::Warning, "RotationFailed", &reason).await;
                let asked = failure.and_then(Failure::retry_after);
                let at = self.rotating.handle_failure(way, asked, clock::now(), rand::random());
                let for_good = failure.is_some_and(Failure::is_final);
                return Ok(Err(Unrotated { reason, at, for_good }));
            }
        };
        let fetched = Fetched {
            token: answer.token,
            life: answer.expires_at.map(issued_now),
            rotation: uuid::Uuid::new_v4().to_string(),
        };
        let both = Stored { held: stored.held.fetched(fetched, cause), ..stored.clone() };
        self.write_secret(cluster, &both).await?;
        tracing::info!(cluster_id = %stored.held.cluster, ?cause, "a new credential is stored beside the current one");
        Ok(Ok(()))
    }

    /// Stores that a rotation is asked for, before it is: the old credential may be dead once the control plane has
    /// answered, and the answer may be lost.
    async fn with_lost_rotation(&self, cluster: Option<&Cluster>, stored: &Stored) -> Result<Stored, Error> {
        if self.exchanged_elsewhere().is_some() || stored.held.lost_rotation() == Some(LostRotation::Asked) {
            return Ok(stored.clone());
        }
        let mut asked =
            Stored { held: stored.held.with_lost_rotation(LostRotation::Asked), ..stored.clone() };
        asked.version = self.write_secret(cluster, &asked).await?;
        Ok(asked)
    }

    /// Rotates for a job, once however often the job asks. Absent: a rotation is under way, this one's or another, and
    /// the job is to be asked about again when it is settled.
    pub(super) async fn rotate_for(
        &mut self,
        job: &JobId,
        cluster: Option<&Cluster>,
        announcer: &Announcer,
    ) -> Option<Answer> {
        if let Some(why) = self.exchanged_elsewhere() {
            return Some(Err(RotationError::Refused(why.to_owned())));
        }
        let stored = match credential(&self.client, &self.args).await {
            Ok(stored) => stored.filter(|stored| is_of(stored, cluster)),
            Err(error) => return Some(Err(RotationError::Later(error.to_string()))),
        };
        let Some(stored) = stored else {
            return Some(Err(RotationError::Later("there is no credential".to_owned())));
        };
        match rotation_by_job(job, stored.held.fulfilled.job.as_ref()) {
            Rotation::Fulfilled | Rotation::No => {
                return Some(Ok(object_ref_or_identity(cluster, stored.held.cluster.as_str())));
            }
            Rotation::Due if stored.held.next().is_some() => return None,
            Rotation::Due => {}
        }
        match self.rotate(cluster, &stored, &Cause::Job(job.clone()), announcer).await {
            Ok(Ok(())) => None,
            Ok(Err(Unrotated { reason, for_good: true, .. })) => Some(Err(RotationError::Refused(reason))),
            Ok(Err(Unrotated { reason, .. })) => Some(Err(RotationError::Later(reason))),
            Err(error) => Some(Err(RotationError::Later(error.to_string()))),
        }
    }

    pub(super) async fn take_back_wish(&self, cluster: &Cluster) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"spec": {"rotateCredentials": false}}));
        let api = Api::<Cluster>::all(self.client.clone());
        let taken_back = api.patch(&cluster.name_any(), &PatchParams::default(), &patch).await;
        taken_back.map_err(Error::api("taking back the wish for a rotation")).map(drop)
    }

    /// Why no rotation of ours would come into use, if so.
    fn exchanged_elsewhere(&self) -> Option<&'static str> {
        self.args
            .given_token()
            .map(|_| "the credential is given by flag or environment; it is exchanged there")
    }

    async fn ask_for_another(&self, way: &Way) -> Result<RotateResponse, (String, Option<Failure>)> {
        if let Some(why) = self.exchanged_elsewhere() {
            return Err((why.to_owned(), Some(Failure::Refused)));
        }
        let link = self.link(way).map_err(|reason| (reason, None))?;
        let answer = link.rotate().await.map_err(|error| (error.to_string(), Some(failure_of(&error))))?;
        // One that cannot be presented would be neither accepted nor refused.
        self.link(&Way { token: answer.token.clone(), ..way.clone() }).map_err(|reason| (reason, None))?;
        Ok(answer)
    }

    /// A link with the credential; why there can be none.
    pub(super) fn link(&self, way: &Way) -> Result<HttpLink, String> {
        HttpLink::new(&LinkSettings {
            base_url: way.base_url.clone(),
            ca_pem: way.ca_pem.clone(),
            bearer: Some(way.token.clone()),
            session: self.session.clone(),
            user_agent: USER_AGENT.to_owned(),
            allow_insecure_http: self.args.allow_insecure_http,
            witness: Arc::new(Witness::new(EchoMark::stored(way.echoes))),
        })
        .map_err(|error| error.to_string())
    }
}

/// Whether a credential is that of the Cluster in charge, or there is none in charge.
pub(super) fn is_of(stored: &Stored, cluster: Option<&Cluster>) -> bool {
    cluster.is_none_or(|cluster| belongs(stored, cluster))
}

pub(super) async fn tell(
    announcer: &Announcer,
    cluster: Option<&Cluster>,
    type_: EventType,
    reason: &str,
    note: &str,
) {
    if let Some(cluster) = cluster {
        announcer.tell(&cluster.object_ref(&()), type_, reason, note).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args::Args, report::Reporter};
    use clap::Parser as _;
    use kube::{Client, client::Body};
    use tower::BoxError;
    use vworkspace_protocol::id::SessionId;

    /// What a job hears that asks for a rotation, of an operator that reaches no API server.
    async fn answer_with(flag: &str) -> Option<Answer> {
        let unreached = tower::service_fn(async |_| Err::<http::Response<Body>, BoxError>("no way".into()));
        let client = Client::new(unreached, "n");
        let args = Arc::new(Args::try_parse_from(["vworkspace-operator", flag]).unwrap());
        let mut registrar =
            Registrar::new(client.clone(), Reporter::off(), args, SessionId::new("s".to_owned()));
        registrar.rotate_for(&JobId::new("j"), None, &Announcer::new(client, "c")).await
    }

    #[tokio::test]
    async fn a_credential_given_by_flag_is_never_rotated_and_the_job_says_why() {
        let Some(Err(RotationError::Refused(why))) = answer_with("--agent-token=t").await else {
            panic!("it was not refused")
        };
        assert!(why.contains("given by flag"), "{why}");
        assert!(matches!(answer_with("--agent-token=").await, Some(Err(RotationError::Later(_)))));
    }
}
