//! Each command of the machine, done once and answered.

use super::Inner;
use crate::{
    agent::{
        action::{self, Action},
        applier::{ApplyError, Deletion},
        ledger::keys_text,
        links::{Connection, failure_of},
    },
    args::SecretsInValues,
};
use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};
use vworkspace_core::agent::{
    ObjectKey,
    bare_answers::Message,
    job_run::{Goal, Observed, Taken},
    session::Failure,
    work::{Applied, Command, SaveError, Ticket},
};
use vworkspace_protocol::{Job, JobId, Outcome, outcome::JobResult};
use vworkspace_transport::{AgentLink as _, LinkError, http::client::HttpLink};

/// Longest time the API server gets for one call.
const API_CALL: Duration = Duration::from_secs(30);
/// Pause before the API server is asked again whether an object is gone.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Does it, and tells the machine what became of it.
pub(super) async fn perform(inner: &Inner, command: Command) {
    match command {
        Command::Save(record) => {
            if record.result.is_some() {
                inner.stop_following(record.ticket);
            }
            let _permit = inner.saving.acquire().await;
            let saved = timeout(API_CALL, inner.means.journal.save(&record)).await;
            let saved = saved.unwrap_or_else(|_| {
                tracing::warn!(job_id = %record.job.id, "the API server did not answer in time about the journal, retrying");
                Err(SaveError::Later)
            });
            inner.answer(|work, now| work.handle_saved(record.ticket, saved, now, rand::random()));
        }
        Command::Ack(ticket, job) => {
            let acked = inner.tell(&job, Message::Ack, async |link| link.ack(&job).await).await;
            inner.answer(|work, now| work.handle_acked(ticket, acked, now, rand::random()));
        }
        Command::Apply(ticket, job) => {
            let applied = inner.apply(&job).await;
            inner.answer(|work, now| work.handle_applied(ticket, applied, now));
        }
        Command::Follow(ticket, taken) => inner.follow(ticket, &taken).await,
        Command::Status(ticket, job, update) => {
            let told = inner.tell(&job, Message::Status, async |link| link.status(&job, &update).await).await;
            inner.answer(|work, now| work.handle_status(ticket, told, now));
        }
        Command::Post(ticket, job, result) => {
            let posted = inner.post(&job, &result).await;
            inner.answer(|work, now| work.handle_posted(ticket, posted, now, rand::random()));
        }
        Command::Remove(ticket, job) => {
            inner.stop_following(ticket);
            let _permit = inner.saving.acquire().await;
            let removed = timeout(API_CALL, inner.means.journal.remove(&job)).await.unwrap_or_else(|_| {
                tracing::warn!(job_id = %job, "the API server did not answer in time about the journal, retrying");
                false
            });
            inner.answer(|work, now| work.handle_removed(ticket, removed, now, rand::random()));
        }
        Command::StoreLedger(writes) => {
            let keys = keys_text(inner.work().ledger());
            let stored = inner.means.shelf.store(&writes, &keys).await;
            inner.answer(|work, now| work.handle_ledger_stored(stored, now, rand::random()));
        }
    }
}

impl Inner {
    /// One message about a job, once: the machine decides about another try.
    async fn tell(
        &self,
        job: &JobId,
        message: Message,
        send: impl AsyncFnOnce(&HttpLink) -> Result<(), LinkError>,
    ) -> Result<(), Failure> {
        let _permit = self.telling.acquire().await;
        let Some(connection) = self.means.links.now() else {
            return Err(Failure::Unavailable { retry_after: None });
        };
        let told = send(&connection.link).await;
        if told.is_ok() && self.means.links.is_current(&connection) {
            self.means.conversation.good(&connection.credentials.token);
        }
        let failed = told.map_err(|error| {
            let failure = self.meaning(job, message, &connection, &error);
            let request_id = error.request_id();
            tracing::warn!(%error, request_id, job_id = %job, ?message, ?failure, "message about a job not accepted");
            failure
        });
        if failed.is_ok() {
            self.means.conversation.other_answer(job, message);
        }
        failed
    }

    /// What an error of the link means, that of a plain v1 control plane included that does not answer in form. A pause
    /// that an earlier connection was asked for holds nothing back on the one in use, and its bare answers do not count.
    fn meaning(
        &self,
        job: &JobId,
        message: Message,
        connection: &Arc<Connection>,
        error: &LinkError,
    ) -> Failure {
        if !self.means.links.is_current(connection) {
            return failure_of(error).without_pause();
        }
        let conversation = &self.means.conversation;
        let proves_itself = connection.echo().mark.is_set();
        let believed = match error {
            LinkError::Unexpected { status, .. } if !proves_itself => {
                conversation.bare_answer(job, message, *status)
            }
            LinkError::Unexpected { .. }
            | LinkError::Refused { .. }
            | LinkError::Unreachable { .. }
            | LinkError::Malformed { .. } => {
                conversation.other_answer(job, message);
                None
            }
        };
        believed.unwrap_or_else(|| failure_of(error))
    }

    async fn post(&self, job: &JobId, result: &JobResult) -> Result<(), Failure> {
        // Whoever waits for the job wants to see the conditions that led to its end.
        self.means.job_ended.notify_one();
        let posted = self.tell(job, Message::Result, async |link| link.result(job, result).await).await;
        if posted.is_ok() {
            self.means.metrics.job_ended(result.outcome);
            if result.outcome == Outcome::Succeeded {
                self.means.gauges.succeeded();
            }
            tracing::info!(job_id = %job, outcome = %result.outcome, error = result.error, "job result delivered");
        }
        posted
    }

    /// Gives the object, or its deletion, to the API server; or has the credential rotated.
    async fn apply(&self, job: &Job) -> Applied {
        let Some(connection) = self.means.links.now() else {
            // Whose labels the object gets is not known at the moment.
            return later("there is no credential", false);
        };
        let action = match action::of_job(job, &connection.cluster) {
            Ok(action) => action,
            Err(refusal) => return Applied::Refused(redacted(&refusal.to_string())),
        };
        if self.means.secrets_in_values == SecretsInValues::Refuse
            && let Some(words) = action.secrets()
        {
            return Applied::Refused(words);
        }
        let attempt = async {
            match &action {
                Action::Apply { object, manifest, goal } => {
                    let object = self.means.applier.apply(object, manifest).await?;
                    Ok(Applied::Taken { object, goal: *goal, gone: false })
                }
                Action::Sync { object, annotations, goal } => {
                    let object = self.means.applier.sync(object, annotations).await?;
                    Ok(Applied::Taken { object, goal: *goal, gone: false })
                }
                Action::Delete { object } => Ok(match self.means.applier.delete(object).await? {
                    Deletion::Gone => Applied::Taken { object: object.clone(), goal: Goal::Gone, gone: true },
                    Deletion::Pending(object) => Applied::Taken { object, goal: Goal::Gone, gone: false },
                }),
                Action::Rotate => {
                    let object = self.means.rotations.rotate(&job.id).await?;
                    Ok(Applied::Taken { object, goal: Goal::Accepted, gone: false })
                }
            }
        };
        let slow = || Err(ApplyError::Unsettled("there was no answer in time".to_owned()));
        match timeout(API_CALL, attempt).await.unwrap_or_else(|_| slow()) {
            Ok(applied) => applied,
            Err(ApplyError::Refused(message)) => Applied::Refused(redacted(&message)),
            Err(ApplyError::Conflict { message, conflicts }) => {
                Applied::Conflict { message: redacted(&message), conflicts }
            }
            Err(error @ (ApplyError::Declined(_) | ApplyError::Unsettled(_))) => {
                tracing::warn!(job_id = %job.id, %error, "the job could not be carried out yet");
                later(&error.to_string(), matches!(error, ApplyError::Declined(_)))
            }
        }
    }

    /// Tells every state of the object until the job is over.
    async fn follow(&self, ticket: Ticket, taken: &Taken) {
        let (stop, mut stopped) = oneshot::channel();
        self.followers().insert(ticket, stop);
        if !self.work().is_waiting(ticket) {
            // It was over before this task began.
            return self.stop_following(ticket);
        }
        let mut follower = self.means.follow.follow(&ObjectKey::from(&taken.applied));
        let following = async {
            loop {
                let seen = follower.borrow_and_update().as_ref().map(|followed| followed.observed.clone());
                let is_there = seen.as_ref().is_some_and(|seen| seen.uid == taken.applied.uid);
                let believed = is_there || taken.goal != Goal::Gone;
                let look_again = if believed {
                    self.answer(|work, now| work.handle_observed(ticket, seen, now));
                    None
                } else {
                    self.look(ticket, taken).await
                };
                tokio::select! {
                    changed = follower.changed() => if changed.is_err() { return },
                    () = pause(look_again) => {}
                }
            }
        };
        tokio::select! {
            () = following => {}
            _ = &mut stopped => {}
        }
    }

    /// The table may not have caught up with the object's creation: that it is gone, or that another life of its name is
    /// there, which may be the one before, is believed only from the API server. Answers when to look again.
    async fn look(&self, ticket: Ticket, taken: &Taken) -> Option<Duration> {
        match self.means.applier.find(&taken.applied).await {
            Ok(found) => {
                let still_there = found.is_some();
                let observed = found.map(|found| Observed { uid: found.uid, ..Observed::default() });
                self.answer(|work, now| work.handle_observed(ticket, observed, now));
                still_there.then_some(LOOK_AGAIN)
            }
            Err(error) => {
                tracing::warn!(%error, "whether the object is gone is not known yet");
                Some(LOOK_AGAIN)
            }
        }
    }

    fn stop_following(&self, ticket: Ticket) {
        self.followers().remove(&ticket);
    }

    fn followers(&self) -> MutexGuard<'_, std::collections::BTreeMap<Ticket, oneshot::Sender<()>>> {
        // Each change is one insertion or removal: the map is whole even after a panic.
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(cause: &str, declined: bool) -> Applied {
    Applied::Later { cause: redacted(cause), declined, random: rand::random() }
}

/// The API server quotes the value that it refuses.
fn redacted(message: &str) -> String {
    vworkspace_rules::redact(message).into_owned()
}

/// Waits that long; without a time for ever.
async fn pause(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use crate::args::SecretsInValues;
    use crate::{
        agent::{
            applier::Applier,
            conversation::Conversation,
            follow::Follow,
            jobs::{Jobs, Means},
            journal::Journal,
            ledger::LedgerShelf,
            links::Links,
        },
        metrics::Metrics,
        namespace_access::NamespaceAccess,
        report::Reporter,
        rotations::Rotations,
    };
    use k8s_openapi::{ByteString, api::core::v1::Secret};
    use kube::{Client, client::Body};
    use serde_json::{Value, json};
    use std::{sync::Arc, time::Duration};
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;
    use tower::BoxError;
    use vworkspace_crds::key::JOURNAL_RECORD;

    fn instance(uid: &str) -> Value {
        json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"namespace": "team", "name": "web", "uid": uid, "generation": 2},
            "spec": {},
        })
    }

    /// A job that waits for the end of the life `uid`, as the journal has it.
    fn waiting_for_the_end_of(uid: &str) -> Value {
        let target = json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "namespace": "team", "name": "web", "uid": uid, "generation": 2});
        let job = json!({"id": "j", "kind": "delete", "payload": target});
        let taken = json!({"goal": "Gone", "applied": target, "deadline": "2099-01-01T00:00:00Z"});
        let record = json!({"ticket": 1, "job": job, "taken": taken}).to_string();
        let data = [(JOURNAL_RECORD.to_owned(), ByteString(record.into_bytes()))].into();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.metadata.name = Some("s".to_owned());
        serde_json::to_value(secret).unwrap()
    }

    /// What an API server answers where the life `now` is there and a watch that was made before saw `then`.
    fn answer(request: &http::Request<Body>, now: &str, then: &str) -> Option<(u16, Value)> {
        let list =
            |items: &[Value]| Some((200, json!({"metadata": {"resourceVersion": "1"}, "items": items})));
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        match path.rsplit('/').next()? {
            _ if query.contains("watch=true") => None,
            "secrets" => list(&[waiting_for_the_end_of(now)]),
            "applicationinstances" => list(&[instance(then)]),
            "configmaps" | "operations" | "clusters" => list(&[]),
            "web" => Some((200, instance(now))),
            _ if request.method() == http::Method::PATCH => Some((200, waiting_for_the_end_of(now))),
            _ => Some((404, json!({"code": 404, "reason": "NotFound"}))),
        }
    }

    #[tokio::test]
    async fn another_life_is_believed_to_follow_a_deletion_only_from_the_api_server() {
        let (asks, mut asked) = mpsc::channel(64);
        let answers = tower::service_fn(move |request: http::Request<Body>| {
            let asks = asks.clone();
            async move {
                asks.send((request.method().clone(), request.uri().path().to_owned())).await?;
                let Some((status, body)) = answer(&request, "second", "first") else {
                    return std::future::pending().await;
                };
                let response = http::Response::builder().status(status);
                Ok::<_, BoxError>(response.body(Body::from(body.to_string().into_bytes()))?)
            }
        });
        let client = Client::new(answers, "n");
        let (follow, (metrics, gauges)) = (Follow::default(), Metrics::new());
        let (connections, links) = watch::channel(None);
        let conversation = Conversation::new(Duration::from_secs(60), watch::Sender::default(), gauges.link);
        let work = async {
            follow.synced().await;
            let jobs = Jobs::load(Means {
                applier: Applier::new(client.clone(), NamespaceAccess::new(client.clone())),
                rotations: Rotations::channel().0,
                follow: follow.clone(),
                links: Links::new(links),
                conversation: Arc::new(conversation),
                journal: Journal::new(client.clone(), "n"),
                shelf: LedgerShelf::new(client.clone(), "n"),
                metrics,
                gauges: gauges.jobs,
                job_ended: Arc::default(),
                secrets_in_values: SecretsInValues::Warn,
                shutdown: CancellationToken::new(),
            })
            .await;
            jobs.run().await;
        };
        let first_step = async {
            loop {
                let (method, path) = asked.recv().await.unwrap();
                if path.ends_with("/web") || method == http::Method::PATCH {
                    break (method, path);
                }
            }
        };
        tokio::select! {
            () = follow.run(client.clone(), Reporter::off()) => unreachable!("it watches for ever"),
            () = work => unreachable!("it works for ever"),
            (method, path) = first_step => {
                assert_eq!((method, path.ends_with("/web")), (http::Method::GET, true), "{path}");
            }
        }
        drop(connections);
    }
}
