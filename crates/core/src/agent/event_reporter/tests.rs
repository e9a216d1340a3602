//! A control plane that knows each key once, a store that fails, and a process that dies between any two steps.

use super::*;
use crate::{
    agent::shards::Stored,
    report_digest::{ReportDigest, ReportLine},
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use vworkspace_protocol::time::whole_seconds;

/// What the control plane believes.
#[derive(Default)]
struct Server {
    content_of: BTreeMap<String, Option<Condition>>,
    shown: BTreeMap<String, Condition>,
}

impl Server {
    fn digest(&self) -> ReportDigest {
        let mut sum = ReportDigest::default();
        for (uid, condition) in &self.shown {
            sum.add(ReportLine::new(&reference(uid), condition));
        }
        sum
    }

    fn take(&mut self, batch: &EventsRequest) {
        for event in &batch.events {
            let content = event.conditions.first().cloned();
            if let Some(known) = self.content_of.insert(event.event_key.clone(), content.clone()) {
                assert_eq!(known, content, "{} was used for two contents", event.event_key);
                continue;
            }
            let uid = event.resource_ref.uid.clone();
            match content {
                Some(content) => drop(self.shown.insert(uid, content)),
                None => drop(self.shown.remove(&uid)),
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Done,
    Refused,
    AnswerLost,
}

#[derive(Clone, Debug)]
enum Step {
    Change {
        object: usize,
        up: bool,
        reason: u8,
        seen: bool,
    },
    /// The spec changes, and the controller has not looked yet.
    Spec {
        object: usize,
    },
    Delete {
        object: usize,
        seen: bool,
    },
    Tick(i64),
    Store(Fate),
    Post(Fate),
    Snapshot,
    Crash {
        stored: bool,
        posted: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = || prop_oneof![4 => Just(Fate::Done), 1 => Just(Fate::Refused), 1 => Just(Fate::AnswerLost)];
    let step = prop_oneof![
        6 => (0usize..2, any::<bool>(), 0u8..2, prop::bool::weighted(0.9))
            .prop_map(|(object, up, reason, seen)| Step::Change { object, up, reason, seen }),
        1 => (0usize..2).prop_map(|object| Step::Spec { object }),
        1 => (0usize..2, any::<bool>()).prop_map(|(object, seen)| Step::Delete { object, seen }),
        3 => (0i64..400).prop_map(Step::Tick),
        4 => fate().prop_map(Step::Store),
        4 => fate().prop_map(Step::Post),
        1 => Just(Step::Snapshot),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(stored, posted)| Step::Crash { stored, posted }),
    ];
    prop::collection::vec(step, 1..80)
}

fn reference(uid: &str) -> ObjectRef {
    ObjectRef { kind: "K".into(), name: "web".into(), uid: uid.into(), ..ObjectRef::default() }
}

struct World {
    event_reporter: EventReporter,
    store: BTreeMap<u64, String>,
    server: Server,
    objects: Vec<(ObjectRef, Vec<Condition>)>,
    uids: u32,
    /// Gone, and the process does not see it yet.
    late: Vec<ObjectRef>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            event_reporter: EventReporter::default(),
            store: BTreeMap::new(),
            server: Server::default(),
            objects: Vec::new(),
            uids: 0,
            late: Vec::new(),
            now: Timestamp::from_second(1_000_000).unwrap(),
        };
        world.objects = (0..2).map(|_| world.another()).collect();
        world
    }

    /// A new life of a name.
    fn another(&mut self) -> (ObjectRef, Vec<Condition>) {
        self.uids += 1;
        (reference(&format!("u{}", self.uids)), Vec::new())
    }

    /// As the API conventions have it: the time moves with the status only, in whole seconds.
    fn change(&mut self, object: usize, up: bool, reason: u8, seen: bool) {
        let (reference, conditions) = &mut self.objects[object];
        let status = up.into();
        let kept = conditions.first().filter(|c| c.status == status).and_then(|c| c.last_transition_time);
        let after = vec![Condition {
            type_: "Ready".into(),
            status,
            observed_generation: reference.generation,
            last_transition_time: kept.or(Some(whole_seconds(self.now))),
            reason: reason.to_string(),
            message: String::new(),
        }];
        if seen {
            self.event_reporter.handle_transition(reference, conditions, &after, self.now);
        }
        *conditions = after;
    }

    fn delete(&mut self, object: usize, seen: bool) {
        let another = self.another();
        let (gone, _) = std::mem::replace(&mut self.objects[object], another);
        if seen {
            self.event_reporter.handle_deleted(&gone, self.now);
        } else {
            self.late.push(gone);
        }
    }

    fn snapshot(&mut self) {
        self.event_reporter.handle_listed(self.objects.iter().map(|(object, _)| object), self.now);
        for (object, conditions) in &self.objects {
            self.event_reporter.handle_snapshot(object, conditions, self.now);
        }
        self.event_reporter.handle_flush(self.now);
    }

    fn write(&mut self, fate: Fate) -> bool {
        let Some(writes) = self.event_reporter.poll_writes(self.now) else { return false };
        let refused_at = if matches!(fate, Fate::Refused) { writes.len() - 1 } else { writes.len() };
        for write in writes.into_iter().take(refused_at) {
            match write {
                Write::Put { number, text } => drop(self.store.insert(number, text)),
                Write::Delete { number } => drop(self.store.remove(&number)),
            }
        }
        self.event_reporter.handle_written(matches!(fate, Fate::Done), self.now, 0.0);
        true
    }

    fn post(&mut self, fate: Fate) -> bool {
        let Some(batch) = self.event_reporter.poll_batch(self.now) else { return false };
        if !matches!(fate, Fate::Refused) {
            self.server.take(&batch);
        }
        let delivery = if matches!(fate, Fate::Done) { Delivery::Taken } else { Delivery::Failed };
        self.event_reporter.handle_delivery(delivery, self.now);
        true
    }

    /// The process dies with a write and a post on their way, and another one starts.
    fn crash(&mut self, stored: bool, posted: bool) {
        let writes = self.event_reporter.poll_writes(self.now).unwrap_or_default();
        let batch = self.event_reporter.poll_batch(self.now);
        if stored {
            for write in writes {
                match write {
                    Write::Put { number, text } => drop(self.store.insert(number, text)),
                    Write::Delete { number } => drop(self.store.remove(&number)),
                }
            }
        }
        if let Some(batch) = batch.filter(|_| posted) {
            self.server.take(&batch);
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.late.clear();
        let read = |text: &String| serde_json::from_str(text).ok();
        let shards = self.store.iter().map(|(number, text)| Stored { number: *number, records: read(text) });
        self.event_reporter = EventReporter::new(TransitionLog::restore(shards.collect()));
        self.snapshot();
    }

    /// Faults end and everything is told.
    fn settle(&mut self) {
        for gone in std::mem::take(&mut self.late) {
            self.event_reporter.handle_deleted(&gone, self.now);
        }
        self.snapshot();
        while !self.event_reporter.outbox().is_empty() {
            self.now += SignedDuration::from_secs(1);
            self.write(Fate::Done);
            self.post(Fate::Done);
        }
        self.now += SignedDuration::from_secs(1);
        self.write(Fate::Done);
    }

    /// Whatever happens meanwhile, what is compared is equal.
    fn check_digest(&self) {
        if let Some(settled) = self.event_reporter.settled() {
            assert_eq!(settled.digest, self.server.digest(), "the digests differ: {:?}", self.server.shown);
        }
    }

    fn check(&self) {
        for (object, conditions) in &self.objects {
            let shown = self.server.shown.get(&object.uid);
            assert_eq!(shown, conditions.first(), "{} is shown otherwise than it is", object.uid);
        }
        let there = self.objects.iter().filter(|(_, conditions)| !conditions.is_empty()).count();
        assert_eq!(self.server.shown.len(), there, "what is gone is shown");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Flaps within a second, changes and deletions that no process saw, failed and lost writes and posts, crashes at
    /// any step: no key stands for two contents or hides a change, and the control plane ends up with what is. After
    /// another restart the snapshot repeats the keys it knows, and there is nothing to store.
    #[test]
    fn whatever_crashes_no_key_is_used_twice_and_what_is_shown_is_what_is(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Change { object, up, reason, seen } => world.change(object, up, reason, seen),
                Step::Spec { object } => world.objects[object].0.generation += 1,
                Step::Delete { object, seen } => world.delete(object, seen),
                Step::Tick(ms) => world.now += SignedDuration::from_millis(ms),
                Step::Store(fate) => drop(world.write(fate)),
                Step::Post(fate) => drop(world.post(fate)),
                Step::Snapshot => world.snapshot(),
                Step::Crash { stored, posted } => world.crash(stored, posted),
            }
            world.check_digest();
        }
        world.settle();
        world.check();
        prop_assert!(world.event_reporter.settled().is_some());
        world.check_digest();
        let known = world.server.content_of.len();
        world.restart();
        prop_assert!(world.event_reporter.poll_writes(world.now).is_none());
        while world.post(Fate::Done) {}
        prop_assert!(world.event_reporter.outbox().is_empty());
        prop_assert_eq!(world.server.content_of.len(), known, "a snapshot of what did not change was news");
        world.check();
        prop_assert!(world.event_reporter.settled().is_some(), "nothing is unknown after the snapshot");
        world.check_digest();
    }
}

#[test]
fn a_batch_is_stored_before_it_goes_out() {
    let mut world = World::new();
    world.change(0, true, 0, true);
    world.event_reporter.handle_flush(world.now);
    assert!(!world.post(Fate::Done), "nothing is stored");
    assert!(world.write(Fate::Done) && world.post(Fate::Done));
}

#[test]
fn one_write_serves_what_gathered_until_a_batch_is_due() {
    let mut world = World::new();
    for reason in 0..10 {
        world.change(0, true, reason, true);
        assert!(!world.write(Fate::Done));
    }
    world.now += SignedDuration::from_secs(1);
    assert!(world.write(Fate::Done) && !world.write(Fate::Done));
    assert_eq!(world.event_reporter.poll_batch(world.now).unwrap().events.len(), 10);
}

#[test]
fn events_wait_for_a_store_that_fails_but_not_for_ever() {
    let mut world = World::new();
    world.change(0, true, 0, true);
    world.event_reporter.handle_flush(world.now);
    let started = world.now;
    while world.now < started + PATIENCE {
        assert!(!world.post(Fate::Done));
        world.write(Fate::Refused);
        world.now =
            world.event_reporter.poll_timeout().unwrap().max(world.now + SignedDuration::from_millis(1));
    }
    assert!(world.post(Fate::Done));
    world.change(0, true, 1, true);
    world.event_reporter.handle_flush(world.now);
    assert!(world.post(Fate::Done), "nothing waits any more");
    world.now += SignedDuration::from_secs(60);
    assert!(world.write(Fate::Done));
    world.change(0, true, 2, true);
    world.event_reporter.handle_flush(world.now);
    assert!(!world.post(Fate::Done), "a good write ends it");
}

/// A control plane that was set back to a backup: what it lost, changed or holds again is repaired.
#[test]
fn deep_snapshot_repairs_a_control_plane_set_back() {
    for depth in [Depth::WithEnds, Depth::Anew] {
        let mut world = World::new();
        world.change(0, true, 0, true);
        world.change(1, true, 0, true);
        world.settle();
        let backup =
            Server { content_of: world.server.content_of.clone(), shown: world.server.shown.clone() };
        world.now += SignedDuration::from_secs(5);
        world.change(0, false, 1, true);
        world.delete(1, true);
        world.change(1, true, 2, true);
        world.settle();
        // A new process knows the end only from what is stored.
        world.restart();
        world.settle();
        world.server = backup;
        let settled = world.event_reporter.settled().unwrap();
        assert_ne!(settled.digest, world.server.digest());
        world.event_reporter.handle_listed(world.objects.iter().map(|(object, _)| object), world.now);
        world.event_reporter.handle_ends_again(depth, world.now);
        for (object, conditions) in &world.objects {
            world.event_reporter.handle_snapshot_of(depth, object, conditions, world.now);
        }
        assert_eq!(world.event_reporter.settled(), None, "something waits");
        world.event_reporter.handle_flush(world.now);
        world.write(Fate::Done);
        assert!(world.post(Fate::Done));
        world.check();
        world.check_digest();
        assert_ne!(world.event_reporter.settled().unwrap().revision, settled.revision);
    }
}

/// Its log was lost once: the key of what is there now stood for the same content before.
#[test]
fn snapshot_under_new_keys_corrects_what_known_keys_hide() {
    let mut world = World::new();
    for reason in [1, 2] {
        world.change(0, true, reason, true);
    }
    world.settle();
    world.store.clear();
    world.change(0, true, 1, false);
    world.restart();
    world.settle();
    let differs = |world: &World| world.event_reporter.settled().unwrap().digest != world.server.digest();
    assert!(differs(&world), "a repeat changes nothing");
    let (object, conditions) = world.objects[0].clone();
    world.event_reporter.handle_snapshot_of(Depth::Anew, &object, &conditions, world.now);
    world.event_reporter.handle_flush(world.now);
    assert!(world.write(Fate::Done) && world.post(Fate::Done));
    world.check();
    assert!(!differs(&world));
}
