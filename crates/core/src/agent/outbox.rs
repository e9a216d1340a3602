//! Events waiting for delivery: batches, coalescing, overflow, poison (contract, section 3).

use crate::{
    agent::transition::News,
    planted::{Bug, planted},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeSet, VecDeque};
use vworkspace_protocol::{
    event::{Event, EventsRequest},
    limits::EVENTS_PER_BATCH,
};

/// Most events that wait; see [`EventBatcher`] for what happens beyond.
pub const MAX_WAITING: usize = 1_000;
/// Longest time an event waits for company.
pub const FLUSH_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// The agent's outbox.
///
/// A batch goes out when 100 events wait or the oldest has waited for 1 s; what remains then follows at once. When
/// [`MAX_WAITING`] is reached, older events of a condition give way to its newest; if every condition is there only
/// once, the oldest event is dropped and counted. One batch at a time is on its way.
#[derive(Debug, Default)]
pub struct EventBatcher {
    waiting: VecDeque<News>,
    in_flight: Vec<News>,
    flush_at: Option<Timestamp>,
    /// A larger batch was too large for somebody on the way.
    most: BatchSize,
    /// So many events at the head hold at least one that the control plane refuses to read.
    suspects: usize,
    dropped: u64,
    poisoned: u64,
    added: u64,
    overflowing: bool,
}

/// Most events of the next batch: halves when one is too large, and doubles when one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BatchSize(usize);

impl Default for BatchSize {
    fn default() -> Self {
        Self(EVENTS_PER_BATCH)
    }
}

/// What became of the batch on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Taken.
    Taken,
    /// Not taken now; the same events may be taken later.
    Failed,
    /// Too large for the control plane or a proxy: fewer of the same events may be taken. A single one is kept, too.
    TooLarge,
    /// Refused as unreadable: at least one event in it never will be taken.
    Refused,
}

impl EventBatcher {
    /// Adds an event.
    pub fn handle_event(&mut self, news: News, now: Timestamp) {
        self.flush_at.get_or_insert_with(|| now.saturating_add(FLUSH_INTERVAL).unwrap_or(now));
        self.added += 1;
        self.waiting.push_back(news);
        self.keep_bound();
    }

    /// Adds an event of a snapshot, unless its condition's newest event here says the same already: snapshots that
    /// could not be delivered do not pile up.
    pub fn handle_snapshot(&mut self, news: News, now: Timestamp) {
        let mut newest_first = self.waiting.iter().rev().chain(self.in_flight.iter().rev());
        let newest = newest_first.find(|other| other.slot == news.slot);
        if newest.is_none_or(|waiting| waiting.event.event_key != news.event.event_key) {
            self.handle_event(news, now);
        }
    }

    /// Asks that everything waiting goes out now.
    pub fn handle_flush(&mut self, now: Timestamp) {
        if !self.waiting.is_empty() {
            self.flush_at = Some(now);
        }
    }

    /// The next batch, if one is due and none is on its way; only events that need no more than is `stored`, in order.
    /// Answer with [`EventBatcher::handle_delivery`].
    pub fn poll_batch(&mut self, now: Timestamp, stored: u64) -> Option<EventsRequest> {
        if self.is_held(stored) || self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        let n = self.waiting.iter().take(self.batch_size()).take_while(|news| news.needs <= stored).count();
        self.in_flight = self.waiting.drain(..n).collect();
        Some(EventsRequest { events: self.in_flight.iter().map(|news| news.event.clone()).collect() })
    }

    /// Whether the first event that waits needs more than is `stored`.
    pub fn is_held(&self, stored: u64) -> bool {
        self.waiting.front().is_some_and(|news| news.needs > stored)
    }

    /// The batch on its way.
    pub fn in_flight(&self) -> impl Iterator<Item = &Event> {
        self.in_flight.iter().map(|news| &news.event)
    }

    /// What became of the batch. Gives back the poison event, once it is found alone; it is gone from here.
    pub fn handle_delivery(&mut self, delivery: Delivery, now: Timestamp) -> Option<Event> {
        let batch = std::mem::take(&mut self.in_flight);
        let n = batch.len();
        let poison = match delivery {
            Delivery::Taken => {
                self.suspects = self.suspects.saturating_sub(n);
                self.most = BatchSize(self.most.0.saturating_mul(2).min(EVENTS_PER_BATCH));
                None
            }
            Delivery::TooLarge if planted(Bug::DropTooLargeBatch) => None,
            Delivery::TooLarge => {
                self.most = BatchSize((n / 2).max(1));
                self.put_back(batch);
                None
            }
            Delivery::Failed if planted(Bug::DropFailedBatch) => None,
            Delivery::Failed => {
                self.put_back(batch);
                None
            }
            Delivery::Refused if n == 1 => {
                self.suspects = 0;
                self.poisoned += 1;
                batch.into_iter().next().map(|news| news.event)
            }
            Delivery::Refused => {
                self.put_back(batch);
                self.suspects = n;
                None
            }
        };
        if self.waiting.is_empty() {
            self.flush_at = None;
            self.overflowing &= delivery != Delivery::Taken;
        } else {
            self.flush_at = Some(now);
        }
        poison
    }

    /// When the next batch is due; absent while one is on its way or nothing waits.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if !self.in_flight.is_empty() || self.waiting.is_empty() {
            None
        } else if self.waiting.len() >= EVENTS_PER_BATCH {
            Some(Timestamp::MIN)
        } else {
            self.flush_at
        }
    }

    /// Events here, the batch on its way included.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Whether there is nothing to deliver.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events added so far: equal numbers at two moments mean that nothing was added in between.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// Events dropped so far for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Events the control plane could never read, so far.
    pub fn poisoned(&self) -> u64 {
        self.poisoned
    }

    /// Whether events were dropped since the outbox was last empty.
    pub fn is_overflowing(&self) -> bool {
        self.overflowing
    }

    fn batch_size(&self) -> usize {
        match self.suspects {
            0 => self.most.0,
            n => n.div_ceil(2).min(self.most.0),
        }
    }

    fn put_back(&mut self, batch: Vec<News>) {
        for news in batch.into_iter().rev() {
            self.waiting.push_front(news);
        }
        self.keep_bound();
    }

    fn keep_bound(&mut self) {
        if self.waiting.len() <= MAX_WAITING {
            return;
        }
        self.coalesce();
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
            self.overflowing = true;
        }
        // The head may be another one now: look for poison from the start.
        self.suspects = 0;
    }

    /// Keeps the newest event of every slot.
    fn coalesce(&mut self) {
        let mut seen = BTreeSet::new();
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        while let Some(news) = self.waiting.pop_back() {
            if seen.insert(news.slot.clone()) {
                kept.push_front(news);
            }
        }
        self.waiting = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::transition::Slot;
    use proptest::prelude::*;
    use vworkspace_protocol::ObjectRef;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn event(object: usize, key: usize) -> News {
        let resource_ref = ObjectRef { uid: object.to_string(), ..ObjectRef::default() };
        let event = Event {
            event_key: key.to_string(),
            kind: "ConditionTransition".into(),
            resource_ref: resource_ref.clone(),
            conditions: Vec::new(),
            operator_version: String::new(),
            kubernetes_version: String::new(),
            sequence: 0,
            timestamp: None,
        };
        News { slot: Slot::new(&resource_ref, "Ready"), event, needs: 0 }
    }

    fn filled(n: usize) -> EventBatcher {
        let mut outbox = EventBatcher::default();
        for i in 0..n {
            outbox.handle_event(event(i, i), at(0));
        }
        outbox
    }

    fn keys(batch: &EventsRequest) -> Vec<usize> {
        batch.events.iter().map(|event| event.event_key.parse().unwrap()).collect()
    }

    #[test]
    fn a_batch_goes_out_after_a_second_or_at_a_hundred() {
        let mut outbox = filled(99);
        assert!(outbox.poll_batch(at(999), 0).is_none());
        assert_eq!(outbox.poll_batch(at(1_000), 0).unwrap().events.len(), 99);
        assert_eq!(filled(100).poll_batch(at(0), 0).unwrap().events.len(), 100);
    }

    #[test]
    fn the_rest_is_drained_at_once() {
        let mut outbox = filled(150);
        outbox.poll_batch(at(0), 0).unwrap();
        outbox.handle_delivery(Delivery::Taken, at(1));
        assert_eq!(outbox.poll_batch(at(1), 0).unwrap().events.len(), 50);
    }

    #[test]
    fn a_failed_batch_goes_back_to_the_head() {
        let mut outbox = filled(3);
        outbox.handle_flush(at(0));
        let first = outbox.poll_batch(at(0), 0).unwrap();
        outbox.handle_event(event(9, 9), at(0));
        outbox.handle_delivery(Delivery::Failed, at(1));
        assert_eq!(keys(&first), [0, 1, 2]);
        assert_eq!(keys(&outbox.poll_batch(at(2), 0).unwrap()), [0, 1, 2, 9]);
    }

    #[test]
    fn batch_too_large_is_halved_and_loses_nothing() {
        let mut outbox = filled(100);
        let mut sizes = Vec::new();
        while let Some(batch) = outbox.poll_batch(at(0), 0) {
            let n = batch.events.len();
            sizes.push(n);
            let delivery = if n > 20 { Delivery::TooLarge } else { Delivery::Taken };
            assert!(outbox.handle_delivery(delivery, at(0)).is_none());
        }
        assert_eq!(sizes, [100, 50, 25, 12, 24, 12, 24, 12, 24, 12, 24, 12, 24, 12, 24, 12, 16]);
        assert_eq!(sizes.iter().filter(|n| **n <= 20).sum::<usize>(), 100);
    }

    #[test]
    fn single_event_too_large_is_kept() {
        let mut outbox = filled(1);
        for _ in 0..9 {
            outbox.handle_flush(at(0));
            assert_eq!(outbox.poll_batch(at(0), 0).unwrap().events.len(), 1);
            assert!(outbox.handle_delivery(Delivery::TooLarge, at(0)).is_none());
        }
        assert_eq!((outbox.len(), outbox.poisoned()), (1, 0));
    }

    #[test]
    fn snapshots_do_not_pile_up() {
        let mut outbox = filled(3);
        for key in [1, 1, 7, 7, 1] {
            outbox.handle_snapshot(event(1, key), at(0));
        }
        outbox.handle_flush(at(0));
        assert_eq!(keys(&outbox.poll_batch(at(0), 0).unwrap()), [0, 1, 2, 7, 1]);
    }

    #[test]
    fn the_newest_of_a_condition_wins_before_anything_is_dropped() {
        let mut outbox = filled(MAX_WAITING);
        outbox.handle_event(event(0, 5_000), at(0));
        assert_eq!((outbox.len(), outbox.dropped(), outbox.is_overflowing()), (MAX_WAITING, 0, false));
        outbox.handle_event(event(MAX_WAITING, 6_000), at(0));
        assert_eq!((outbox.len(), outbox.dropped(), outbox.is_overflowing()), (MAX_WAITING, 1, true));
        assert_eq!(keys(&outbox.poll_batch(at(0), 0).unwrap())[0], 2);
        while outbox.handle_delivery(Delivery::Taken, at(0)).is_none()
            && outbox.poll_batch(at(0), 0).is_some()
        {}
        assert!(outbox.is_empty() && !outbox.is_overflowing());
    }

    #[test]
    fn an_event_waits_until_what_it_needs_is_stored_and_keeps_its_place() {
        let mut outbox = EventBatcher::default();
        for (key, needs) in [(0, 0), (1, 2), (2, 0), (3, 3)] {
            outbox.handle_event(News { needs, ..event(key, key) }, at(0));
        }
        outbox.handle_flush(at(0));
        assert_eq!(keys(&outbox.poll_batch(at(0), 1).unwrap()), [0]);
        outbox.handle_delivery(Delivery::Taken, at(0));
        assert!(outbox.is_held(1) && outbox.poll_batch(at(0), 1).is_none());
        assert_eq!(keys(&outbox.poll_batch(at(0), 2).unwrap()), [1, 2]);
        outbox.handle_delivery(Delivery::Failed, at(0));
        assert_eq!(keys(&outbox.poll_batch(at(0), 3).unwrap()), [1, 2, 3]);
    }

    proptest! {
        /// Whatever events are poison, they are isolated and everything else is delivered once, in order.
        #[test]
        fn poison_is_isolated_and_the_rest_goes_through(n in 1usize..250, bad in proptest::collection::btree_set(0usize..250, 0..5)) {
            let mut outbox = filled(n);
            let (mut delivered, mut poison, mut posts) = (Vec::new(), Vec::new(), 0);
            outbox.handle_flush(at(0));
            while let Some(batch) = outbox.poll_batch(at(0), 0) {
                posts += 1;
                let batch = keys(&batch);
                if batch.iter().any(|key| bad.contains(key)) {
                    let found = outbox.handle_delivery(Delivery::Refused, at(0));
                    poison.extend(found.map(|event| event.event_key.parse::<usize>().unwrap()));
                } else {
                    outbox.handle_delivery(Delivery::Taken, at(0));
                    delivered.extend(batch);
                }
                prop_assert!(posts < 100);
            }
            let expected: Vec<usize> = (0..n).filter(|key| !bad.contains(key)).collect();
            let expected_poison: Vec<usize> = bad.into_iter().filter(|key| *key < n).collect();
            prop_assert_eq!(delivered, expected);
            prop_assert_eq!(outbox.poisoned(), expected_poison.len() as u64);
            prop_assert_eq!(poison, expected_poison);
            prop_assert!(outbox.is_empty());
        }
    }
}
