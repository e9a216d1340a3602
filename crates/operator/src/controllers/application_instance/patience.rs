//! How long something around a running application may be missing before that is reported.
//!
//! A label that toggles, or an API server that refuses everything while it starts, is over within seconds. What runs is
//! not touched meanwhile, so nothing is written for it.

use super::{situation::Situation, validate::Refusal};
use crate::flux::reading::Reported;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use vworkspace_protocol::condition::reasons;

/// Longer than a label toggles or an API server takes to start, shorter than anybody waits for an explanation.
const PATIENCE: Duration = Duration::from_secs(15);

/// Since when something is missing around each running application; one entry per instance that exists.
#[derive(Default)]
pub(super) struct Patience(Mutex<BTreeMap<(String, String), Instant>>);

impl Patience {
    /// How long the situation may go unreported from now; `None`: report it.
    pub(super) fn remaining(
        &self,
        instance: (&str, &str),
        reported: &Reported<'_>,
        situation: &Situation,
        now: Instant,
    ) -> Option<Duration> {
        let key = (instance.0.to_owned(), instance.1.to_owned());
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !reported.is_ready || !may_pass(situation) {
            since.remove(&key);
            return None;
        }
        let began = *since.entry(key.clone()).or_insert(now);
        let remaining = PATIENCE.saturating_sub(now.saturating_duration_since(began));
        if remaining.is_zero() {
            since.remove(&key);
            return None;
        }
        Some(remaining)
    }

    /// Forgets an instance: nothing is missing any more, or it is being deleted.
    pub(super) fn forget(&self, instance: (&str, &str)) {
        let key = (instance.0.to_owned(), instance.1.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

/// Returns `true` if the situation is about the surroundings and not about what is asked for.
fn may_pass(situation: &Situation) -> bool {
    match situation {
        Situation::Refused(refusal) => matches!(refusal, Refusal::NamespaceNotGated { .. }),
        Situation::Unavailable { reason, .. } => *reason != reasons::FIELD_CONFLICT,
        Situation::Flux(_) | Situation::Placeholder | Situation::Deleting { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: (&str, &str) = ("team", "shop");

    fn closed() -> Situation {
        Situation::Refused(Refusal::NamespaceNotGated { namespace: "team".into() })
    }

    #[test]
    fn running_application_is_given_time_when_its_gate_closes() {
        let (patience, now) = (Patience::default(), Instant::now());
        let reported = Reported { is_ready: true, is_stalled: false, running: None };
        assert_eq!(patience.remaining(SHOP, &reported, &closed(), now), Some(PATIENCE));
        let later = now + PATIENCE / 3;
        assert_eq!(patience.remaining(SHOP, &reported, &closed(), later), Some(PATIENCE - PATIENCE / 3));
        assert_eq!(patience.remaining(SHOP, &reported, &closed(), now + PATIENCE), None);
    }

    #[test]
    fn patience_starts_anew_once_the_gate_was_open() {
        let (patience, now) = (Patience::default(), Instant::now());
        let reported = Reported { is_ready: true, is_stalled: false, running: None };
        patience.remaining(SHOP, &reported, &closed(), now);
        patience.forget(SHOP);
        assert_eq!(patience.remaining(SHOP, &reported, &closed(), now + PATIENCE), Some(PATIENCE));
    }

    #[test]
    fn faults_of_the_spec_are_reported_at_once() {
        let (patience, now) = (Patience::default(), Instant::now());
        let reported = Reported { is_ready: true, is_stalled: false, running: None };
        let spec = Situation::Refused(Refusal::Spec("no"));
        let conflict = Situation::Unavailable { reason: reasons::FIELD_CONFLICT, message: String::new() };
        assert_eq!(patience.remaining(SHOP, &reported, &spec, now), None);
        assert_eq!(patience.remaining(SHOP, &reported, &conflict, now), None);
        assert_eq!(patience.remaining(SHOP, &Reported::default(), &closed(), now), None);
    }
}
