//! Step 4 for a rotation: a new credential is fetched and stored beside the current one. Nothing else in the operator
//! rotates; which of the two goes on is settled in `settle.rs`, once the agent knows.

use super::{
    Error,
    apply::{Registrar, fetched},
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
    credentials::Verdicts,
    identity_step::{Withheld, withheld},
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
        let asking = self.asking_for_rotation(cluster, stored).await?;
        let answer = match self.ask_for_another(&way).await {
            Ok(answer) => answer,
            Err((reason, failure)) => {
                let for_good = failure.is_some_and(Failure::is_final);
                // Nothing was lost, unless an earlier request was: what is answered now says nothing about that one.
                if let Some(asking) = asking.filter(|_| for_good) {
                    let held = stored.held.clone();
                    self.write_secret(cluster, &Stored { held, ..asking }).await?;
                }
                tracing::warn!(reason, ?cause, "the credential was not rotated; the old one goes on working");
                tell(announcer, cluster, EventType::Warning, "RotationFailed", &reason).await;
                let at = self.rotating.handle_answer(way, failure, clock::now(), rand::random());
                return Ok(Err(Unrotated { reason, at, for_good }));
            }
        };
        let stored = asking.as_ref().unwrap_or(stored);
        let fetched = fetched(answer.token, answer.expires_at);
        let both = Stored { held: stored.held.fetched(fetched, cause), ..stored.clone() };
        self.write_secret(cluster, &both).await?;
        tracing::info!(cluster_id = %stored.held.cluster, ?cause, "a new credential is stored beside the current one");
        Ok(Ok(()))
    }

    /// Stores that a rotation is asked for, before it is: the old credential may be dead once the control plane has
    /// answered, and the answer may be lost. `None` if that is stored already. It stays there while the rotation is to be
    /// asked for again, so that tries in a row cost no write.
    async fn asking_for_rotation(
        &self,
        cluster: Option<&Cluster>,
        stored: &Stored,
    ) -> Result<Option<Stored>, Error> {
        let held = stored.held.asking_for_rotation().filter(|_| self.exchanged_elsewhere().is_none());
        let Some(held) = held else { return Ok(None) };
        let mut asking = Stored { held, ..stored.clone() };
        asking.version = self.write_secret(cluster, &asking).await?;
        Ok(Some(asking))
    }

    /// Rotates for a job, once however often the job asks. Absent: a rotation is under way, this one's or another, and
    /// the job is to be asked about again when it is settled. `verdicts` are the answers to the credentials held.
    pub(super) async fn rotate_for(
        &mut self,
        job: &JobId,
        cluster: Option<&Cluster>,
        verdicts: &Verdicts,
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
        if rotation_by_job(job, stored.held.fulfilled.job.as_ref()) != Rotation::Due {
            return Some(Ok(object_ref_or_identity(cluster, stored.held.cluster.as_str())));
        }
        match withheld(&stored.held, verdicts) {
            Some(Withheld::UnderWay) => return None,
            Some(Withheld::NotAccepted) => {
                let why = "the control plane has not accepted the current credential";
                return Some(Err(RotationError::Later(why.to_owned())));
            }
            None => {}
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
            capabilities: self.args.capabilities(),
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tower::BoxError;
    use vworkspace_core::agent::credentials::Held;
    use vworkspace_crds::key::{SECRET_CLUSTER_ID, SECRET_TOKEN, SECRET_URL};
    use vworkspace_protocol::{ClusterId, Secret, id::SessionId};

    fn registrar(client: Client, flag: &str) -> Registrar {
        let args = Arc::new(Args::try_parse_from(["vworkspace-operator", flag]).unwrap());
        Registrar::new(client, Reporter::off(), args, SessionId::new("s".to_owned()))
    }

    /// What a job hears that asks for a rotation, of an operator that reaches no API server.
    async fn answer_with(flag: &str) -> Option<Answer> {
        let unreached = tower::service_fn(async |_| Err::<http::Response<Body>, BoxError>("no way".into()));
        let client = Client::new(unreached, "n");
        let mut registrar = registrar(client.clone(), flag);
        let announcer = Announcer::new(client, "c");
        registrar.rotate_for(&JobId::new("j"), None, &Verdicts::default(), &announcer).await
    }

    #[tokio::test]
    async fn a_credential_given_by_flag_is_never_rotated_and_the_job_says_why() {
        let Some(Err(RotationError::Refused(why))) = answer_with("--agent-token=t").await else {
            panic!("it was not refused")
        };
        assert!(why.contains("given by flag"), "{why}");
        assert!(matches!(answer_with("--agent-token=").await, Some(Err(RotationError::Later(_)))));
    }

    /// A control plane that answers each rotation like this.
    async fn control_plane(status: &'static str, code: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                let body = json!({"error": code, "message": "m"}).to_string();
                let head =
                    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    /// How often the credentials Secret is written when a rotation is refused like this, without and with the mark of an
    /// earlier request.
    async fn writes_when_refused(status: &'static str, code: &'static str) -> [usize; 2] {
        let base_url = control_plane(status, code).await;
        let current = Held::new(ClusterId::new("c"), Secret::new("vwksp-agt-test"), None);
        let mut writes = [0, 0];
        for (written, held) in
            writes.iter_mut().zip([current.clone(), current.asking_for_rotation().unwrap()])
        {
            let count = Arc::<AtomicUsize>::default();
            let counted = count.clone();
            let api = tower::service_fn(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
                std::future::ready(Ok::<_, BoxError>(http::Response::new(Body::from(
                    secret.to_string().into_bytes(),
                ))))
            });
            let client = Client::new(api, "n");
            let mut registrar = registrar(client.clone(), "--agent-token=");
            let (ca_pem, owner, version) = (None, None, Some("1".to_owned()));
            let stored = Stored { base_url: base_url.clone(), held, ca_pem, owner, version };
            let announcer = Announcer::new(client, "c");
            let rotated = registrar.rotate(None, &stored, &Cause::Age, &announcer).await.unwrap();
            assert!(rotated.is_err());
            *written = count.load(Ordering::Relaxed);
        }
        writes
    }

    #[tokio::test]
    async fn rotation_refused_in_a_conflict_of_identity_is_marked_once() {
        assert_eq!(writes_when_refused("409 Conflict", "identity_conflict").await, [1, 0]);
        assert_eq!(writes_when_refused("429 Too Many Requests", "rate_limited").await, [1, 0]);
        assert_eq!(writes_when_refused("404 Not Found", "not_found").await, [2, 0], "nothing was lost");
    }

    #[tokio::test]
    async fn job_waits_while_its_credential_is_not_accepted() {
        let data = json!({SECRET_URL: "aHR0cDovL3g=", SECRET_CLUSTER_ID: "Yw==", SECRET_TOKEN: "dA=="});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data});
        let api = tower::service_fn(move |_| {
            let body = Body::from(secret.to_string().into_bytes());
            std::future::ready(Ok::<_, BoxError>(http::Response::new(body)))
        });
        let client = Client::new(api, "n");
        let mut registrar = registrar(client.clone(), "--agent-token=");
        let announcer = Announcer::new(client, "c");
        let answer = registrar.rotate_for(&JobId::new("j"), None, &Verdicts::default(), &announcer).await;
        let Some(Err(RotationError::Later(why))) = answer else { panic!("it was not held back") };
        assert!(why.contains("not accepted"), "{why}");
    }
}
