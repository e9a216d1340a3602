//! Records in shards of bounded size: which shard holds which, and what a write touches.
//!
//! ```text
//!   shard 4 (oldest) ── shard 5 ── shard 6 (newest)
//!   never rewritten     as 4       what is new goes here, until it is full: then shard 7
//! ```
//!
//! - A record that changes moves to the newest shard; its former copy stays where it is and no longer counts. So of two
//!   copies the one in the higher shard is the record.
//! - Shards that only gained are written first, in rising order, so that a write that breaks off leaves out the newest.
//!   Those that lost a record to a newer one follow, in falling order: no copy goes before the one that counts is stored.
//! - A shard none of whose records counts any more is deleted, after everything newer was written.
//! - A shard that cannot be read keeps its number and is left alone until all that count are newer.
//!
//! Only places and sizes are kept here: the owner renders a record when it is written.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of a shard: a quarter of what the contract allows, since each write repeats the newest shard.
pub const SHARD_BYTES: usize = 128 * 1024;
/// Most bytes of a record; its owner sees to that.
pub const RECORD_BYTES: usize = 64 * 1024;

/// Names a shard; rises with every new one.
pub type Number = u64;

/// A shard as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// Its name.
    pub number: Number,
    /// What it holds; absent: it cannot be read.
    pub records: Option<Vec<T>>,
}

/// One step of a write. All steps in order make it whole; after a failure they may be repeated, or others follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The shard holds this JSON array from now on.
    Put {
        /// Which one.
        number: Number,
        /// At most [`SHARD_BYTES`].
        text: String,
    },
    /// The shard is no more.
    Delete {
        /// Which one.
        number: Number,
    },
}

/// Where each record is, and which shards differ from what is stored.
#[derive(Clone, Debug)]
pub struct Shards<K> {
    shards: BTreeMap<Number, Shard<K>>,
    places: BTreeMap<K, Place>,
    next: Number,
    clock: u64,
    in_flight: Vec<InFlight>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    number: Number,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Shard<K> {
    keys: BTreeSet<K>,
    /// Size of the records that count, with their commas.
    bytes: usize,
    /// Size as stored; absent: never stored.
    stored_bytes: Option<usize>,
    /// When it changed last, when it last lost a record, and as of when it is stored.
    changed_at: u64,
    lost_at: u64,
    stored_at: u64,
    is_readable: bool,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    number: Number,
    as_of: u64,
    bytes: usize,
}

impl<K> Default for Shards<K> {
    fn default() -> Self {
        Self { shards: BTreeMap::new(), places: BTreeMap::new(), next: 0, clock: 0, in_flight: Vec::new() }
    }
}

impl<K: Clone + Ord> Shards<K> {
    /// Takes in a shard as it is stored; call in rising order. `None`: it cannot be read.
    pub fn restore(&mut self, number: Number, records: Option<Vec<(K, usize)>>) {
        self.next = self.next.max(number.saturating_add(1));
        let mut shard = Shard::new();
        shard.is_readable = records.is_some();
        let records = records.unwrap_or_default();
        shard.stored_bytes = Some(records.iter().map(|(_, bytes)| bytes + 1).sum());
        self.shards.insert(number, shard);
        for (key, bytes) in records {
            self.forget(&key);
            self.place(number, key, bytes);
        }
    }

    /// Adds a record of this size, or puts it in place of the one with the same key.
    pub fn put(&mut self, key: K, bytes: usize) {
        self.forget(&key);
        let number = self.shard_with_room(bytes);
        self.place(number, key, bytes);
        self.touch(number);
    }

    /// The record does not count any more; its copy stays until its shard is written or deleted.
    pub fn forget(&mut self, key: &K) {
        if let Some(place) = self.places.remove(key)
            && let Some(shard) = self.shards.get_mut(&place.number)
        {
            shard.keys.remove(key);
            shard.bytes -= place.bytes + 1;
            self.clock += 1;
            shard.lost_at = self.clock;
        }
    }

    /// As [`Shards::forget`], and its shard is to be written without it.
    pub fn remove(&mut self, key: &K) {
        if let Some(place) = self.places.get(key).copied() {
            self.forget(key);
            self.touch(place.number);
        }
    }

    /// Moves what counts of the oldest shards into the newest one while more than half of what is stored does not
    /// count.
    pub fn compact(&mut self) {
        for _ in 0..self.shards.len() {
            let (counting, in_all) = self
                .shards
                .values()
                .filter(|shard| !shard.keys.is_empty())
                .fold((0, 0), |(counting, in_all), shard| {
                    (counting + shard.bytes, in_all + shard.size_when_stored())
                });
            if in_all <= 2 * counting + SHARD_BYTES {
                return;
            }
            let Some(oldest) = self.shards.values().find(|shard| !shard.keys.is_empty()) else { return };
            for key in oldest.keys.clone() {
                if let Some(place) = self.places.get(&key).copied() {
                    self.put(key, place.bytes);
                }
            }
        }
    }

    /// What to write so that what is stored is what counts; `render` gives a record as JSON, in the size it was put
    /// with. Answer with [`Shards::handle_written`] before the next.
    pub fn poll_writes(&mut self, render: impl Fn(&K) -> String) -> Vec<Write> {
        self.shards.retain(|_, shard| !shard.keys.is_empty() || shard.stored_bytes.is_some());
        let changed = || self.shards.iter().filter(|(_, shard)| shard.is_changed() && !shard.keys.is_empty());
        let gained = changed().filter(|(_, shard)| !shard.has_lost());
        let puts =
            gained.chain(changed().rev().filter(|(_, shard)| shard.has_lost())).map(|(number, shard)| {
                let records: Vec<String> = shard.keys.iter().map(&render).collect();
                Write::Put { number: *number, text: format!("[{}]", records.join(",")) }
            });
        let deletes = self.shards.iter().filter(|(number, shard)| self.is_over(**number, shard));
        let deletes = deletes.map(|(number, _)| Write::Delete { number: *number });
        let writes: Vec<Write> = puts.chain(deletes).collect();
        let in_flight = writes.iter().filter_map(|write| {
            let number = write.number();
            let bytes = self.shards.get(&number)?.bytes;
            Some(InFlight { number, as_of: self.clock, bytes })
        });
        self.in_flight = in_flight.collect();
        for InFlight { number, bytes, .. } in &self.in_flight {
            // Whatever becomes of the write: it may be there from now on.
            self.shards.entry(*number).and_modify(|shard| _ = shard.stored_bytes.get_or_insert(*bytes));
        }
        writes
    }

    /// Answers [`Shards::poll_writes`]: whether every step was done. If not, each may have been or not.
    pub fn handle_written(&mut self, done: bool) {
        for InFlight { number, as_of, bytes } in std::mem::take(&mut self.in_flight) {
            let Some(shard) = self.shards.get_mut(&number).filter(|_| done) else { continue };
            shard.stored_at = as_of;
            shard.stored_bytes = (bytes > 0).then_some(bytes);
        }
        self.shards.retain(|_, shard| !shard.keys.is_empty() || shard.stored_bytes.is_some());
    }

    /// Shards there are.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Nothing of it counts. What cannot be read may count, unless everything that does is newer.
    fn is_over(&self, number: Number, shard: &Shard<K>) -> bool {
        let mut counting = self.shards.iter().filter(|(_, shard)| !shard.keys.is_empty());
        shard.keys.is_empty()
            && (shard.is_readable || counting.next().is_some_and(|(first, _)| number < *first))
    }

    fn shard_with_room(&mut self, bytes: usize) -> Number {
        // Two brackets and one comma less than records.
        let has_room = |shard: &Shard<K>| shard.is_readable && shard.bytes + bytes + 2 <= SHARD_BYTES;
        if let Some((number, _)) = self.shards.last_key_value().filter(|(_, shard)| has_room(shard)) {
            return *number;
        }
        let number = self.next;
        self.next = number.saturating_add(1);
        self.shards.insert(number, Shard::new());
        number
    }

    fn place(&mut self, number: Number, key: K, bytes: usize) {
        if let Some(shard) = self.shards.get_mut(&number) {
            shard.keys.insert(key.clone());
            shard.bytes += bytes + 1;
            self.places.insert(key, Place { number, bytes });
        }
    }

    fn touch(&mut self, number: Number) {
        self.clock += 1;
        if let Some(shard) = self.shards.get_mut(&number) {
            shard.changed_at = self.clock;
        }
    }
}

impl<K> Shard<K> {
    fn new() -> Self {
        Self {
            keys: BTreeSet::new(),
            bytes: 0,
            stored_bytes: None,
            changed_at: 0,
            lost_at: 0,
            stored_at: 0,
            is_readable: true,
        }
    }

    fn is_changed(&self) -> bool {
        self.changed_at > self.stored_at
    }

    fn has_lost(&self) -> bool {
        self.lost_at > self.stored_at
    }

    fn size_when_stored(&self) -> usize {
        self.stored_bytes.filter(|_| !self.is_changed()).unwrap_or(self.bytes)
    }
}

impl Write {
    /// The shard it is about.
    pub fn number(&self) -> Number {
        match self {
            Self::Put { number, .. } | Self::Delete { number } => *number,
        }
    }
}

/// A record as JSON.
pub(super) fn render<T: Serialize>(record: &T) -> String {
    serde_json::to_string(record).expect("texts, numbers and maps by text always have a JSON form")
}

#[cfg(test)]
mod tests;
