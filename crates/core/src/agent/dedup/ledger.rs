//! The jobs that are over, and where they are stored.

use super::{
    JobKey, KeyOrigin,
    entry::{Entry, bounded_id},
    payload_digest,
};
use crate::agent::{
    ObjectKey,
    shards::{self, Shards, Stored, Write},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use vworkspace_protocol::{Job, JobId, Outcome, outcome::JobResult};

/// Most entries kept; the newest stay.
pub const MAX_ENTRIES: usize = 5_000;
/// Longest life of an entry. It is dropped with the next jobs that are recorded.
pub const MAX_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Most entries that are dropped for their age when one is recorded: a clock that jumps ahead empties no ledger.
pub(super) const AGED_AT_ONCE: usize = 2;
/// What a replay tells when the first run failed.
const REPLAY_FAILED: &str = "the job failed when it was run first";

/// Place of an entry: rises with each.
type Place = u64;

/// The jobs that are over, newest last; bounded by [`MAX_ENTRIES`] and [`MAX_AGE`], oldest dropped first.
///
/// It is stored in [`Shards`]: what is new goes to the newest one, the oldest is deleted when the last of its entries
/// was dropped.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    /// Place of the oldest entry.
    first: Place,
    by_job: BTreeMap<JobId, Place>,
    /// The newest one that succeeded, by key.
    succeeded: BTreeMap<String, Place>,
    last_of_object: BTreeMap<ObjectKey, Place>,
    /// Keys a plain v1 operator recorded, newest first: nothing but the key is known.
    foreign: Vec<String>,
    is_foreign: BTreeSet<String>,
    shards: Shards<Place>,
}

impl Ledger {
    /// A ledger as it was stored: shards in rising order, and keys that only a plain v1 operator recorded.
    pub fn restore(shards: Vec<Stored<Entry>>, keys: Vec<String>) -> Self {
        let mut ledger = Self::default();
        for Stored { number, records } in shards {
            let records: Option<Vec<_>> =
                records.map(|entries| entries.into_iter().map(|entry| ledger.add(entry.bounded())).collect());
            ledger.shards.restore(number, records);
        }
        ledger.drop_beyond_bounds();
        let known = |key: &String| ledger.succeeded.contains_key(key);
        ledger.foreign = keys.into_iter().filter(|key| !known(key)).take(MAX_ENTRIES).collect();
        ledger.is_foreign = ledger.foreign.iter().cloned().collect();
        ledger
    }

    /// Records a job that is over.
    pub fn handle_done(&mut self, entry: Entry, now: Timestamp) {
        let (place, bytes) = self.add(entry.bounded());
        self.shards.put(place, bytes);
        self.drop_beyond_bounds();
        self.drop_aged(now);
    }

    /// The result of a job that was done before; absent: it is new work. An id that was refused, or met a conflict,
    /// stays so: offered once more, it would take effect out of its order. A known id or key with another payload is new
    /// work: a control plane that was restored from a backup gives out ids once more.
    pub fn replay(&self, job: &JobId, key: &JobKey, object: &ObjectKey) -> Option<JobResult> {
        if let Some(entry) = self.of_job(job, &key.digest) {
            return Some(result_of(entry));
        }
        match key.origin {
            KeyOrigin::Given => {
                let entry = self.succeeded.get(&key.text).and_then(|place| self.at(*place));
                let entry = entry.filter(|entry| entry.is_of(&key.digest));
                let foreign = || self.is_foreign.contains(&key.text).then(noop);
                entry.map(result_of).or_else(foreign)
            }
            KeyOrigin::Computed => {
                let last = self.last_of_object.get(object).and_then(|place| self.at(*place))?;
                let is_same = last.key == key.text && last.outcome == Outcome::Succeeded;
                is_same.then(|| result_of(last))
            }
        }
    }

    /// Whether this very job is recorded, by its id and its payload's digest.
    pub fn knows(&self, job: &JobId, digest: &str) -> bool {
        self.of_job(job, digest).is_some()
    }

    /// Whether the id of the job, or the key it was given, is recorded of a job with another payload.
    pub fn contradicts(&self, job: &Job) -> bool {
        let of_id = self.by_job.get(&bounded_id(&job.id));
        let of_key = self.succeeded.get(job.idempotency_key.trim());
        let mut recorded = of_id.into_iter().chain(of_key).filter_map(|place| self.at(*place)).peekable();
        // Most jobs are new: their payload is not looked at.
        recorded.peek().is_some() && {
            let digest = payload_digest(job.payload.get());
            recorded.any(|entry| !entry.is_of(&digest))
        }
    }

    /// Whether no other job changed the object after this one, or may have, as far as is recorded.
    pub fn is_last_of(&self, object: &ObjectKey, job: &JobId) -> bool {
        let last = self.last_of_object.get(object).and_then(|place| self.at(*place));
        last.is_some_and(|last| last.job == bounded_id(job))
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

    /// What to write so that all of it is stored. Answer with [`Ledger::handle_written`] before the next.
    pub fn poll_writes(&mut self) -> Vec<Write> {
        let (entries, first) = (&self.entries, self.first);
        // A shard holds places of entries that are here: they are forgotten there when they are dropped.
        self.shards
            .poll_writes(|place| entry_at(entries, first, *place).map_or_else(String::new, shards::render))
    }

    /// Answers [`Ledger::poll_writes`]: whether every step was done.
    pub fn handle_written(&mut self, done: bool) {
        self.shards.handle_written(done);
    }

    /// Takes the entry in; gives its place and its size as stored.
    fn add(&mut self, entry: Entry) -> (Place, usize) {
        let place = self.first + self.entries.len() as Place;
        let bytes = shards::render(&entry).len();
        self.by_job.insert(entry.job.clone(), place);
        if let Some(object) = entry.object() {
            self.last_of_object.insert(object, place);
        }
        if entry.outcome == Outcome::Succeeded {
            self.succeeded.insert(entry.key.clone(), place);
        }
        self.entries.push_back(entry);
        (place, bytes)
    }

    fn drop_beyond_bounds(&mut self) {
        while self.entries.len() > MAX_ENTRIES {
            self.drop_oldest();
        }
    }

    fn drop_aged(&mut self, now: Timestamp) {
        for _ in 0..AGED_AT_ONCE {
            if self.entries.front().is_some_and(|entry| now.duration_since(entry.at) > MAX_AGE) {
                self.drop_oldest();
            }
        }
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let place = self.first;
        self.first += 1;
        self.shards.forget(&place);
        remove_if(&mut self.by_job, &entry.job, place);
        remove_if(&mut self.succeeded, &entry.key, place);
        if let Some(object) = entry.object() {
            remove_if(&mut self.last_of_object, &object, place);
        }
    }

    fn of_job(&self, job: &JobId, digest: &str) -> Option<&Entry> {
        let entry = self.by_job.get(&bounded_id(job)).and_then(|place| self.at(*place));
        entry.filter(|entry| entry.is_of(digest))
    }

    fn at(&self, place: Place) -> Option<&Entry> {
        entry_at(&self.entries, self.first, place)
    }
}

fn entry_at(entries: &VecDeque<Entry>, first: Place, place: Place) -> Option<&Entry> {
    entries.get(usize::try_from(place.checked_sub(first)?).ok()?)
}

/// Takes `key` out unless a newer entry has its place.
fn remove_if<K: Ord>(index: &mut BTreeMap<K, Place>, key: &K, place: Place) {
    if index.get(key) == Some(&place) {
        index.remove(key);
    }
}

/// A replay is `noop`, except where that would hide a failure the control plane has not heard of.
fn result_of(entry: &Entry) -> JobResult {
    let outcome = match entry.outcome {
        Outcome::Failed | Outcome::Conflict => entry.outcome,
        Outcome::Succeeded | Outcome::Noop => Outcome::Noop,
    };
    let error = match (outcome, entry.error.is_empty()) {
        (Outcome::Failed | Outcome::Conflict, true) => REPLAY_FAILED.to_owned(),
        _ => entry.error.clone(),
    };
    JobResult {
        outcome,
        error,
        applied_ref: entry.applied_ref.clone(),
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
