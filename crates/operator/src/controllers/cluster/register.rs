//! Step 4 for a registration: the token is exchanged for an identity, or once more for the same one.

use super::{
    Error,
    apply::{Exchange, Registrar, fetched, issued_now},
    dereference::{Found, Stored},
    rejected_token::RejectedToken,
    validate::Registration,
};
use crate::{
    agent::{
        credentials::text,
        links::{USER_AGENT, failure_of},
        problem::Problem,
    },
    announce::Announcer,
    clock,
};
use kube::{Resource as _, ResourceExt as _, runtime::events::EventType};
use serde_json::json;
use std::sync::Arc;
use vworkspace_core::agent::{credentials::Held, session::Failure};
use vworkspace_crds::Cluster;
use vworkspace_protocol::{
    ClusterId,
    condition::reasons,
    credential::{RegisterRequest, RegisterResponse},
    id::SessionId,
};
use vworkspace_transport::{
    AgentLink as _, Witness,
    http::client::{HttpLink, LinkSettings},
};

/// Secret with the id under which the current token is exchanged: stored before the first try, so that a repeated
/// exchange is the same one (contract, section 4).
const REGISTRATION_SECRET: &str = "vworkspace-agent-registration";
/// Key of [`REGISTRATION_SECRET`].
const REGISTRATION_ID: &str = "registration-id";
/// Key of [`REGISTRATION_SECRET`]: which token the id belongs to.
const TOKEN_FINGERPRINT: &str = "token-fingerprint";

/// Why the token was not exchanged.
struct Unregistered {
    /// What went wrong.
    problem: Problem,
    /// What the control plane's answer means; absent: there is no way to it.
    failure: Option<Failure>,
    /// What the control plane's log calls the request, if it told.
    request_id: Option<String>,
}

impl Unregistered {
    fn failure(&self) -> Failure {
        self.failure.unwrap_or(Failure::Unavailable { retry_after: None })
    }
}

impl Registrar {
    pub(super) async fn register(
        &mut self,
        found: &Found,
        registration: &Registration,
        announcer: &Announcer,
    ) -> Result<Exchange, Error> {
        if let Some(at) = self.registering.not_before(registration, clock::now()) {
            return Ok(Exchange::Waits { at });
        }
        let cluster = &found.cluster;
        let registration_id = self.registration_id(&registration.fingerprint).await?;
        let witness = registration.witness(found.stored.as_ref());
        let asked = cluster.spec.cluster_id.clone().filter(|id| !id.is_empty()).map(ClusterId::new);
        let exchanged = self.exchange(cluster, registration, asked, registration_id, &witness).await;
        let answer = match exchanged {
            Ok(answer) => answer,
            Err(unregistered) => {
                let exchange = self.handle_unregistered(cluster, registration, unregistered);
                if let Exchange::Rejected { reason, .. } = &exchange {
                    let object = cluster.object_ref(&());
                    announcer
                        .tell(&object, EventType::Warning, reasons::REGISTRATION_TOKEN_INVALID, reason)
                        .await;
                }
                return Ok(exchange);
            }
        };
        let held = Held::new(answer.cluster_id.clone(), answer.token, answer.expires_at.map(issued_now));
        let stored = Stored {
            base_url: registration.base_url.clone(),
            held: held.with_echo(witness.mark().is_set()),
            ca_pem: registration.ca_pem.clone(),
            owner: None,
            version: None,
        };
        self.write_secret(Some(cluster), &stored).await?;
        (self.rejected, self.problem) = (None, Problem::default());
        self.registering.handle_success();
        self.record(cluster, &answer.cluster_id, announcer).await?;
        tracing::info!(cluster_id = %answer.cluster_id, "this cluster is registered");
        Ok(Exchange::Done { fingerprint: registration.fingerprint.clone() })
    }

    /// Registers under the identity that is held, since the answer to a rotation was lost and every credential is
    /// rejected. The new credential is stored beside the others until the control plane has accepted it.
    pub(super) async fn register_again(
        &mut self,
        cluster: &Cluster,
        stored: &Stored,
        registration: &Registration,
        announcer: &Announcer,
    ) -> Result<Exchange, Error> {
        if let Some(at) = self.registering.not_before(registration, clock::now()) {
            return Ok(Exchange::Waits { at });
        }
        let id = &stored.held.cluster;
        let registration_id = self.registration_id(&registration.fingerprint).await?;
        let witness = registration.witness(Some(stored));
        let exchanged =
            self.exchange(cluster, registration, Some(id.clone()), registration_id, &witness).await;
        let answer = match &exchanged {
            Ok(answer) => Ok((answer.cluster_id.clone(), fetched(answer.token.clone(), answer.expires_at))),
            Err(unregistered) => Err(unregistered.failure()),
        };
        let Some(held) = stored.held.registered_again(answer) else {
            return Ok(match exchanged.map_err(|e| self.handle_unregistered(cluster, registration, e)) {
                Err(Exchange::Rejected { at, .. } | Exchange::Failed { at, .. }) => Exchange::Waits { at },
                Ok(_) | Err(_) => Exchange::None,
            });
        };
        let is_given = held.lost_rotation().is_none();
        self.write_secret(Some(cluster), &Stored { held, ..stored.clone() }).await?;
        if is_given {
            self.registering.handle_success();
            tracing::info!(cluster_id = %id, "registered again, since the answer to a rotation was lost");
            return Ok(Exchange::None);
        }
        let reason = match exchanged {
            Ok(_) => "the control plane answered with another cluster id, which is not taken".to_owned(),
            Err(unregistered) => unregistered.problem.message,
        };
        tracing::warn!(cluster_id = %id, reason, "could not register again after a lost rotation");
        let object = cluster.object_ref(&());
        announcer.tell(&object, EventType::Warning, "RegistrationRefused", &reason).await;
        Ok(Exchange::None)
    }

    async fn exchange(
        &self,
        cluster: &Cluster,
        registration: &Registration,
        cluster_id: Option<ClusterId>,
        registration_id: String,
        witness: &Arc<Witness>,
    ) -> Result<RegisterResponse, Unregistered> {
        let link = HttpLink::new(&LinkSettings {
            base_url: registration.base_url.clone(),
            ca_pem: registration.ca_pem.clone(),
            bearer: None,
            session: SessionId::new(registration_id.clone()),
            user_agent: USER_AGENT.to_owned(),
            capabilities: self.args.capabilities(),
            allow_insecure_http: self.args.allow_insecure_http,
            witness: witness.clone(),
        })
        .map_err(|error| Unregistered {
            problem: error.to_string().as_str().into(),
            request_id: None,
            failure: None,
        })?;
        let request = RegisterRequest {
            registration_token: registration.token.clone(),
            cluster_id,
            display_name: cluster.name_any(),
            registration_id,
        };
        link.register(&request).await.map_err(|error| Unregistered {
            problem: Problem::from(&error),
            request_id: error.request_id().map(str::to_owned),
            failure: Some(failure_of(&error)),
        })
    }

    /// What the control plane rejects is tried again seldom; everything else is, when it is due.
    fn handle_unregistered(
        &mut self,
        cluster: &Cluster,
        registration: &Registration,
        unregistered: Unregistered,
    ) -> Exchange {
        let Unregistered { problem, request_id, failure } = unregistered;
        let (reason, now) = (problem.message.clone(), clock::now());
        tracing::warn!(reason, request_id, ?failure, "the registration token was not exchanged");
        if failure.is_some_and(Failure::is_rejection) {
            let earlier = self.rejected.take();
            let rejected = RejectedToken::new(earlier, registration, cluster, reason, now, rand::random());
            let (reason, at) = (rejected.message(), rejected.retry_at);
            self.rejected = Some(rejected);
            return Exchange::Rejected { reason, at };
        }
        let asked = failure.and_then(Failure::retry_after);
        let at = self.registering.handle_failure(registration.clone(), asked, now, rand::random());
        problem.replace(&mut self.problem);
        Exchange::Failed { problem: self.problem.clone(), at }
    }

    /// The id of this token's exchange, made and stored on first use.
    async fn registration_id(&self, fingerprint: &str) -> Result<String, Error> {
        let stored = self
            .secrets()
            .get_opt(REGISTRATION_SECRET)
            .await
            .map_err(Error::api("reading the registration Secret"))?
            .filter(|secret| text(secret, TOKEN_FINGERPRINT).as_deref() == Some(fingerprint))
            .and_then(|secret| text(&secret, REGISTRATION_ID));
        if let Some(id) = stored {
            return Ok(id);
        }
        let id = uuid::Uuid::new_v4().to_string();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": REGISTRATION_SECRET},
            "stringData": {REGISTRATION_ID: id, TOKEN_FINGERPRINT: fingerprint},
        });
        self.put_secret(REGISTRATION_SECRET, &secret, "writing the registration Secret").await?;
        Ok(id)
    }
}
