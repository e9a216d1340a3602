//! Is this job a replay? (contract, section 2)
//!
//! A job id counts always. A key given by the control plane is compared with the whole ledger. A computed key counts
//! only if it is the last one recorded for its object, so that apply A, apply B, apply A again ends at A.

use crate::{agent::ObjectKey, canonical};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use vworkspace_protocol::{Job, JobId, JobKind, ObjectRef, Outcome, limits, outcome::JobResult};

/// Most entries kept; the newest stay.
pub const MAX_ENTRIES: usize = 5_000;
/// Longest life of an entry.
pub const MAX_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What a replay tells when the first run failed.
const REPLAY_FAILED: &str = "the job failed when it was run first";

/// Same key, same effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKey {
    /// The key as recorded.
    pub text: String,
    /// Who made it.
    pub origin: KeyOrigin,
}

/// Who made a key, which decides how far it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The control plane: compared with the whole ledger.
    Given,
    /// This agent, from the payload: compared with the last one of the object.
    Computed,
}

impl JobKey {
    /// The key of a job about `object`. Given keys are cut to their bound; the surrounding white space is not part
    /// of them (reference contract, section 3.3).
    pub fn of(job: &Job, object: &ObjectKey) -> Self {
        let given = job.idempotency_key.trim();
        if given.is_empty() {
            Self { text: computed_key(job, object), origin: KeyOrigin::Computed }
        } else {
            let text = limits::clip(given, limits::IDEMPOTENCY_KEY_BYTES).to_owned();
            Self { text, origin: KeyOrigin::Given }
        }
    }
}

fn computed_key(job: &Job, object: &ObjectKey) -> String {
    let digest = payload_digest(job.payload.get());
    match &job.kind {
        JobKind::Intent => format!("intent/{}/{digest}", intent_name(job)),
        JobKind::Apply | JobKind::Delete | JobKind::Other(_) => format!("{object}@{digest}"),
    }
}

/// 16 hex digits over the canonical payload; over the bytes as they came where it has no canonical form.
fn payload_digest(payload: &str) -> String {
    let canonical = serde_json::from_str(payload).ok().and_then(|value| canonical::to_bytes(&value).ok());
    let digest = canonical::sha256(canonical.as_deref().unwrap_or(payload.as_bytes()));
    hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8]))
}

fn intent_name(job: &Job) -> String {
    #[derive(Deserialize)]
    struct Named {
        intent: String,
    }
    serde_json::from_str::<Named>(job.payload.get()).map(|named| named.intent).unwrap_or_default()
}

/// One job that took effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    #[serde(rename = "k")]
    pub key: String,
    /// Its id.
    #[serde(rename = "j")]
    pub job: JobId,
    /// How it ended.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// Why, where it failed.
    #[serde(rename = "e", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The object it was about.
    #[serde(rename = "r")]
    pub applied_ref: ObjectRef,
    /// When it ended.
    #[serde(rename = "t")]
    pub at: Timestamp,
}

/// The jobs that took effect, newest last; bounded by [`MAX_ENTRIES`] and [`MAX_AGE`], oldest dropped first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    /// Keys a plain v1 operator recorded: nothing but the key is known.
    foreign: VecDeque<String>,
    last_of_object: BTreeMap<ObjectKey, String>,
}

impl Ledger {
    /// A ledger as it was stored: our entries, oldest first, and keys that only a plain v1 operator recorded.
    pub fn restore(entries: Vec<Entry>, keys: Vec<String>, now: Timestamp) -> Self {
        let mut ledger = Self::default();
        let known: std::collections::BTreeSet<&str> =
            entries.iter().map(|entry| entry.key.as_str()).collect();
        ledger.foreign =
            keys.into_iter().filter(|key| !known.contains(key.as_str())).take(MAX_ENTRIES).collect();
        for entry in entries {
            ledger.handle_done(entry, now);
        }
        ledger
    }

    /// Records a job that took effect.
    pub fn handle_done(&mut self, entry: Entry, now: Timestamp) {
        self.last_of_object.insert(ObjectKey::from(&entry.applied_ref), entry.key.clone());
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES || self.entries.front().is_some_and(|e| is_too_old(e, now)) {
            self.drop_oldest();
        }
    }

    /// The result of a job that took effect before; absent: it is new work.
    pub fn replay(&self, job: &JobId, key: &JobKey, object: &ObjectKey) -> Option<JobResult> {
        if let Some(entry) = self.entries.iter().rev().find(|entry| entry.job == *job) {
            return Some(result_of(entry));
        }
        let succeeded = |entry: &&Entry| entry.key == key.text && entry.outcome == Outcome::Succeeded;
        let entry = self.entries.iter().rev().find(succeeded);
        match key.origin {
            KeyOrigin::Given => {
                let foreign = || self.foreign.contains(&key.text).then(noop);
                entry.map(result_of).or_else(foreign)
            }
            KeyOrigin::Computed => {
                entry.filter(|_| self.last_of_object.get(object) == Some(&key.text)).map(result_of)
            }
        }
    }

    /// Whether this very job is recorded.
    pub fn knows(&self, job: &JobId) -> bool {
        self.entries.iter().rev().any(|entry| entry.job == *job)
    }

    /// The entries, newest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// Keys for a plain v1 operator, newest first: those of jobs that succeeded, then those it recorded itself.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let ours = self.entries().filter(|entry| entry.outcome == Outcome::Succeeded);
        ours.map(|entry| entry.key.as_str()).chain(self.foreign.iter().map(String::as_str))
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            let object = ObjectKey::from(&entry.applied_ref);
            if self.last_of_object.get(&object) == Some(&entry.key)
                && !self.entries.iter().any(|e| e.key == entry.key)
            {
                self.last_of_object.remove(&object);
            }
        }
    }
}

fn is_too_old(entry: &Entry, now: Timestamp) -> bool {
    now.duration_since(entry.at) > MAX_AGE
}

/// A replay is `noop`, except where that would hide a failure the control plane has not heard of.
fn result_of(entry: &Entry) -> JobResult {
    let failed = entry.outcome == Outcome::Failed;
    let error = match (failed, entry.error.is_empty()) {
        (true, true) => REPLAY_FAILED.to_owned(),
        _ => entry.error.clone(),
    };
    JobResult {
        outcome: if failed { Outcome::Failed } else { Outcome::Noop },
        error,
        applied_ref: Some(entry.applied_ref.clone()),
        conflicts: Vec::new(),
        timestamp: None,
    }
}

fn noop() -> JobResult {
    JobResult {
        outcome: Outcome::Noop,
        error: String::new(),
        applied_ref: None,
        conflicts: Vec::new(),
        timestamp: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            outcome,
            error: String::new(),
            applied_ref: object("web"),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn web() -> ObjectKey {
        ObjectKey::from(&object("web"))
    }

    fn run(ledger: &mut Ledger, job: &Job) -> bool {
        let key = JobKey::of(job, &web());
        let replay = ledger.replay(&job.id, &key, &web()).is_some();
        if !replay {
            let done = entry(job.id.as_str(), &key.text, Outcome::Succeeded);
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
    fn a_replay_is_noop_with_the_recorded_object_unless_it_failed() {
        let mut ledger = Ledger::default();
        ledger.handle_done(entry("1", "k", Outcome::Succeeded), Timestamp::UNIX_EPOCH);
        ledger.handle_done(entry("2", "l", Outcome::Failed), Timestamp::UNIX_EPOCH);
        let key = JobKey { text: "k".into(), origin: KeyOrigin::Given };
        let replay = ledger.replay(&JobId::new("9"), &key, &web()).unwrap();
        assert_eq!((replay.outcome, replay.applied_ref), (Outcome::Noop, Some(object("web"))));
        assert_eq!(ledger.replay(&JobId::new("2"), &key, &web()).unwrap().outcome, Outcome::Failed);
        let failed = JobKey { text: "l".into(), origin: KeyOrigin::Given };
        assert!(ledger.replay(&JobId::new("9"), &failed, &web()).is_none());
    }

    #[test]
    fn keys_of_the_reference_count_and_survive() {
        let ledger = Ledger::restore(
            vec![entry("1", "ours", Outcome::Succeeded)],
            vec!["theirs".into(), "ours".into()],
            Timestamp::UNIX_EPOCH,
        );
        let theirs = JobKey { text: "theirs".into(), origin: KeyOrigin::Given };
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
    fn old_entries_go() {
        let mut ledger = Ledger::default();
        ledger.handle_done(entry("1", "k", Outcome::Succeeded), Timestamp::UNIX_EPOCH);
        let later = Timestamp::UNIX_EPOCH + MAX_AGE + SignedDuration::from_secs(1);
        ledger.handle_done(Entry { at: later, ..entry("2", "l", Outcome::Succeeded) }, later);
        assert_eq!(ledger.entries().count(), 1);
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
}
