//! Wake hints: who waits for what, in memory.
//!
//! A waiter takes its [`Seat`] **before** it looks into the store and sleeps only afterwards. A hint that falls
//! between the two is kept by the seat, so nothing is missed and nobody polls the database:
//!
//! ```text
//!   poll:     take seat ─── look: nothing ─── sleep ········ woken ─── look: a job
//!   enqueue:                              commit ─── wake ──┘
//! ```
//!
//! A hint carries no data and may come for nothing: whoever is woken looks again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// The waiters of one kind of thing, by its key.
///
/// Bounds: `per_key` seats for one key, where one more displaces the oldest (its owner has most likely gone and
/// not noticed yet); `total` seats in all, where one more is not given.
pub struct Waiters<K> {
    table: Arc<Mutex<Table<K>>>,
    per_key: usize,
    total: usize,
}

struct Table<K> {
    places: BTreeMap<K, VecDeque<Place>>,
    taken: usize,
    next_number: u64,
}

struct Place {
    number: u64,
    hint: Arc<Hint>,
}

#[derive(Default)]
struct Hint {
    notify: Notify,
    displaced: AtomicBool,
}

/// What ended a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There may be something new.
    Hint,
    /// A newer waiter took the seat; answer what you have.
    Displaced,
}

impl<K: Ord + Clone> Waiters<K> {
    /// No waiters yet; see the type for the bounds.
    pub fn new(per_key: usize, total: usize) -> Self {
        let table = Table { places: BTreeMap::new(), taken: 0, next_number: 0 };
        Self { table: Arc::new(Mutex::new(table)), per_key, total }
    }

    /// Takes a seat. `None` when all seats are taken.
    pub fn sit(&self, key: &K) -> Option<Seat<K>> {
        let hint = Arc::new(Hint::default());
        let mut table = lock(&self.table);
        if table.taken >= self.total {
            return None;
        }
        let number = table.next_number;
        table.next_number += 1;
        table.taken += 1;
        let places = table.places.entry(key.clone()).or_default();
        places.push_back(Place { number, hint: hint.clone() });
        if places.len() > self.per_key
            && let Some(oldest) = places.pop_front()
        {
            oldest.hint.displaced.store(true, Ordering::Release);
            oldest.hint.notify.notify_one();
            table.taken -= 1;
        }
        Some(Seat { table: self.table.clone(), key: key.clone(), number, hint })
    }

    /// Wakes everybody who waits for `key`.
    pub fn wake(&self, key: &K) {
        for place in lock(&self.table).places.get(key).into_iter().flatten() {
            place.hint.notify.notify_one();
        }
    }

    /// Wakes everybody who waits for `key` when it is dropped. To be held over a write: when the caller goes away
    /// meanwhile, the write happens all the same. The hint then comes before the commit, and whoever is woken looks after
    /// it: a poll by queueing a write of its own, a watch by waiting for the writer first.
    pub fn waking(&self, key: &K) -> Waking<'_, K> {
        Waking { waiters: self, key: key.clone() }
    }

    /// Whether anybody waits for `key`.
    pub fn is_waiting(&self, key: &K) -> bool {
        lock(&self.table).places.contains_key(key)
    }

    /// How many seats are taken.
    pub fn taken(&self) -> usize {
        lock(&self.table).taken
    }
}

/// A hint that is given in any case, see [`Waiters::waking`].
pub struct Waking<'w, K: Ord + Clone> {
    waiters: &'w Waiters<K>,
    key: K,
}

impl<K: Ord + Clone> Drop for Waking<'_, K> {
    fn drop(&mut self) {
        self.waiters.wake(&self.key);
    }
}

/// One waiter's place; given back when dropped.
pub struct Seat<K: Ord> {
    table: Arc<Mutex<Table<K>>>,
    key: K,
    number: u64,
    hint: Arc<Hint>,
}

impl<K: Ord> Seat<K> {
    /// Sleeps until woken. A hint given since the seat was taken, or since the last wake, returns at once.
    pub async fn woken(&self) -> Woken {
        self.hint.notify.notified().await;
        if self.hint.displaced.load(Ordering::Acquire) { Woken::Displaced } else { Woken::Hint }
    }
}

impl<K: Ord> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        let Some(places) = table.places.get_mut(&self.key) else {
            return;
        };
        let before = places.len();
        places.retain(|place| place.number != self.number);
        let given_back = before - places.len();
        if places.is_empty() {
            table.places.remove(&self.key);
        }
        table.taken -= given_back;
    }
}

/// The table stays whole whatever a panicking thread did: each change is a few infallible steps.
fn lock<K>(table: &Mutex<Table<K>>) -> MutexGuard<'_, Table<K>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_hint_before_the_sleep_is_not_lost() {
        let waiters = Waiters::new(4, 10);
        let seat = waiters.sit(&"c").unwrap();
        waiters.wake(&"c");
        waiters.wake(&"other");
        assert_eq!(seat.woken().now_or_never(), Some(Woken::Hint));
        assert_eq!(seat.woken().now_or_never(), None);
    }

    #[test]
    fn one_seat_too_many_displaces_the_oldest() {
        let waiters = Waiters::new(2, 10);
        let seats: Vec<_> = (0..3).filter_map(|_| waiters.sit(&"c")).collect();
        assert_eq!(seats[0].woken().now_or_never(), Some(Woken::Displaced));
        assert_eq!(seats[1].woken().now_or_never(), None);
        assert_eq!(waiters.taken(), 2);
    }

    #[test]
    fn seats_are_given_back_and_bounded_in_all() {
        let waiters = Waiters::new(2, 2);
        let (a, b) = (waiters.sit(&"a").unwrap(), waiters.sit(&"b").unwrap());
        assert!(waiters.sit(&"c").is_none());
        drop(a);
        assert!(!waiters.is_waiting(&"a") && waiters.is_waiting(&"b"));
        assert!(waiters.sit(&"c").is_some());
        drop(b);
        assert_eq!(waiters.taken(), 0);
    }
}
