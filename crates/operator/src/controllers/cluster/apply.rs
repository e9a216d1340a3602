//! Step 4: carries the plan out: finalizer and credentials Secret; the calls are in `register`, `rotate` and `leave`.

use super::{
    Error, build,
    dereference::{Found, Stored, Way},
    rejected_token::RejectedToken,
    validate::{Plan, Registration, endpoint, has_finalizer},
};
use crate::{agent::problem::Problem, announce::Announcer, args::Args, clock, report::Reporter};
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
    credentials::Fetched, departure::SeenDeleted, rotation::Life, spacing::Spacing,
};
use vworkspace_crds::{
    Cluster,
    key::{CLUSTER_FINALIZER, OPERATOR_FIELD_MANAGER},
};
use vworkspace_protocol::{ClusterId, Secret, id::SessionId};

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
    pub(super) rejected: Option<RejectedToken>,
    pub(super) registering: Spacing<Registration>,
    /// What went wrong with the last exchange.
    pub(super) problem: Problem,
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

    pub(super) async fn put_secret(
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
    pub(super) async fn record(
        &self,
        cluster: &Cluster,
        id: &ClusterId,
        announcer: &Announcer,
    ) -> Result<(), Error> {
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

    pub(super) fn secrets(&self) -> Api<KubeSecret> {
        Api::namespaced(self.client.clone(), &self.args.agent_credentials_namespace)
    }
}

/// A credential that was just given.
pub(super) fn fetched(token: Secret, expires_at: Option<Timestamp>) -> Fetched {
    Fetched { token, life: expires_at.map(issued_now), rotation: uuid::Uuid::new_v4().to_string() }
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
    use vworkspace_core::agent::credentials::{Held, Verdicts};

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
