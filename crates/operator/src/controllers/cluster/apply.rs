//! Step 4: carries the plan out: finalizer, exchange of the token, credentials Secret.

use super::{
    Error, build,
    dereference::{Found, Stored, Way},
    validate::{Plan, Registration, RejectedToken, endpoint, has_finalizer},
};
use crate::{
    agent::{
        credentials::text,
        links::{USER_AGENT, failure_of},
        problem::Problem,
    },
    announce::Announcer,
    args::Args,
    clock,
    report::Reporter,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use serde_json::{Value, json};
use std::sync::Arc;
use vworkspace_core::agent::{
    credentials::{Fetched, Held, LostRotation},
    departure::SeenDeleted,
    rotation::{Cause, Life},
    session::Failure,
    spacing::Spacing,
};
use vworkspace_crds::{
    Cluster,
    key::{CLUSTER_FINALIZER, OPERATOR_FIELD_MANAGER},
};
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

/// What came of the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// There was none to be made, or a rotation, of which only its Secret tells.
    None,
    /// It failed before, and is not due again yet.
    Waits {
        /// When it is.
        at: Timestamp,
    },
    /// The credential is in the Secret.
    Done {
        /// Of the token.
        fingerprint: String,
    },
    /// It failed and is tried again.
    Failed {
        /// What went wrong.
        problem: Problem,
        /// When it is.
        at: Timestamp,
    },
    /// The control plane refused the token; it is tried again, but seldom.
    Rejected {
        /// For people.
        reason: String,
        /// When it is.
        at: Timestamp,
    },
}

/// Carries plans out; remembers which token is of no use, and what failed a moment ago.
pub(super) struct Registrar {
    pub(super) client: Client,
    pub(super) args: Arc<Args>,
    pub(super) reporter: Reporter,
    /// The run of this process: what rotates is what polls.
    pub(super) session: SessionId,
    rejected: Option<RejectedToken>,
    registering: Spacing<Registration>,
    /// What went wrong with the last exchange.
    problem: Problem,
    pub(super) rotating: Spacing<Way>,
    pub(super) leaving: Spacing<Way>,
    pub(super) seen_deleted: SeenDeleted,
    /// The rotation that was told last.
    pub(super) told_rotation: Option<String>,
}

impl Registrar {
    pub(super) fn new(client: Client, reporter: Reporter, args: Arc<Args>, session: SessionId) -> Self {
        Self {
            client,
            args,
            reporter,
            session,
            rejected: None,
            registering: Spacing::default(),
            problem: Problem::default(),
            rotating: Spacing::default(),
            leaving: Spacing::default(),
            seen_deleted: SeenDeleted::default(),
            told_rotation: None,
        }
    }

    pub(super) fn rejected(&self) -> Option<&RejectedToken> {
        self.rejected.as_ref()
    }

    pub(super) async fn apply(
        &mut self,
        found: &Found,
        plan: &Plan,
        announcer: &Announcer,
    ) -> Result<Exchange, Error> {
        match plan {
            Plan::NotInCharge | Plan::Finalize { .. } | Plan::Blocked(_) => Ok(Exchange::None),
            Plan::Adopt { .. } => {
                self.keep(found).await?;
                // Perhaps of an exchange whose end was not recorded any more.
                if let Some(stored) = &found.stored {
                    self.record(&found.cluster, &stored.held.cluster, announcer).await?;
                }
                Ok(Exchange::None)
            }
            Plan::Keep => {
                self.keep(found).await?;
                Ok(Exchange::None)
            }
            Plan::Rotate(cause) => {
                let Some(stored) = &found.stored else { return Ok(Exchange::None) };
                let rotated = self.rotate(Some(&found.cluster), stored, cause, announcer).await?;
                Ok(rotated.map_or_else(|unrotated| Exchange::Waits { at: unrotated.at }, |()| Exchange::None))
            }
            Plan::TakeBackWish => {
                self.take_back_wish(&found.cluster).await?;
                Ok(Exchange::None)
            }
            Plan::Register(registration) => {
                self.add_finalizer(&found.cluster).await?;
                self.register(found, registration, announcer).await
            }
            Plan::RegisterAgain(registration) => {
                let Some(stored) = &found.stored else { return Ok(Exchange::None) };
                self.register_again(&found.cluster, stored, registration, announcer).await
            }
        }
    }

    async fn register(
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
    async fn register_again(
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
        let refused = match exchanged {
            Ok(answer) if answer.cluster_id == *id => {
                let life = answer.expires_at.map(issued_now);
                let fetched =
                    Fetched { token: answer.token, life, rotation: uuid::Uuid::new_v4().to_string() };
                let held = stored.held.fetched(fetched, &Cause::RegisteredAgain);
                self.write_secret(Some(cluster), &Stored { held, ..stored.clone() }).await?;
                self.registering.handle_success();
                tracing::info!(cluster_id = %id, "registered again, since the answer to a rotation was lost");
                return Ok(Exchange::None);
            }
            Ok(_) => "the control plane answered with another cluster id, which is not taken".to_owned(),
            Err(Unregistered { problem, failure, .. }) if failure.is_some_and(Failure::is_rejection) => {
                problem.message
            }
            Err(unregistered) => {
                self.handle_unregistered(cluster, registration, unregistered);
                let at = self.registering.not_before(registration, clock::now());
                return Ok(at.map_or(Exchange::None, |at| Exchange::Waits { at }));
            }
        };
        let held = stored.held.with_lost_rotation(LostRotation::RegisteredAgain);
        self.write_secret(Some(cluster), &Stored { held, ..stored.clone() }).await?;
        tracing::warn!(cluster_id = %id, reason = refused, "could not register again after a lost rotation");
        let object = cluster.object_ref(&());
        announcer.tell(&object, EventType::Warning, "RegistrationRefused", &refused).await;
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

    async fn keep(&self, found: &Found) -> Result<(), Error> {
        self.add_finalizer(&found.cluster).await?;
        self.keep_secret(found).await
    }

    /// URL and CA follow the object, so that a change takes effect without a new registration.
    async fn keep_secret(&self, found: &Found) -> Result<(), Error> {
        let Some(stored) = &found.stored else {
            return Ok(());
        };
        let base_url = endpoint(found).unwrap_or_else(|| stored.base_url.clone());
        let ca_pem = match &found.ca_pem {
            Ok(Some(pem)) => Some(pem.clone()),
            Ok(None) | Err(_) => stored.ca_pem.clone(),
        };
        let owner = found.cluster.metadata.uid.clone();
        let mut wanted = Stored { base_url, ca_pem, owner, ..stored.clone() };
        if wanted.target() != stored.target() {
            wanted.held = wanted.held.moved();
        }
        if wanted == *stored {
            return Ok(());
        }
        self.write_secret(Some(&found.cluster), &wanted).await.map(drop)
    }

    /// Writes the credentials Secret whole: what an earlier one held beside it is gone. Where `contents` were read from
    /// it, only if nobody wrote it since. Returns its resource version.
    pub(super) async fn write_secret(
        &self,
        owner: Option<&Cluster>,
        contents: &Stored,
    ) -> Result<Option<String>, Error> {
        let (name, action) = (&self.args.agent_credentials_secret, "writing the credentials Secret");
        let patch = Patch::Merge(build::credentials_patch(owner, contents));
        let params =
            PatchParams { field_manager: Some(OPERATOR_FIELD_MANAGER.to_owned()), ..Default::default() };
        match self.secrets().patch(name, &params, &patch).await {
            Ok(written) => Ok(written.metadata.resource_version),
            Err(kube::Error::Api(status)) if status.is_not_found() && contents.version.is_none() => {
                self.put_secret(name, &build::credentials_secret(owner, name, contents), action).await
            }
            Err(error) => Err(Error::api(action)(error)),
        }
    }

    async fn put_secret(
        &self,
        name: &str,
        secret: &Value,
        action: &'static str,
    ) -> Result<Option<String>, Error> {
        // Our own Secret: nobody else's fields are in it.
        let params = PatchParams::apply(OPERATOR_FIELD_MANAGER).force();
        let written = self.secrets().patch(name, &params, &Patch::Apply(secret)).await;
        Ok(written.map_err(Error::api(action))?.metadata.resource_version)
    }

    /// Fills in the identity and takes away what has been used.
    async fn record(&self, cluster: &Cluster, id: &ClusterId, announcer: &Announcer) -> Result<(), Error> {
        if build::cluster_patch(cluster, cluster, id.as_str()).is_none() {
            return Ok(());
        }
        let (api, action) =
            (Api::<Cluster>::all(self.client.clone()), "recording the identity in the Cluster");
        let now = api.get(&cluster.name_any()).await.map_err(Error::api(action))?;
        let Some(patch) = build::cluster_patch(&now, cluster, id.as_str()) else {
            return Ok(());
        };
        api.patch(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(Error::api(action))?;
        if patch.pointer("/spec/registrationToken").is_some() {
            let note =
                "spec.registrationToken is deprecated and was cleared; use spec.registrationTokenSecretRef";
            announcer.tell(&cluster.object_ref(&()), EventType::Warning, "DeprecatedField", note).await;
        }
        Ok(())
    }

    async fn add_finalizer(&self, cluster: &Cluster) -> Result<(), Error> {
        if has_finalizer(cluster) {
            return Ok(());
        }
        let mut finalizers = cluster.finalizers().to_vec();
        finalizers.push(CLUSTER_FINALIZER.to_owned());
        set_finalizers(&self.client, cluster, &finalizers, "adding the finalizer").await
    }

    fn secrets(&self) -> Api<KubeSecret> {
        Api::namespaced(self.client.clone(), &self.args.agent_credentials_namespace)
    }
}

/// Why the token was not exchanged.
struct Unregistered {
    /// What went wrong.
    problem: Problem,
    /// What the control plane's answer means; absent: there is no way to it.
    failure: Option<Failure>,
    /// What the control plane's log calls the request, if it told.
    request_id: Option<String>,
}

pub(super) fn issued_now(expires_at: Timestamp) -> Life {
    Life { issued_at: clock::now(), expires_at }
}

/// Guarded by the resource version: another's finalizer is not lost.
pub(super) async fn set_finalizers(
    client: &Client,
    cluster: &Cluster,
    finalizers: &[String],
    action: &'static str,
) -> Result<(), Error> {
    let mut metadata = json!({"finalizers": finalizers});
    if let Some(version) = &cluster.metadata.resource_version {
        metadata["resourceVersion"] = version.as_str().into();
    }
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let api = Api::<Cluster>::all(client.clone());
    api.patch(&cluster.name_any(), &PatchParams::default(), &patch)
        .await
        .map_err(Error::api(action))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use kube::client::Body;
    use std::sync::Mutex;
    use tower::BoxError;
    use vworkspace_core::agent::credentials::Verdicts;
    use vworkspace_protocol::Secret;

    /// What was sent to an API server that takes everything: methods, paths, bodies.
    type Sent = Arc<Mutex<Vec<(http::Method, String, Value)>>>;

    fn registrar(spec: Value) -> (Registrar, Announcer, Sent) {
        let sent = Sent::default();
        let of_service = sent.clone();
        let answers = tower::service_fn(move |request: http::Request<Body>| {
            let (sent, spec) = (of_service.clone(), spec.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                sent.lock().unwrap().push((head.method, head.uri.path().to_owned(), body));
                let object = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
                    "metadata": {"name": "c", "uid": "u", "resourceVersion": "9"}, "spec": spec});
                Ok::<_, BoxError>(http::Response::new(Body::from(object.to_string().into_bytes())))
            }
        });
        let client = Client::new(answers, "n");
        let args = Arc::new(Args::try_parse_from(["vworkspace-operator"]).unwrap());
        let announcer = Announcer::new(client.clone(), "c");
        let session = SessionId::new("s".to_owned());
        (Registrar::new(client, Reporter::off(), args, session), announcer, sent)
    }

    #[tokio::test]
    async fn a_token_whose_use_could_not_be_recorded_is_taken_away_when_its_credential_is_found() {
        let patch = recorded_while(&json!({"registrationToken": "vwksp-reg-1"})).await;
        assert_eq!(patch["spec"], json!({"clusterId": "id", "registrationToken": null}));
    }

    #[tokio::test]
    async fn a_token_that_came_during_the_exchange_of_another_is_not_taken_away() {
        let patch = recorded_while(&json!({"registrationToken": "vwksp-reg-2"})).await;
        assert_eq!(patch["spec"], json!({"clusterId": "id"}));
        assert_eq!(patch["metadata"]["resourceVersion"], "9", "nor is one that comes now");
    }

    /// What is written to the Cluster whose spec the API server holds to be this, when the credential is found that its
    /// token was exchanged for.
    async fn recorded_while(spec: &Value) -> Value {
        let (mut registrar, announcer, sent) = registrar(spec.clone());
        let cluster = json!({
            "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster",
            "metadata": {"name": "c", "uid": "u", "finalizers": [CLUSTER_FINALIZER]},
            "spec": {"controlPlaneEndpoint": "https://x", "registrationToken": "vwksp-reg-1"},
        });
        let stored = Stored {
            base_url: "https://x".to_owned(),
            held: Held::new(ClusterId::new("id"), Secret::new("t"), None),
            ca_pem: None,
            owner: Some("u".to_owned()),
            version: None,
        };
        let found = Found {
            cluster: serde_json::from_value(cluster).unwrap(),
            is_in_charge: true,
            token: Ok(Some(Secret::new("vwksp-reg-1"))),
            ca_pem: Ok(None),
            stored: Some(stored),
            seed_url: String::new(),
            secret_name: "s".to_owned(),
            secret_namespace: "n".to_owned(),
        };
        let plan = super::super::validate::plan(&found, None, &Verdicts::default(), Timestamp::UNIX_EPOCH);
        assert!(matches!(plan, Plan::Adopt { .. }));
        registrar.apply(&found, &plan, &announcer).await.unwrap();
        let patches = sent.lock().unwrap().clone();
        let recorded = patches.iter().find(|(method, ..)| method == http::Method::PATCH);
        let (_, path, body) = recorded.expect("nothing was written to the Cluster");
        assert!(path.ends_with("/clusters/c"), "{path}");
        body.clone()
    }
}
