//! Delivers events: from observations to batches, one on its way at a time, each after what it depends on is stored.
//!
//! What is stored and sent when is decided in `core/agent/event_reporter`.

use crate::{
    agent::{
        conversation::{Conversation, until},
        follow::Followed,
        links::{Connection, Links, failure_of},
        problem::Problem,
        report_check::ReportCheck,
        shard_store::ShardStore,
    },
    clock,
    report::Observation,
};
use futures::future::{BoxFuture, OptionFuture};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use vworkspace_core::{
    agent::{
        divergence::Depth, event_reporter::EventReporter, outbox::Delivery, session::Failure,
        transition::TransitionLog,
    },
    backoff::Backoff,
};
use vworkspace_protocol::event::{Event, EventsAnswer, EventsRequest};
use vworkspace_transport::{AgentLink as _, LinkError};

/// How long the last flush may take when the process ends.
const LAST_FLUSH: Duration = Duration::from_secs(3);

/// A part of a snapshot; answered when all that waited then, this part included, was taken or refused.
pub struct Snapshot {
    /// What is told.
    pub part: Part,
    /// How much of it.
    pub depth: Depth,
    /// Where the answer goes.
    pub done: oneshot::Sender<Result<Told, Untold>>,
}

/// Why a part of a snapshot was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// What it means for the session.
    pub failure: Failure,
    /// For people.
    pub problem: Problem,
}

/// One part of a snapshot.
pub enum Part {
    /// These are all objects there are: what is remembered and not among them is gone.
    Listed(Vec<Arc<Followed>>),
    /// The conditions of these; few enough for the outbox.
    Conditions(Vec<Arc<Followed>>),
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The control plane took it.
    Taken,
    /// There was nothing to tell.
    Nothing,
}

/// A part of a snapshot that waits.
struct Asked {
    /// So many events are to leave the outbox until all of it has, at most: it is a queue, and may drop some.
    ahead: usize,
    done: oneshot::Sender<Result<Told, Untold>>,
}

type Posted = Result<EventsAnswer, LinkError>;
type Post = BoxFuture<'static, (Arc<Connection>, Posted)>;
/// Answers whether everything was stored.
type Storing = BoxFuture<'static, bool>;

/// The loop's own state.
pub struct EventLoop {
    event_reporter: EventReporter,
    store: ShardStore,
    links: Links,
    conversation: Arc<Conversation>,
    check: Arc<ReportCheck>,
    job_ended: Arc<Notify>,
    on_its_way: Option<Post>,
    /// Of the outbox, when the batch on its way was taken from it.
    posted_at: u64,
    storing: Option<Storing>,
    /// The connection that `backoff` and `not_before` are about.
    met: Option<Arc<Connection>>,
    backoff: Backoff,
    not_before: Timestamp,
    snapshots: Vec<Asked>,
}

impl EventLoop {
    /// A loop that has told nothing. At `job_ended` what waits goes out at once: who waited for the job looks now.
    pub fn new(
        store: ShardStore,
        links: Links,
        conversation: Arc<Conversation>,
        check: Arc<ReportCheck>,
        job_ended: Arc<Notify>,
    ) -> Self {
        Self {
            event_reporter: EventReporter::default(),
            store,
            links,
            conversation,
            check,
            job_ended,
            on_its_way: None,
            posted_at: 0,
            storing: None,
            met: None,
            backoff: Backoff::default(),
            not_before: Timestamp::MIN,
            snapshots: Vec::new(),
        }
    }

    /// Runs until `shutdown`, then flushes what waits for a few seconds at most. Nothing is told before it is known
    /// what was told by earlier processes.
    pub async fn run(
        mut self,
        mut observations: mpsc::Receiver<Observation>,
        mut snapshots: mpsc::Receiver<Snapshot>,
        shutdown: CancellationToken,
    ) {
        let Some(shards) = shutdown.run_until_cancelled(self.store.load()).await else { return };
        self.event_reporter = EventReporter::new(TransitionLog::restore(shards));
        loop {
            self.start();
            let (links, job_ended) = (self.links.clone(), self.job_ended.clone());
            let conversation = self.conversation.clone();
            let connection = links.now();
            let due = self.due();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some((connection, answer)) = OptionFuture::from(self.on_its_way.as_mut()) => {
                    self.handle_answer(&connection, answer);
                }
                Some(done) = OptionFuture::from(self.storing.as_mut()) => self.handle_stored(done),
                Some(snapshot) = snapshots.recv() => self.handle_snapshot(snapshot),
                Some(observation) = observations.recv() => self.handle_observation(observation),
                () = job_ended.notified() => self.event_reporter.handle_flush(clock::now()),
                () = at(due) => {}
                () = conversation.talkable(), if !conversation.may_talk() => {}
                () = another(&links, connection.as_ref()) => {}
            }
            let outbox = self.event_reporter.outbox();
            self.conversation.outbox(outbox.len(), outbox.dropped(), outbox.is_overflowing());
            // Before the next round may post something: an answer that knows of it must not be compared with this.
            self.check.settle(self.event_reporter.settled());
        }
        while let Ok(observation) = observations.try_recv() {
            self.handle_observation(observation);
        }
        if tokio::time::timeout(LAST_FLUSH, self.flush()).await.is_err() {
            tracing::warn!(
                events = self.event_reporter.outbox().len(),
                "events left unsent at shutdown; the next snapshot reports the current conditions"
            );
        }
    }

    /// Stores and posts until nothing waits or something fails.
    async fn flush(&mut self) {
        self.not_before = Timestamp::MIN;
        loop {
            self.event_reporter.handle_flush(clock::now());
            self.start();
            let failed = if let Some(post) = self.on_its_way.as_mut() {
                let (connection, answer) = post.await;
                let failed = answer.is_err();
                self.handle_answer(&connection, answer);
                failed
            } else if let Some(storing) = self.storing.as_mut() {
                let done = storing.await;
                self.handle_stored(done);
                !done
            } else if let Some(due) = self.due() {
                at(Some(due)).await;
                false
            } else {
                true
            };
            if failed {
                return;
            }
        }
    }

    /// Begins what is due, as far as there is somebody to talk to.
    fn start(&mut self) {
        let now = clock::now();
        self.meet();
        if self.on_its_way.is_some() || now < self.not_before || !self.conversation.may_talk() {
            return;
        }
        let Some(connection) = self.links.now() else {
            return;
        };
        if let Some(writes) = self.event_reporter.poll_writes(now) {
            let store = self.store.clone();
            self.storing = Some(Box::pin(async move { store.write(&writes).await }));
        }
        if let Some(batch) = self.event_reporter.poll_batch(now) {
            self.posted_at = self.event_reporter.outbox().added();
            self.on_its_way = Some(Box::pin(post(connection, batch)));
        }
    }

    /// What an earlier connection asked for, or failed with, spaces nothing on another one.
    fn meet(&mut self) {
        let Some(connection) = self.links.now() else { return };
        if !self.met.as_ref().is_some_and(|met| Arc::ptr_eq(met, &connection)) {
            self.met = Some(connection);
            self.not_before = Timestamp::MIN;
            self.backoff.handle_success();
        }
    }

    /// When something may be stored or go out; absent while there is nothing to do or nobody to talk to.
    fn due(&self) -> Option<Timestamp> {
        let idle = self.on_its_way.is_none() && self.links.now().is_some() && self.conversation.may_talk();
        self.event_reporter.poll_timeout().filter(|_| idle).map(|due| due.max(self.not_before))
    }

    fn handle_stored(&mut self, done: bool) {
        self.storing = None;
        self.event_reporter.handle_written(done, clock::now(), rand::random());
    }

    fn handle_observation(&mut self, observation: Observation) {
        let now = clock::now();
        match observation {
            // A write and the watch that brings it back come here by two ways: who is late tells nothing.
            Observation::Conditions { object, version, .. } | Observation::Seen { object, version, .. }
                if self.event_reporter.is_outdated(&object, version) => {}
            Observation::Conditions { object, version, before, after } => {
                self.event_reporter.handle_transition(&object, &before, &after, now);
                self.event_reporter.handle_version(&object, version);
            }
            Observation::Seen { object, version, conditions } => {
                self.event_reporter.handle_seen(&object, &conditions, now);
                self.event_reporter.handle_version(&object, version);
            }
            Observation::Changed { object, change } => {
                self.event_reporter.handle_changed(&object, &change, now);
            }
            Observation::Deleted { object } => self.event_reporter.handle_deleted(&object, now),
            Observation::Rotated { object, rotation, at } => {
                self.event_reporter.handle_rotated(&object, &rotation, at, now);
            }
        }
    }

    fn handle_snapshot(&mut self, snapshot: Snapshot) {
        let now = clock::now();
        match &snapshot.part {
            Part::Listed(objects) => {
                self.event_reporter.handle_listed(objects.iter().map(|followed| &followed.object), now);
                self.event_reporter.handle_ends_again(snapshot.depth, now);
            }
            Part::Conditions(objects) => {
                for Followed { object, version, observed, .. } in objects.iter().map(AsRef::as_ref) {
                    // A part may wait for those before it, and a watch lags: the newer was told when it was written.
                    if !self.event_reporter.is_outdated(object, *version) {
                        self.event_reporter.handle_snapshot_of(
                            snapshot.depth,
                            object,
                            &observed.conditions,
                            now,
                        );
                        self.event_reporter.handle_version(object, *version);
                    }
                }
            }
        }
        if self.event_reporter.outbox().is_empty() {
            // Whoever asked may be gone; then there is nobody to tell.
            let _gone = snapshot.done.send(Ok(Told::Nothing));
            return;
        }
        self.snapshots.push(Asked { ahead: self.event_reporter.outbox().len(), done: snapshot.done });
        self.not_before = Timestamp::MIN;
        self.event_reporter.handle_flush(now);
    }

    fn handle_answer(&mut self, connection: &Arc<Connection>, answer: Posted) {
        self.on_its_way = None;
        let now = clock::now();
        let is_current = self.links.is_current(connection);
        let error = match answer {
            Ok(answer) => return self.handle_taken(connection, is_current, &answer),
            Err(error) => error,
        };
        self.check.failed(&error);
        let failure = failure_of(&error);
        if failure == Failure::Refused {
            if let Some(poison) = self.event_reporter.handle_delivery(Delivery::Refused, now) {
                tell_poison(&poison, &error);
                self.answer_snapshots(1);
            }
            return;
        }
        let delivery = if failure == Failure::TooLarge { Delivery::TooLarge } else { Delivery::Failed };
        self.event_reporter.handle_delivery(delivery, now);
        if !is_current {
            // What an earlier connection met, for example a credential that was exchanged meanwhile, says nothing
            // about the one in use.
            return;
        }
        let delay = self.backoff.handle_failure(failure.retry_after(), rand::random());
        let (request_id, events) = (error.request_id(), self.event_reporter.outbox().len());
        tracing::warn!(%error, request_id, ?delay, events, "events were not delivered and are kept");
        let delay = jiff::SignedDuration::try_from(delay).unwrap_or_default();
        self.not_before = now.saturating_add(delay).unwrap_or(now);
        for asked in self.snapshots.drain(..) {
            let _gone = asked.done.send(Err(Untold { failure, problem: Problem::from(&error) }));
        }
    }

    fn handle_taken(&mut self, connection: &Connection, is_current: bool, answer: &EventsAnswer) {
        if is_current {
            self.conversation.good(&connection.credentials.token);
        }
        self.backoff.handle_success();
        let taken = self.event_reporter.outbox().in_flight().count();
        self.event_reporter.handle_delivery(Delivery::Taken, clock::now());
        self.answer_snapshots(taken);
        let settled = self.event_reporter.settled();
        self.check.settle(settled);
        if is_current {
            let unchanged = settled.filter(|settled| settled.revision == self.posted_at);
            self.conversation.report_diverged(self.check.heard(unchanged, answer));
        }
    }

    /// So many events have left the outbox. What is seen all the time must not keep a snapshot waiting, and with it all jobs.
    fn answer_snapshots(&mut self, left: usize) {
        let is_empty = self.event_reporter.outbox().is_empty();
        for mut asked in std::mem::take(&mut self.snapshots) {
            asked.ahead = asked.ahead.saturating_sub(left);
            if is_empty || asked.ahead == 0 {
                let _gone = asked.done.send(Ok(Told::Taken));
            } else {
                self.snapshots.push(asked);
            }
        }
    }
}

async fn post(connection: Arc<Connection>, batch: EventsRequest) -> (Arc<Connection>, Posted) {
    let answer = connection.link.events(&batch).await;
    (connection, answer)
}

/// Waits until then; without a time for ever.
async fn at(due: Option<Timestamp>) {
    match due {
        Some(due) => tokio::time::sleep(until(due, clock::now())).await,
        None => std::future::pending().await,
    }
}

/// Waits for another connection than this one.
async fn another(links: &Links, connection: Option<&Arc<Connection>>) {
    match connection {
        Some(connection) => links.changed_from(connection).await,
        None => {
            if links.connected().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn tell_poison(event: &Event, error: &LinkError) {
    tracing::error!(
        %error,
        request_id = error.request_id(),
        event_key = event.event_key,
        kind = event.kind,
        "event permanently rejected; dropping it"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::links::connection_to_nowhere,
        logs::recorded::{Lines, recording},
        metrics::Metrics,
    };
    use tokio::sync::watch;
    use vworkspace_core::agent::job_run::Observed;
    use vworkspace_protocol::{Condition, ConditionStatus, ObjectRef};

    fn event_loop(links: watch::Receiver<Option<Arc<Connection>>>) -> EventLoop {
        let gauges = Metrics::new().1.link;
        let conversation = Conversation::new(Duration::from_secs(60), watch::Sender::default(), gauges);
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let store = ShardStore::new(nowhere.try_into().unwrap(), "n", "events");
        EventLoop::new(store, Links::new(links), Arc::new(conversation), Arc::default(), Arc::default())
    }

    fn ready() -> Condition {
        Condition {
            type_: "Ready".to_owned(),
            status: ConditionStatus::True,
            observed_generation: 1,
            last_transition_time: None,
            reason: "HelmReleaseReady".to_owned(),
            message: String::new(),
        }
    }

    #[tokio::test]
    async fn the_log_line_of_a_refusal_names_the_request() {
        let connection = connection_to_nowhere();
        let (_sender, links) = watch::channel(Some(connection.clone()));
        let mut events = event_loop(links);
        let lines = Lines::default();
        let _logging = recording(&lines, "info");
        let problem = vworkspace_protocol::Problem { request_id: "r-1".to_owned(), ..Default::default() };
        let refused = LinkError::Refused { status: 503, problem, retry_after: None };
        events.handle_answer(&connection, Err(refused));
        let line: serde_json::Value = serde_json::from_str(&lines.text()).unwrap();
        assert_eq!(line["request_id"], "r-1", "{line}");
    }

    #[tokio::test]
    async fn pause_asked_for_by_an_earlier_connection_does_not_hold_events_back() {
        let connection = connection_to_nowhere();
        let (sender, links) = watch::channel(Some(connection.clone()));
        let mut events = event_loop(links);
        events.start();
        for _ in 0..9 {
            let (problem, retry_after) = Default::default();
            let busy = LinkError::Refused { status: 429, problem, retry_after };
            events.handle_answer(&connection, Err(busy));
        }
        events.start();
        assert!(events.not_before > clock::now());
        sender.send_replace(Some(connection_to_nowhere()));
        events.start();
        assert_eq!((events.not_before, events.backoff.failures()), (Timestamp::MIN, 0));
    }

    #[tokio::test]
    async fn what_an_earlier_connection_reached_says_nothing_about_the_present_one() {
        let (earlier, present) = (connection_to_nowhere(), connection_to_nowhere());
        let (_sender, links) = watch::channel(Some(present.clone()));
        let mut events = event_loop(links);
        let state = events.conversation.watch();
        events.handle_answer(&earlier, Ok(EventsAnswer::default()));
        assert!(!state.borrow().reached);
        events.handle_answer(&present, Ok(EventsAnswer::default()));
        assert!(state.borrow().reached);
    }

    #[tokio::test]
    async fn a_snapshot_that_went_out_is_told_whatever_is_seen_meanwhile() {
        let connection = connection_to_nowhere();
        let (_sender, links) = watch::channel(Some(connection.clone()));
        let mut events = event_loop(links);
        let object = |uid: &str| ObjectRef { uid: uid.to_owned(), ..ObjectRef::default() };
        let observed = Observed { conditions: vec![ready()], ..Observed::default() };
        let followed = Followed {
            object: object("a"),
            version: 0,
            observed,
            deleting: false,
            created: 0,
            marks: String::new(),
        };
        let (done, mut told) = oneshot::channel();
        events.handle_snapshot(Snapshot {
            part: Part::Conditions(vec![Arc::new(followed)]),
            depth: Depth::Plain,
            done,
        });
        events.start();
        events.handle_stored(true);
        events.start();
        assert!(events.on_its_way.is_some() && told.try_recv().is_err());
        let (object, after) = (object("b"), vec![ready()]);
        events.handle_observation(Observation::Conditions { object, version: 0, before: vec![], after });
        events.handle_answer(&connection, Ok(EventsAnswer::default()));
        assert_eq!((told.try_recv(), events.event_reporter.outbox().len()), (Ok(Ok(Told::Taken)), 1));
    }

    #[tokio::test]
    async fn what_nobody_told_is_told_when_it_is_seen_and_what_was_told_is_not_told_again() {
        let (_sender, links) = watch::channel(None);
        let mut events = event_loop(links);
        let object = ObjectRef { uid: "a".to_owned(), ..ObjectRef::default() };
        let failed = || Condition { status: ConditionStatus::False, ..ready() };
        let mut tells = |observation| {
            let before = events.event_reporter.outbox().len();
            events.handle_observation(observation);
            events.event_reporter.outbox().len() - before
        };
        let written = |version, before: Vec<Condition>, condition| {
            let (object, after) = (object.clone(), vec![condition]);
            Observation::Conditions { object, version, before, after }
        };
        let seen = |version, condition| {
            let (object, conditions) = (object.clone(), vec![condition]);
            Observation::Seen { object, version, conditions }
        };
        assert_eq!(tells(written(10, vec![], failed())), 1);
        assert_eq!(tells(seen(10, failed())), 0, "our own write comes back");
        assert_eq!(tells(seen(11, ready())), 1, "the answer to our write was lost");
        assert_eq!(tells(written(11, vec![failed()], ready())), 0, "or was late");
        assert_eq!(tells(seen(9, failed())), 0, "the watch lags");
        assert_eq!(tells(written(10, vec![ready()], failed())), 0, "its answer comes late");
    }

    #[tokio::test]
    async fn what_a_snapshot_saw_before_it_was_told_otherwise_is_not_told() {
        let (_sender, links) = watch::channel(None);
        let mut events = event_loop(links);
        let object = ObjectRef { uid: "a".to_owned(), ..ObjectRef::default() };
        let former = Condition { status: ConditionStatus::False, ..ready() };
        let (before, after) = (vec![former.clone()], vec![ready()]);
        events.handle_observation(Observation::Conditions {
            object: object.clone(),
            version: 10,
            before,
            after,
        });
        let mut snapshot = |version, condition| {
            let observed = Observed { conditions: vec![condition], ..Observed::default() };
            let followed = Followed {
                object: object.clone(),
                version,
                observed,
                deleting: false,
                created: 0,
                marks: String::new(),
            };
            let part = Part::Conditions(vec![Arc::new(followed)]);
            events.handle_snapshot(Snapshot { part, depth: Depth::Plain, done: oneshot::channel().0 });
            events.event_reporter.outbox().len()
        };
        assert_eq!(snapshot(9, former.clone()), 1, "the watch lags, or the part waited");
        assert_eq!(snapshot(10, ready()), 1, "it is told already");
        assert_eq!(snapshot(11, former), 2, "it has changed since");
    }

    #[tokio::test]
    async fn what_was_seen_before_there_is_a_credential_waits_for_it() {
        let (connected, links) = watch::channel(None);
        let mut events = event_loop(links);
        let object = ObjectRef { kind: "ApplicationInstance".to_owned(), ..ObjectRef::default() };
        let after = vec![ready()];
        events.handle_observation(Observation::Conditions { object, version: 0, before: vec![], after });
        events.event_reporter.handle_flush(clock::now());
        events.start();
        assert!(events.storing.is_none() && events.on_its_way.is_none());
        assert_eq!((events.event_reporter.outbox().len(), events.event_reporter.outbox().dropped()), (1, 0));
        connected.send_replace(Some(connection_to_nowhere()));
        events.start();
        assert!(events.storing.is_some(), "what it is called is stored first");
        events.storing = None;
        events.event_reporter.handle_written(true, clock::now(), 0.0);
        events.start();
        assert!(events.on_its_way.is_some());
    }
}
