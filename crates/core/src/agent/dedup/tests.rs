use super::*;
use crate::agent::shards::{RECORD_BYTES, SHARD_BYTES, Stored, Write, render};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use vworkspace_protocol::{JobId, ObjectRef, Outcome};

fn object(name: &str) -> ObjectRef {
    ObjectRef {
        kind: "ApplicationInstance".into(),
        namespace: "n".into(),
        name: name.into(),
        uid: "u".into(),
        ..ObjectRef::default()
    }
}

fn job(id: &str, key: &str, payload: &str) -> Job {
    let json = format!(r#"{{"id":"{id}","kind":"apply","idempotencyKey":"{key}","payload":{payload}}}"#);
    serde_json::from_str(&json).unwrap()
}

fn entry(id: &str, key: &str, outcome: Outcome) -> Entry {
    Entry {
        key: key.into(),
        job: JobId::new(id),
        digest: String::new(),
        outcome,
        error: String::new(),
        applied_ref: Some(object("web")),
        may_have_changed: None,
        at: Timestamp::UNIX_EPOCH,
    }
}

fn named(text: &str, origin: KeyOrigin) -> JobKey {
    JobKey { text: text.to_owned(), digest: String::new(), origin }
}

fn web() -> ObjectKey {
    ObjectKey::from(&object("web"))
}

fn run(ledger: &mut Ledger, job: &Job) -> bool {
    let key = JobKey::of(job, &web());
    let replay = ledger.replay(&job.id, &key, &web()).is_some();
    if !replay {
        let done = entry(job.id.as_str(), &key.text, Outcome::Succeeded);
        let done = Entry { digest: key.digest, ..done };
        ledger.handle_done(done, Timestamp::UNIX_EPOCH);
    }
    replay
}

#[test]
fn computed_keys_are_those_of_the_contract() {
    let key = JobKey::of(&job("1", "", r#"{"b": 1, "a": 2}"#), &web());
    assert!(key.text.starts_with("applicationinstance/n/web@"), "{}", key.text);
    assert_eq!(key.text.rsplit('@').next().unwrap().len(), 16);
    assert_eq!(key, JobKey::of(&job("2", " ", r#"{"a":2,"b":1}"#), &web()));
    let mut intent = job("3", "", r#"{"intent":"delete-application-instance","name":"web"}"#);
    intent.kind = JobKind::Intent;
    assert!(JobKey::of(&intent, &web()).text.starts_with("intent/delete-application-instance/"));
}

#[test]
fn apply_a_then_b_then_a_again_ends_at_a() {
    let mut ledger = Ledger::default();
    let (a, b) = (r#"{"x":1}"#, r#"{"x":2}"#);
    assert!(!run(&mut ledger, &job("1", "", a)));
    assert!(run(&mut ledger, &job("2", "", a)));
    assert!(!run(&mut ledger, &job("3", "", b)));
    assert!(!run(&mut ledger, &job("4", "", a)));
}

#[test]
fn a_given_key_is_compared_with_the_whole_ledger_and_a_job_id_always() {
    let mut ledger = Ledger::default();
    assert!(!run(&mut ledger, &job("1", "k1", "{}")));
    assert!(!run(&mut ledger, &job("2", "k2", "{}")));
    assert!(run(&mut ledger, &job("3", "k1", "{}")));
    assert!(run(&mut ledger, &job("1", "other", "{}")));
}

#[test]
fn known_id_or_key_with_another_payload_is_new_work() {
    let mut ledger = Ledger::default();
    assert!(!run(&mut ledger, &job("1", "k", r#"{"x":1}"#)));
    for other in [job("1", "k", r#"{"x":2}"#), job("1", "l", r#"{"x":3}"#), job("2", "k", r#"{"x":4}"#)] {
        assert!(ledger.contradicts(&other));
        assert!(!run(&mut ledger, &other));
        assert!(run(&mut ledger, &other) && !ledger.contradicts(&other));
    }
}

#[test]
fn entry_of_a_former_version_counts_whatever_the_payload() {
    let mut ledger = Ledger::default();
    ledger.handle_done(entry("1", "k", Outcome::Succeeded), Timestamp::UNIX_EPOCH);
    assert!(run(&mut ledger, &job("1", "l", r#"{"x":1}"#)));
    assert!(run(&mut ledger, &job("2", "k", r#"{"x":2}"#)));
}

#[test]
fn a_replay_is_noop_with_the_recorded_object_unless_it_failed() {
    let mut ledger = Ledger::default();
    ledger.handle_done(entry("1", "k", Outcome::Succeeded), Timestamp::UNIX_EPOCH);
    ledger.handle_done(entry("2", "l", Outcome::Failed), Timestamp::UNIX_EPOCH);
    let key = named("k", KeyOrigin::Given);
    let replay = ledger.replay(&JobId::new("9"), &key, &web()).unwrap();
    assert_eq!((replay.outcome, replay.applied_ref), (Outcome::Noop, Some(object("web"))));
    assert_eq!(ledger.replay(&JobId::new("2"), &key, &web()).unwrap().outcome, Outcome::Failed);
    let failed = named("l", KeyOrigin::Given);
    assert!(ledger.replay(&JobId::new("9"), &failed, &web()).is_none());
}

#[test]
fn keys_of_the_reference_count_and_survive() {
    let shard = Stored { number: 0, records: Some(vec![entry("1", "ours", Outcome::Succeeded)]) };
    let keys = vec!["theirs".into(), "ours".into()];
    let ledger = Ledger::restore(vec![shard], keys);
    let theirs = named("theirs", KeyOrigin::Given);
    assert_eq!(ledger.replay(&JobId::new("9"), &theirs, &web()).unwrap().outcome, Outcome::Noop);
    assert_eq!(ledger.keys().collect::<Vec<_>>(), ["ours", "theirs"]);
}

/// No object stands in its lane: nothing is the last one recorded there.
#[test]
fn a_rotation_without_a_key_is_new_work_each_time_and_a_repeated_id_is_not() {
    let lane = ObjectKey { kind: "Cluster".into(), namespace: String::new(), name: String::new() };
    let mut first = job("1", "", r#"{"intent":"rotate-operator-credentials"}"#);
    first.kind = JobKind::Intent;
    let key = JobKey::of(&first, &lane);
    let mut ledger = Ledger::default();
    ledger.handle_done(entry("1", &key.text, Outcome::Succeeded), Timestamp::UNIX_EPOCH);
    assert!(ledger.replay(&JobId::new("2"), &key, &lane).is_none());
    assert_eq!(ledger.replay(&JobId::new("1"), &key, &lane).unwrap().outcome, Outcome::Noop);
}

#[test]
fn what_was_refused_stays_refused_under_its_id_and_is_new_work_under_its_key() {
    let mut ledger = Ledger::default();
    let conflict = Entry { error: "owned".into(), applied_ref: None, ..entry("1", "k", Outcome::Conflict) };
    ledger.handle_done(conflict, Timestamp::UNIX_EPOCH);
    let key = named("k", KeyOrigin::Given);
    let replay = ledger.replay(&JobId::new("1"), &key, &web()).unwrap();
    assert_eq!((replay.outcome, replay.error.as_str()), (Outcome::Conflict, "owned"));
    assert!(ledger.replay(&JobId::new("2"), &key, &web()).is_none());
}

#[test]
fn old_entries_go() {
    let mut ledger = Ledger::default();
    ledger.handle_done(entry("1", "k", Outcome::Succeeded), Timestamp::UNIX_EPOCH);
    let later = Timestamp::UNIX_EPOCH + MAX_AGE + SignedDuration::from_secs(1);
    ledger.handle_done(Entry { at: later, ..entry("2", "l", Outcome::Succeeded) }, later);
    assert_eq!(ledger.entries().count(), 1);
}

#[test]
fn clock_that_jumps_ahead_empties_no_ledger() {
    let mut ledger = Ledger::default();
    for n in 0..100 {
        let id = n.to_string();
        ledger.handle_done(entry(&id, &id, Outcome::Succeeded), Timestamp::UNIX_EPOCH);
    }
    let ahead = Timestamp::UNIX_EPOCH + MAX_AGE * 2;
    ledger.handle_done(Entry { at: ahead, ..entry("ahead", "a", Outcome::Succeeded) }, ahead);
    assert_eq!(ledger.entries().count(), 101 - AGED_AT_ONCE);
}

proptest! {
    #[test]
    fn the_ledger_never_outgrows_its_bound(n in (MAX_ENTRIES - 2)..(MAX_ENTRIES + 50)) {
        let mut ledger = Ledger::default();
        for i in 0..n {
            ledger.handle_done(entry(&i.to_string(), &i.to_string(), Outcome::Succeeded), Timestamp::UNIX_EPOCH);
        }
        prop_assert_eq!(ledger.entries().count(), n.min(MAX_ENTRIES));
        prop_assert_eq!(ledger.entries().next().unwrap().key.clone(), (n - 1).to_string());
    }
}

#[test]
fn a_failure_that_came_after_another_job_is_no_replay_of_an_earlier_success() {
    let mut ledger = Ledger::default();
    for (id, key, outcome) in
        [("1", "a", Outcome::Succeeded), ("2", "b", Outcome::Succeeded), ("3", "a", Outcome::Failed)]
    {
        ledger.handle_done(entry(id, key, outcome), Timestamp::UNIX_EPOCH);
    }
    let key = named("a", KeyOrigin::Computed);
    assert!(ledger.replay(&JobId::new("9"), &key, &web()).is_none());
}

/// What a ledger is stored in.
#[derive(Default)]
struct Store(BTreeMap<u64, String>);

impl Store {
    /// Only the first `steps` happen. Answers the numbers of the shards that were written.
    fn write(&mut self, ledger: &mut Ledger, steps: usize) -> Vec<u64> {
        let writes = ledger.poll_writes();
        let whole = writes.len() <= steps;
        let done: Vec<Write> = writes.into_iter().take(steps).collect();
        let numbers = done.iter().map(Write::number).collect();
        for write in done {
            match write {
                Write::Put { number, text } => drop(self.0.insert(number, text)),
                Write::Delete { number } => drop(self.0.remove(&number)),
            }
        }
        ledger.handle_written(whole);
        numbers
    }

    fn read(&self) -> Vec<Stored<Entry>> {
        let read = |text: &String| serde_json::from_str(text).ok();
        self.0.iter().map(|(number, text)| Stored { number: *number, records: read(text) }).collect()
    }

    fn restore(&self) -> Ledger {
        Ledger::restore(self.read(), Vec::new())
    }
}

fn all(ledger: &Ledger) -> Vec<Entry> {
    ledger.entries().cloned().collect()
}

#[test]
fn all_entries_are_stored_in_shards_and_a_write_touches_the_newest() {
    let (mut ledger, mut store) = (Ledger::default(), Store::default());
    let long = Entry { error: "e".repeat(900), ..entry("", "", Outcome::Failed) };
    let done = |ledger: &mut Ledger, n: usize| {
        let entry = Entry { job: JobId::new(n.to_string()), key: n.to_string(), ..long.clone() };
        ledger.handle_done(entry, Timestamp::UNIX_EPOCH);
    };
    for n in 0..MAX_ENTRIES {
        done(&mut ledger, n);
    }
    store.write(&mut ledger, usize::MAX);
    assert!(store.0.len() > 30 && store.0.values().all(|text| text.len() <= SHARD_BYTES));
    assert_eq!(all(&store.restore()), all(&ledger));
    for n in MAX_ENTRIES..MAX_ENTRIES + 500 {
        done(&mut ledger, n);
        let written = store.write(&mut ledger, usize::MAX);
        assert!(written.len() <= 3, "{written:?}");
    }
    assert_eq!(all(&store.restore()), all(&ledger));
    assert!(store.0.len() < 50, "{} shards", store.0.len());
}

#[test]
fn an_unreadable_shard_is_left_out_and_the_rest_counts() {
    let (mut ledger, mut store) = (Ledger::default(), Store::default());
    for n in 0..1_000 {
        let (id, error) = (n.to_string(), "e".repeat(900));
        let entry = Entry { error, ..entry(&id, &id, Outcome::Failed) };
        ledger.handle_done(entry, Timestamp::UNIX_EPOCH);
    }
    store.write(&mut ledger, usize::MAX);
    store.0.insert(2, "{".to_owned());
    store.0.remove(&4);
    let mut restored = store.restore();
    assert!(restored.knows(&JobId::new("0"), "") && restored.knows(&JobId::new("999"), ""));
    assert!((600..1_000).contains(&restored.entries().count()));
    assert!(store.write(&mut restored, usize::MAX).is_empty(), "nothing is written over it");
}

#[test]
fn however_large_a_job_names_itself_its_entry_fits_and_is_found_again() {
    let huge = "\u{1}".repeat(600_000);
    let job = job_with(&huge);
    let (key, mut ledger) = (JobKey::of(&job, &web()), Ledger::default());
    let hostile = Entry {
        key: key.text.clone(),
        job: job.id.clone(),
        digest: key.digest.clone(),
        outcome: Outcome::Succeeded,
        error: huge.clone(),
        applied_ref: Some(ObjectRef { uid: huge.clone(), api_version: huge.clone(), ..object("web") }),
        may_have_changed: Some(ObjectRef { uid: huge.clone(), api_version: huge, ..object("web") }),
        at: Timestamp::UNIX_EPOCH,
    };
    ledger.handle_done(hostile, Timestamp::UNIX_EPOCH);
    assert!(render(ledger.entries().next().unwrap()).len() <= RECORD_BYTES);
    assert!(ledger.knows(&job.id, &key.digest));
    assert!(ledger.replay(&JobId::new("another"), &key, &web()).is_some());
}

fn job_with(huge: &str) -> Job {
    let mut job = job("1", "", "{}");
    job.id = JobId::new(huge);
    job.kind = JobKind::Intent;
    job.payload = serde_json::from_value(serde_json::json!({ "intent": huge })).unwrap();
    job
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever fails and wherever the process ends: what a whole write covered is there again, in order.
    #[test]
    fn what_was_stored_is_never_lost(steps in proptest::collection::vec((1usize..120, 0usize..4, any::<bool>()), 1..16)) {
        let (mut ledger, mut store) = (Ledger::default(), Store::default());
        let (mut n, mut covered) = (0, 0);
        for (new, steps, restart) in steps {
            for _ in 0..new {
                let id = n.to_string();
                let entry = Entry { error: "e".repeat(n % 900), ..entry(&id, &id, Outcome::Failed) };
                ledger.handle_done(entry, Timestamp::UNIX_EPOCH);
                n += 1;
            }
            if store.write(&mut ledger, steps).len() < steps {
                covered = n;
            }
            if restart {
                ledger = store.restore();
                n = ledger.entries().next().map_or(0, |entry| entry.key.parse::<usize>().unwrap() + 1);
                prop_assert!(n >= covered);
                let mut keys: Vec<usize> = ledger.entries().map(|entry| entry.key.parse().unwrap()).collect();
                keys.reverse();
                prop_assert_eq!(keys, (n.saturating_sub(MAX_ENTRIES)..n).collect::<Vec<_>>());
            }
        }
    }
}
