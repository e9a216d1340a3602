//! From observed conditions to events with keys that tell flaps apart (contract, section 3).
//!
//! A condition's time has whole seconds and moves with its status only, so the documented key alone would repeat when a
//! condition flaps or changes its reason. The suffix `#` + 16 hex digits is a digest over status, reason, message,
//! transition time and `n`: how many different contents (these, or the generation they speak about) this condition of
//! this object had before. The last `n` and
//! suffix of each are stored, so that a snapshot repeats the key of what did not change, also after a restart.
//!
//! An event that counted `n` up must not go out before that is stored: after a crash the same `n` would be given to
//! something else. [`News`] says up to where.

use super::{
    ObjectKey,
    object_key::{NAME_BYTES, bounded_ref},
    reported::Reported,
    shards::{self, Shards, Stored, Write},
    shelf::Shelf,
};
use crate::{
    canonical::sha256_of_parts as sha256,
    planted::{Bug, planted},
    report_digest::{ReportDigest, ReportLine},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use vworkspace_protocol::{
    Condition, ConditionStatus, ObjectRef,
    condition::{reasons, types},
    event::{Event, condition_key, deletion_key, kind},
    limits,
};

/// Most conditions remembered. Beyond it the first object is forgotten: at worst a snapshot repeats its conditions under
/// other keys, which the control plane records as one more transition.
pub const MAX_REMEMBERED: usize = 50_000;
/// Most conditions of one object remembered, by the same rule.
const MAX_OF_OBJECT: usize = 32;
/// Most ended objects remembered after the control plane took their end: a control plane that was restored from a backup
/// may hold them again, and nothing else says that they are gone. Overflow rule: the oldest end is forgotten.
pub const MAX_ENDED: usize = 500;
/// Shortest time between two writes.
const STORE_INTERVAL: SignedDuration = SignedDuration::from_millis(250);

/// One condition of one object: what events are counted and coalesced by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The object's uid, or its name where the uid is unknown.
    object: String,
    /// The condition's type, cut to a bound; empty for events about the whole object.
    condition_type: String,
}

impl Slot {
    /// The slot of one condition of an object.
    pub fn new(object: &ObjectRef, condition_type: &str) -> Self {
        let condition_type = limits::clip(condition_type, NAME_BYTES).to_owned();
        Self { object: identity(object), condition_type }
    }
}

/// An event that may go out once the log is stored up to `needs`.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// What it is about.
    pub slot: Slot,
    /// What is told.
    pub event: Event,
    /// Compare with [`TransitionLog::stored`].
    pub needs: u64,
}

/// Content of an application that was replaced with no change of its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentChange {
    /// What ran before.
    pub from: String,
    /// What runs now.
    pub to: String,
    /// When the operator noticed.
    pub at: Timestamp,
}

/// What is remembered about one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    #[serde(rename = "r")]
    object: ObjectRef,
    #[serde(rename = "c")]
    conditions: BTreeMap<String, Told>,
    /// Place of its end among all transitions, once the control plane took that; 0: it has not ended.
    #[serde(rename = "e", default, skip_serializing_if = "is_zero")]
    ended: u64,
    /// The version that was told last, by this process; nought: nobody knows.
    #[serde(skip)]
    version: u64,
    /// It was there before this process started, or in a list since: once it is in none any more, it is gone. Of
    /// another one a list may say nothing yet.
    #[serde(skip)]
    was_there: bool,
    /// It is gone; kept until the control plane knows.
    #[serde(skip)]
    is_gone: bool,
}

/// What was last told about one condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    n: u64,
    #[serde(rename = "s")]
    suffix: String,
    /// Which generation it spoke about: no part of the digest, and yet something else to tell.
    #[serde(rename = "g")]
    observed_generation: i64,
    /// Its place among all transitions that were told.
    #[serde(rename = "q", default)]
    sequence: u64,
    /// That it was taken away.
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    is_removed: bool,
    #[serde(skip)]
    needs: u64,
    /// What it counts in the digest; `None`: an earlier process reported it, and this one has not seen it yet.
    #[serde(skip)]
    line: Option<ReportLine>,
}

/// Remembers what was last told about each condition, and makes events of what is new.
#[derive(Debug, Default)]
pub struct TransitionLog {
    /// The newest that was given.
    sequence: u64,
    objects: BTreeMap<String, Remembered>,
    /// Objects whose end the control plane took, at most [`MAX_ENDED`].
    ended: BTreeMap<String, Remembered>,
    conditions: usize,
    reported: Reported,
    shards: Shards<String>,
    shelf: Shelf,
}

impl TransitionLog {
    /// The log as it was stored: shards in rising order. What a shard held that cannot be read is counted anew.
    pub fn restore(shards: Vec<Stored<Remembered>>) -> Self {
        let mut log = Self::default();
        for Stored { number, records } in shards {
            let records = records.map(|records| records.into_iter().map(|record| log.add(record)).collect());
            log.shards.restore(number, records);
        }
        log.keep_bound();
        log
    }

    /// Events for what a status write changed: one per condition added, changed or taken away. None of what was told last,
    /// which was seen before the write was answered, and none about an object whose end was told.
    pub fn handle_transition(
        &mut self,
        object: &ObjectRef,
        before: &[Condition],
        after: &[Condition],
        now: Timestamp,
    ) -> Vec<News> {
        self.note_lines(object, after);
        let changed = after.iter().filter(|condition| !before.iter().any(|b| same_content(b, condition)));
        let removed = before.iter().filter(|b| !after.iter().any(|a| a.type_ == b.type_));
        let removed = removed.map(|condition| removal(&condition.type_, condition.observed_generation, now));
        let changed: Vec<_> = changed.cloned().chain(removed).collect();
        self.tell_news(object, changed, now)
    }

    /// Events for everything that is, whether told before or not: the first thing after a reconnect.
    pub fn handle_snapshot(
        &mut self,
        object: &ObjectRef,
        conditions: &[Condition],
        now: Timestamp,
    ) -> Vec<News> {
        self.snapshot(object, conditions, now, Key::Stored)
    }

    /// As [`TransitionLog::handle_snapshot`], with every condition counted anew: the control plane takes its events for
    /// news, also where it knows their former keys and yet holds something else.
    pub fn handle_snapshot_anew(
        &mut self,
        object: &ObjectRef,
        conditions: &[Condition],
        now: Timestamp,
    ) -> Vec<News> {
        self.snapshot(object, conditions, now, Key::New)
    }

    fn snapshot(
        &mut self,
        object: &ObjectRef,
        conditions: &[Condition],
        now: Timestamp,
        key: Key,
    ) -> Vec<News> {
        // That one was taken away may have been told to nobody.
        let removed = self.absent(object, conditions, now);
        let all: Vec<_> = conditions.iter().cloned().chain(removed).collect();
        all.into_iter().filter_map(|condition| self.tell(object, condition, now, key)).collect()
    }

    /// Events for those of an object's conditions that were last told otherwise, or never, and for those that were told and
    /// are there no more.
    pub fn handle_seen(&mut self, object: &ObjectRef, conditions: &[Condition], now: Timestamp) -> Vec<News> {
        self.note_lines(object, conditions);
        let removed = self.absent(object, conditions, now);
        let all = conditions.iter().cloned().chain(removed).collect();
        self.tell_news(object, all, now)
    }

    fn tell_news(&mut self, object: &ObjectRef, conditions: Vec<Condition>, now: Timestamp) -> Vec<News> {
        let news = |condition: Condition| {
            if self.is_told(object, &condition) {
                None
            } else {
                self.tell(object, condition, now, Key::Stored)
            }
        };
        conditions.into_iter().filter_map(news).collect()
    }

    /// What was told of the object, and is not among its conditions now.
    fn absent(&self, object: &ObjectRef, conditions: &[Condition], now: Timestamp) -> Vec<Condition> {
        let known = self.objects.get(&identity(object)).into_iter().flat_map(|known| &known.conditions);
        let there: BTreeSet<_> =
            conditions.iter().map(|there| Slot::new(object, &there.type_).condition_type).collect();
        let absent = known.filter(|(type_, _)| !there.contains(*type_));
        absent.map(|(type_, told)| removal(type_, told.observed_generation, now)).collect()
    }

    /// What was told of an object last is of this version of it; nought: nobody knows.
    pub fn handle_version(&mut self, object: &ObjectRef, version: u64) {
        if let Some(known) = self.objects.get_mut(&identity(object)) {
            known.version = version;
        }
    }

    /// Whether something newer than this version of the object was told by this process.
    pub fn is_outdated(&self, object: &ObjectRef, version: u64) -> bool {
        version != 0 && self.objects.get(&identity(object)).is_some_and(|known| version < known.version)
    }

    /// The event for an object that is gone. Absent where nothing was ever told about the object, or its end was told
    /// already.
    pub fn handle_deleted(&mut self, object: &ObjectRef, now: Timestamp) -> Option<News> {
        let known = self.objects.get_mut(&identity(object)).filter(|known| !known.is_gone)?;
        known.is_gone = true;
        Some(end_of(object, now))
    }

    /// These are all objects there are: events for those that were there before and whose end was not seen, for
    /// example because no process looked, and for those whose end was told and perhaps not taken.
    pub fn handle_listed<'a>(
        &mut self,
        there: impl Iterator<Item = &'a ObjectRef>,
        now: Timestamp,
    ) -> Vec<News> {
        let there: BTreeSet<String> = there.map(identity).collect();
        let mut ends = Vec::new();
        for (object, known) in &mut self.objects {
            let is_there = there.contains(object);
            known.is_gone |= known.was_there && !is_there;
            known.was_there |= is_there;
            if known.is_gone {
                ends.push(end_of(&known.object, now));
            }
        }
        ends
    }

    /// The control plane knows that the object is gone: it is forgotten.
    pub fn handle_end_known(&mut self, object: &ObjectRef) {
        let object = identity(object);
        if self.objects.get(&object).is_some_and(|known| known.is_gone) {
            let end = self.take(&object);
            self.shards.remove(&object);
            end.iter().for_each(|known| self.remember_end(&object, &known.object));
            self.shelf.change();
        }
    }

    /// Events for the ends that the control plane took before, the newest [`MAX_ENDED`] of them.
    pub fn handle_ends_again(&self, now: Timestamp) -> Vec<News> {
        self.ended.values().map(|known| end_of(&known.object, now)).collect()
    }

    /// Digest of what was reported, which is what the control plane holds once it took everything. `None` while this
    /// process does not know all of it.
    pub fn digest(&self) -> Option<ReportDigest> {
        self.reported.digest()
    }

    /// The audit event of a rotation, named by the id that was stored with its credential: told again, for example
    /// after a restart, it is the same event; the next rotation is another one. No two of them share a slot. Its key
    /// names no generation: the object may have another one by the time it is told again.
    pub fn handle_rotated(object: &ObjectRef, rotation: &str, at: Timestamp) -> News {
        let digest = sha256(&[rotation.as_bytes()]);
        let suffix = hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8]));
        let of_none = ObjectRef { generation: 0, ..object.clone() };
        let key = condition_key(&of_none, types::AUTHENTICATED, ConditionStatus::True);
        let condition = Condition {
            type_: types::AUTHENTICATED.to_owned(),
            status: ConditionStatus::True,
            observed_generation: object.generation,
            last_transition_time: None,
            reason: reasons::CREDENTIAL_ROTATED.to_owned(),
            message: String::new(),
        };
        let event = Event {
            event_key: format!("{key}#{suffix}"),
            kind: kind::CREDENTIAL_ROTATED.to_owned(),
            resource_ref: object.clone(),
            conditions: vec![condition],
            operator_version: String::new(),
            kubernetes_version: String::new(),
            sequence: 0,
            timestamp: Some(at),
        };
        let slot = Slot::new(object, &format!("{}#{suffix}", kind::CREDENTIAL_ROTATED));
        News { slot, event, needs: 0 }
    }

    /// The event of a change of content. Its key is made of what changed and when: reported again, for example by the next
    /// process, it is the same event.
    pub fn handle_changed(object: &ObjectRef, change: &ContentChange) -> News {
        let ContentChange { from, to, at } = change;
        let parts = [identity(object), from.clone(), to.clone(), at.to_string()];
        let digest = sha256(&parts.each_ref().map(String::as_bytes));
        let suffix = hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8]));
        let of_none = ObjectRef { generation: 0, ..object.clone() };
        let key = condition_key(&of_none, types::APPLICATION_CHANGED, ConditionStatus::True);
        let condition = Condition {
            type_: types::APPLICATION_CHANGED.to_owned(),
            status: ConditionStatus::True,
            observed_generation: object.generation,
            last_transition_time: Some(*at),
            reason: reasons::APPLICATION_CHANGED.to_owned(),
            message: format!("{to} runs instead of {from}, with no change of the spec"),
        };
        let event = Event {
            event_key: format!("{key}#{suffix}"),
            kind: kind::APPLICATION_CHANGED.to_owned(),
            resource_ref: object.clone(),
            conditions: vec![condition],
            operator_version: String::new(),
            kubernetes_version: String::new(),
            sequence: 0,
            timestamp: Some(*at),
        };
        let slot = Slot::new(object, &format!("{}#{suffix}", kind::APPLICATION_CHANGED));
        News { slot, event, needs: 0 }
    }

    /// Up to where the log is stored.
    pub fn stored(&self) -> u64 {
        self.shelf.stored()
    }

    /// When the log may be stored again; absent: it is, or a write is on its way.
    pub fn due(&self) -> Option<Timestamp> {
        self.shelf.due()
    }

    /// When the first write failed of those that failed since the last good one.
    pub fn failing_since(&self) -> Option<Timestamp> {
        self.shelf.failing_since()
    }

    /// What to write so that the log is stored as it is now. Answer with [`TransitionLog::handle_written`].
    pub fn poll_writes(&mut self) -> Vec<Write> {
        self.shelf.start();
        self.shards.compact();
        let (objects, ended) = (&self.objects, &self.ended);
        // A shard holds keys of objects that are here: both are taken out together.
        let record = |object: &String| {
            let record = objects.get(object).or_else(|| ended.get(object));
            record.map_or_else(String::new, shards::render)
        };
        self.shards.poll_writes(record)
    }

    /// Answers [`TransitionLog::poll_writes`]: whether every step was done.
    pub fn handle_written(&mut self, done: bool, now: Timestamp, random: f64) {
        self.shards.handle_written(done);
        self.shelf.handle_stored(done, STORE_INTERVAL, now, random);
    }

    fn tell(&mut self, object: &ObjectRef, condition: Condition, now: Timestamp, key: Key) -> Option<News> {
        let slot = Slot::new(object, &condition.type_);
        if self.objects.get(&slot.object).is_some_and(|known| known.is_gone) {
            return None;
        }
        let told = self.count(object, &slot, &condition, (now, key));
        let (suffix, needs, sequence) = (told.suffix, told.needs, told.sequence);
        let key = condition_key(&as_spoken_of(object, &condition), &condition.type_, condition.status);
        let event = Event {
            event_key: format!("{key}#{suffix}"),
            kind: kind::CONDITION_TRANSITION.to_owned(),
            resource_ref: object.clone(),
            conditions: vec![condition],
            operator_version: String::new(),
            kubernetes_version: String::new(),
            sequence,
            timestamp: Some(now),
        };
        Some(News { slot, event, needs })
    }

    /// Learns what the conditions count in the digest that an earlier process reported.
    fn note_lines(&mut self, object: &ObjectRef, conditions: &[Condition]) {
        if self.reported.is_complete() {
            return;
        }
        let Some(known) = self.objects.get_mut(&identity(object)) else { return };
        for condition in conditions {
            let type_ = Slot::new(object, &condition.type_).condition_type;
            let told = known.conditions.get_mut(&type_).filter(|told| told.line.is_none());
            if let Some(told) = told.filter(|told| told.says(condition, &content_digest(condition))) {
                self.reported.remove(told.line);
                told.line = Some(ReportLine::new(object, condition));
                self.reported.add(told.line);
            }
        }
    }

    fn is_told(&self, object: &ObjectRef, condition: &Condition) -> bool {
        let slot = Slot::new(object, &condition.type_);
        let known = self.objects.get(&slot.object);
        let told = known.and_then(|known| known.conditions.get(&slot.condition_type));
        told.is_some_and(|told| told.says(condition, &content_digest(condition)))
    }

    /// What the condition is told under; the log must be stored as far as that needs before it is used.
    fn count(
        &mut self,
        object: &ObjectRef,
        slot: &Slot,
        condition: &Condition,
        (now, key): (Timestamp, Key),
    ) -> Told {
        let (content, line) = (content_digest(condition), Some(ReportLine::new(object, condition)));
        let new = || Remembered::new(object);
        let known = self.objects.entry(slot.object.clone()).or_insert_with(new);
        let last = known.conditions.get_mut(&slot.condition_type);
        self.reported.add(line);
        if let Some(last) = &last {
            self.reported.remove(last.line);
        }
        let same = |told: &&mut Told| key == Key::Stored && told.says(condition, &content);
        let last = match last {
            Some(told) if same(&told) => {
                told.line = line;
                return told.clone();
            }
            last => last.map(|told| &*told),
        };
        let n = last.filter(|_| !planted(Bug::RepeatEventKey)).map_or(0, |told| told.n.saturating_add(1));
        // A clock that was set back must not make news look old, and one that is right helps where the log was lost.
        self.sequence = (self.sequence + 1).max(u64::try_from(now.as_millisecond()).unwrap_or_default());
        let told = Told {
            n,
            suffix: suffix_of(&content, n),
            observed_generation: condition.observed_generation,
            sequence: self.sequence,
            is_removed: condition.reason == reasons::CONDITION_REMOVED,
            needs: self.shelf.change(),
            line,
        };
        self.conditions += usize::from(last.is_none());
        known.conditions.insert(slot.condition_type.clone(), told.clone());
        if known.conditions.len() > MAX_OF_OBJECT {
            let forgotten = known.conditions.pop_first();
            forgotten.iter().for_each(|(_, told)| self.reported.forget(told.line));
            self.conditions -= 1;
        }
        self.shards.put(slot.object.clone(), shards::render(known).len());
        // Of an object without uid another life may have ended under this name.
        self.ended.remove(&slot.object);
        self.keep_bound();
        told
    }

    /// Takes in a record; gives its key and its size.
    fn add(&mut self, record: Remembered) -> (String, usize) {
        let (object, bytes) = (identity(&record.object), shards::render(&record).len());
        self.take(&object);
        self.ended.remove(&object);
        let newest = record.conditions.values().map(|told| told.sequence).max();
        self.sequence = self.sequence.max(newest.unwrap_or_default()).max(record.ended);
        if record.ended > 0 {
            self.ended.insert(object.clone(), record);
            return (object, bytes);
        }
        self.conditions += record.conditions.len();
        record.conditions.values().for_each(|told| self.reported.add(told.line));
        self.objects.insert(object.clone(), Remembered { was_there: true, ..record });
        (object, bytes)
    }

    fn take(&mut self, object: &str) -> Option<Remembered> {
        let known = self.objects.remove(object)?;
        self.conditions -= known.conditions.len();
        known.conditions.values().for_each(|told| self.reported.remove(told.line));
        Some(known)
    }

    fn remember_end(&mut self, identity: &str, object: &ObjectRef) {
        self.sequence += 1;
        let record = Remembered { ended: self.sequence, ..Remembered::new(object) };
        self.shards.put(identity.to_owned(), shards::render(&record).len());
        self.ended.insert(identity.to_owned(), record);
        let oldest = || self.ended.iter().min_by_key(|(_, known)| known.ended).map(|(key, _)| key.clone());
        if self.ended.len() > MAX_ENDED
            && let Some(oldest) = oldest()
        {
            self.ended.remove(&oldest);
            self.shards.remove(&oldest);
        }
    }

    fn keep_bound(&mut self) {
        while self.conditions > MAX_REMEMBERED
            && let Some((object, known)) = self.objects.pop_first()
        {
            self.conditions -= known.conditions.len();
            known.conditions.values().for_each(|told| self.reported.forget(told.line));
            self.shards.forget(&object);
        }
    }
}

/// Under which key a condition is reported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// The stored one where nothing changed.
    Stored,
    /// A new one in any case.
    New,
}

impl Told {
    /// Whether it was told of this condition, whose content has this digest.
    fn says(&self, condition: &Condition, content: &[u8; 32]) -> bool {
        let is_removed = self.is_removed && condition.reason == reasons::CONDITION_REMOVED;
        is_removed
            || self.observed_generation == condition.observed_generation
                && self.suffix == suffix_of(content, self.n)
    }
}

impl Remembered {
    fn new(object: &ObjectRef) -> Self {
        Self {
            object: bounded_ref(object.clone()),
            conditions: BTreeMap::new(),
            ended: 0,
            version: 0,
            was_there: false,
            is_gone: false,
        }
    }
}

/// The uid, or the name where the uid is unknown; bounded as what is stored of it.
fn identity(object: &ObjectRef) -> String {
    let object = bounded_ref(object.clone());
    if object.uid.is_empty() { ObjectKey::from(&object).to_string() } else { object.uid }
}

fn end_of(object: &ObjectRef, now: Timestamp) -> News {
    let slot = Slot::new(object, "");
    let event = Event {
        event_key: deletion_key(&slot.object),
        kind: kind::OBJECT_DELETED.to_owned(),
        resource_ref: object.clone(),
        conditions: Vec::new(),
        operator_version: String::new(),
        kubernetes_version: String::new(),
        sequence: 0,
        timestamp: Some(now),
    };
    News { slot, event, needs: 0 }
}

/// The object at the generation that the condition speaks about. A snapshot may find the wish changed and the condition
/// not yet: under the new generation's key it would be told now, and what replaces it would count as a repeat.
fn as_spoken_of(object: &ObjectRef, condition: &Condition) -> ObjectRef {
    let spoken_of = Some(condition.observed_generation).filter(|generation| *generation > 0);
    ObjectRef { generation: spoken_of.unwrap_or(object.generation), ..object.clone() }
}

/// A condition that speaks about a newer generation is news too: the documented key names the generation, and the
/// next snapshot must find it told.
fn same_content(a: &Condition, b: &Condition) -> bool {
    a.type_ == b.type_
        && a.observed_generation == b.observed_generation
        && content_digest(a) == content_digest(b)
}

/// A condition that was taken away has no status any more.
fn removal(type_: &str, observed_generation: i64, now: Timestamp) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: ConditionStatus::Unknown,
        observed_generation,
        last_transition_time: Some(vworkspace_protocol::time::whole_seconds(now)),
        reason: reasons::CONDITION_REMOVED.to_owned(),
        message: String::new(),
    }
}

fn content_digest(condition: &Condition) -> [u8; 32] {
    let time = condition.last_transition_time.map_or(0, Timestamp::as_second).to_be_bytes();
    sha256(&[
        condition.status.as_str().as_bytes(),
        condition.reason.as_bytes(),
        condition.message.as_bytes(),
        &time,
    ])
}

fn suffix_of(content: &[u8; 32], n: u64) -> String {
    let digest = sha256(&[content, &n.to_be_bytes()]);
    hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8]))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
