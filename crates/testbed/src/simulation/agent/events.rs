//! What the agent tells: transitions, snapshots, deletions; one batch on its way at a time.

use super::{Agent, CALL};
use crate::simulation::api::Object;
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeMap, pin::Pin, rc::Rc, time::Duration};
use tokio::sync::oneshot;
use vworkspace_core::{
    agent::{
        divergence::{Depth, Settled},
        event_reporter::EventReporter,
        outbox::{Delivery, MAX_WAITING},
        session::{Failure, State},
        shards::Stored,
        transition::{Remembered, TransitionLog},
    },
    backoff::Backoff,
};
use vworkspace_protocol::{
    Condition, ObjectRef,
    event::{Event, EventsAnswer, EventsRequest, kind},
    limits::EVENTS_PER_BATCH,
};
use vworkspace_transport::{AgentCall, AgentLink as _};

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Taken,
    Nothing,
}

/// What waits to be told.
#[derive(Default)]
pub(super) struct Outbox {
    event_reporter: EventReporter,
    backoff: Backoff,
    not_before: Option<Timestamp>,
    snapshots: Vec<oneshot::Sender<Result<Told, Failure>>>,
    /// Of the event_reporter's outbox, when the batch on its way was taken from it.
    posted_at: u64,
    /// How often the control plane had been set back when the batch was posted.
    set_backs: u32,
}

type Posted = Result<EventsAnswer, Failure>;
type OnItsWay = Pin<Box<dyn Future<Output = (AgentCall, u64, EventsRequest, Posted)>>>;
/// Answers whether everything was stored.
type Storing = Pin<Box<dyn Future<Output = bool>>>;

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.event_reporter.outbox().is_empty()
    }

    /// Goes on with what was told by earlier processes.
    pub(super) fn restore(&mut self, told: Vec<Stored<Remembered>>) {
        self.event_reporter = EventReporter::new(TransitionLog::restore(told));
    }

    fn answer_snapshots(&mut self, answer: Result<Told, Failure>) {
        for done in self.snapshots.drain(..) {
            // Who asked may have gone.
            let _ = done.send(answer);
        }
    }
}

impl Agent {
    pub(super) async fn run_events(self: Rc<Self>) {
        let (mut on_its_way, mut storing): (Option<OnItsWay>, Option<Storing>) = (None, None);
        loop {
            if on_its_way.is_none() && self.may_talk() {
                storing = self.next_store().or(storing);
                on_its_way = self.next_post();
            }
            let due = self.events_due(on_its_way.is_some());
            tokio::select! {
                biased;
                (caller, link, batch, answer) = answer_of(&mut on_its_way) => {
                    on_its_way = None;
                    self.handle_answer(&caller, link, &batch, answer);
                }
                done = answer_of(&mut storing) => {
                    storing = None;
                    let (now, random) = (self.now(), self.random());
                    self.outbox.borrow_mut().event_reporter.handle_written(done, now, random);
                }
                () = self.flush.notified() => {}
                () = self.another_link() => self.outbox.borrow_mut().not_before = None,
                () = self.until_some(due) => {}
            }
            self.check_bound();
        }
    }

    fn may_talk(&self) -> bool {
        let too_early = self.outbox.borrow().not_before.is_some_and(|at| self.now() < at);
        self.credential.borrow().is_some() && !too_early
    }

    fn next_store(self: &Rc<Self>) -> Option<Storing> {
        let writes = self.outbox.borrow_mut().event_reporter.poll_writes(self.now())?;
        let agent = self.clone();
        Some(Box::pin(async move { agent.write_shards(writes, |state| &mut state.told).await }))
    }

    fn next_post(self: &Rc<Self>) -> Option<OnItsWay> {
        let (caller, now) = (self.caller()?, self.now());
        let batch = {
            let outbox = &mut *self.outbox.borrow_mut();
            let batch = outbox.event_reporter.poll_batch(now)?;
            outbox.posted_at = outbox.event_reporter.outbox().added();
            outbox.set_backs = self.site.seen.borrow().set_backs;
            batch
        };
        self.check_keys(&batch);
        let (agent, link) = (self.clone(), *self.link.borrow());
        Some(Box::pin(async move {
            let answer = agent.post(&caller, batch.clone()).await;
            (caller, link, batch, answer)
        }))
    }

    async fn post(&self, caller: &AgentCall, batch: EventsRequest) -> Posted {
        let call = self.ask(caller, CALL, move |link| {
            let batch = batch.clone();
            async move { link.events(&batch).await }
        });
        call.await
    }

    fn events_due(&self, busy: bool) -> Option<Timestamp> {
        let outbox = self.outbox.borrow();
        let due =
            outbox.event_reporter.poll_timeout().filter(|_| !busy && self.credential.borrow().is_some())?;
        Some(outbox.not_before.map_or(due, |at| due.max(at)))
    }

    fn handle_answer(&self, caller: &AgentCall, link: u64, batch: &EventsRequest, answer: Posted) {
        let now = self.now();
        for event in &batch.events {
            let (name, told) =
                (&event.resource_ref.name, event.event_key.rsplit('/').next().unwrap_or_default());
            self.note(&format!("tells {} of {name}: {told}: {:?}", event.kind, answer.is_ok()));
        }
        let failure = match answer {
            Ok(answer) => return self.handle_taken(caller, link, batch, &answer),
            Err(failure) => failure,
        };
        let outbox = &mut *self.outbox.borrow_mut();
        if failure == Failure::Refused {
            self.site.world.history.broke("I5 events", "the control plane cannot read our own events");
        }
        let too_large = failure == Failure::TooLarge;
        let delivery = if too_large { Delivery::TooLarge } else { Delivery::Failed };
        let waiting = outbox.event_reporter.outbox().len();
        outbox.event_reporter.handle_delivery(delivery, now);
        self.site.world.history.holds("I5 events", outbox.event_reporter.outbox().len() >= waiting, || {
            format!("{} lost events that were not taken: {failure:?}", self.site.name)
        });
        if link != *self.link.borrow() {
            // What an earlier connection met says nothing about the one in use.
            return;
        }
        let delay = outbox.backoff.handle_failure(failure.retry_after(), self.random());
        let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        outbox.not_before = now.checked_add(delay).ok();
        outbox.answer_snapshots(Err(failure));
    }

    fn handle_taken(&self, caller: &AgentCall, link: u64, batch: &EventsRequest, answer: &EventsAnswer) {
        {
            let seen = &mut *self.site.seen.borrow_mut();
            // A process that stood still reads the answer when it goes on.
            if seen.set_backs == self.outbox.borrow().set_backs {
                seen.taken_events.extend(batch.events.iter().map(|event| event.event_key.clone()));
            }
        }
        self.good(caller);
        let unchanged = {
            let outbox = &mut *self.outbox.borrow_mut();
            outbox.backoff.handle_success();
            outbox.event_reporter.handle_delivery(Delivery::Taken, self.now());
            if outbox.is_empty() {
                outbox.answer_snapshots(Ok(Told::Taken));
            }
            outbox.event_reporter.settled().filter(|settled| settled.revision == outbox.posted_at)
        };
        if link == *self.link.borrow() {
            self.compare(unchanged, answer);
        }
    }

    /// What was reported and accepted; `None` while something is on its way.
    pub fn settled(&self) -> Option<Settled> {
        self.outbox.borrow().event_reporter.settled()
    }

    /// Compares what the control plane holds with what was reported. A difference that counts is a false alarm unless the
    /// control plane was set back, or events were dropped for want of room.
    pub(super) fn compare(&self, before: Option<Settled>, answer: &EventsAnswer) {
        let mut divergence = self.divergence.borrow_mut();
        divergence.handle_answer(before, self.settled(), answer.report_digest.as_deref());
        let may_differ = self.site.world.weather.upheaval().is_some()
            || self.site.has_twin()
            || self.outbox.borrow().event_reporter.outbox().dropped() > 0;
        let is_alarmed = divergence.is_diverged() && !may_differ;
        self.site.world.history.holds("I5 events", !is_alarmed, || {
            format!("{}: {before:?} was reported, and {answer:?} seems to be held", self.site.name)
        });
        self.repair.notify_one();
    }

    /// Reports everything once more when the control plane may have forgotten it.
    pub(super) async fn repair(self: Rc<Self>) {
        loop {
            let is_due = self.divergence.borrow().is_snapshot_due(self.now());
            if is_due && self.session().state() == State::Active {
                self.site.world.history.note(&self.site.name, "reports everything once more");
                if self.tell_everything().await.is_err() {
                    self.site.world.sleep(Duration::from_secs(1)).await;
                }
            }
            let next = self.divergence.borrow().poll_timeout().filter(|_| !is_due);
            tokio::select! {
                biased;
                () = self.repair.notified() => {}
                () = self.until_some(next) => {}
                () = self.site.world.sleep(Duration::from_secs(30)) => {}
            }
        }
    }

    /// Status first: the conditions of all owned objects.
    pub(super) async fn tell_everything(&self) -> Result<Told, Failure> {
        let _one_at_a_time = self.snapshot.lock().await;
        let depth = self.divergence.borrow_mut().handle_snapshot_begun(self.now());
        let told = self.tell_all(depth).await;
        self.divergence.borrow_mut().handle_snapshot_ended(told.is_ok(), self.now());
        told
    }

    async fn tell_all(&self, depth: Depth) -> Result<Told, Failure> {
        let objects = self.view.borrow().clone();
        let answer = {
            let now = self.now();
            let outbox = &mut *self.outbox.borrow_mut();
            let listed: Vec<_> = objects.iter().map(|(name, object)| object.reference(name)).collect();
            outbox.event_reporter.handle_listed(listed.iter(), now);
            outbox.event_reporter.handle_ends_again(depth, now);
            for (object, reference) in objects.values().zip(&listed) {
                outbox.event_reporter.handle_snapshot_of(depth, reference, &object.conditions, now);
            }
            if outbox.is_empty() {
                return Ok(Told::Nothing);
            }
            let (done, answer) = oneshot::channel();
            outbox.snapshots.push(done);
            outbox.not_before = None;
            outbox.event_reporter.handle_flush(now);
            answer
        };
        self.flush.notify_one();
        answer.await.unwrap_or(Err(Failure::Unavailable { retry_after: None }))
    }

    /// A job has ended: who waits for it looks now.
    pub(super) fn flush_events(&self) {
        self.outbox.borrow_mut().event_reporter.handle_flush(self.now());
        self.flush.notify_one();
    }

    /// Sees the objects change, late and not every state in between, as a watch does.
    pub(super) async fn observe(self: Rc<Self>) {
        let mut changed = self.site.api.watch();
        loop {
            changed.borrow_and_update();
            let now = self.site.api.state().objects.clone();
            let before = self.view.replace(now.clone());
            self.handle_view(&before, &now);
            if changed.changed().await.is_err() {
                return;
            }
            let stale = self.site.world.strikes("stale watch", 20);
            let most = if stale { Duration::from_secs(6) } else { Duration::from_millis(50) };
            self.site.world.sleep_between(Duration::from_micros(100), most).await;
        }
    }

    fn handle_view(&self, before: &BTreeMap<String, Object>, after: &BTreeMap<String, Object>) {
        let now = self.now();
        let same = |name: &str, object: &Object| after.get(name).is_some_and(|other| other.uid == object.uid);
        {
            let outbox = &mut *self.outbox.borrow_mut();
            let gone = before.iter().filter(|(name, object)| !same(name, object));
            for (name, object) in gone {
                outbox.event_reporter.handle_deleted(&object.reference(name), now);
            }
            for (name, object) in after {
                let known = before.get(name).filter(|known| known.uid == object.uid);
                let old = known.map_or(&[][..], |known| &known.conditions);
                let reference = object.reference(name);
                outbox.event_reporter.handle_transition(&reference, old, &object.conditions, now);
            }
        }
        self.flush.notify_one();
    }

    pub(super) async fn post_heartbeat(&self, caller: &AgentCall) -> Posted {
        let beat = Event {
            event_key: String::new(),
            kind: kind::CLUSTER_HEARTBEAT.to_owned(),
            resource_ref: ObjectRef { kind: "Cluster".to_owned(), ..ObjectRef::default() },
            conditions: Vec::new(),
            operator_version: "simulated".to_owned(),
            kubernetes_version: String::new(),
            sequence: 0,
            timestamp: Some(self.now()),
        };
        self.post(caller, EventsRequest { events: vec![beat] }).await
    }

    /// A key stands for one event, whoever tells it and however often.
    fn check_keys(&self, batch: &EventsRequest) {
        let mut seen = self.site.seen.borrow_mut();
        for event in &batch.events {
            let body = body_of(&event.kind, &event.resource_ref, &event.conditions);
            let first = seen.told_events.entry(event.event_key.clone()).or_insert_with(|| body.clone());
            self.site.world.history.holds("I5 event identity", *first == body, || {
                format!("{} stood for {first}, and stands for {body} now", event.event_key)
            });
        }
    }

    fn check_bound(&self) {
        let waiting = self.outbox.borrow().event_reporter.outbox().len();
        let mut seen = self.site.seen.borrow_mut();
        seen.most_waiting = seen.most_waiting.max(waiting);
        let bound = MAX_WAITING + EVENTS_PER_BATCH;
        self.site.world.history.holds("I10 bounds", waiting <= bound, || format!("{waiting} events wait"));
    }
}

/// What an event says, as text. The object's generation is no part of it: the condition's own is.
pub fn body_of(kind: &str, object: &ObjectRef, conditions: &[Condition]) -> String {
    format!("{kind} of {} {}: {conditions:?}", object.name, object.uid)
}

/// Waits for what is on its way; for ever while nothing is.
async fn answer_of<T>(on_its_way: &mut Option<Pin<Box<dyn Future<Output = T>>>>) -> T {
    match on_its_way {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}
