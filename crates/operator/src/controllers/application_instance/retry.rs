//! How soon an instance is looked at again without an event.

use super::situation::Situation;
use crate::flux::reading::Progress;
use kube::runtime::controller::Action;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use vworkspace_protocol::condition::reasons;

/// Everything is watched; the timer only makes up for what a watch might miss.
const AT_REST: Duration = Duration::from_secs(600);
/// While something is under way.
const UNDER_WAY: Duration = Duration::from_secs(60);
/// While something around the instance is missing, of which no watch tells.
const ENVIRONMENT: Duration = Duration::from_secs(10);
/// First and longest delay after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

/// When to look again at an instance in this situation.
pub(super) fn action(situation: &Situation) -> Action {
    Action::requeue(match situation {
        Situation::Flux(reading) => match reading.progress {
            Progress::Done { .. }
            | Progress::Resting
            | Progress::Failed { .. }
            | Progress::SourceStalled { .. }
            | Progress::Suspended => AT_REST,
            Progress::Starting { .. }
            | Progress::SourceFailing { .. }
            | Progress::Waiting { .. }
            | Progress::Retrying { .. } => UNDER_WAY,
        },
        Situation::Unavailable { reason, .. } if *reason == reasons::FIELD_CONFLICT => AT_REST,
        // A change of the rights wakes the instance.
        Situation::Unavailable { reason, .. } if *reason == reasons::NAMESPACE_NOT_AUTHORIZED => UNDER_WAY,
        Situation::Unavailable { .. } | Situation::Deleting { .. } => ENVIRONMENT,
        Situation::Refused(_) | Situation::Placeholder => AT_REST,
    })
}

/// Consecutive failures per instance; an instance that succeeds or goes away is forgotten.
#[derive(Default)]
pub(super) struct Failures(Mutex<BTreeMap<(String, String), u32>>);

impl Failures {
    /// Counts one more and says how long to wait.
    pub(super) fn count(&self, namespace: &str, name: &str) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((namespace.to_owned(), name.to_owned())).or_default();
        *count = count.saturating_add(1);
        delay(*count)
    }

    /// Starts again at nought.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&(namespace.to_owned(), name.to_owned()));
    }
}

fn delay(failures: u32) -> Duration {
    let (first, longest) = BACKOFF;
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute() {
        let failures = Failures::default();
        assert_eq!(failures.count("a", "b"), Duration::from_millis(250));
        assert_eq!(failures.count("a", "b"), Duration::from_millis(500));
        failures.forget("a", "b");
        assert_eq!(failures.count("a", "b"), Duration::from_millis(250));
        assert_eq!(delay(u32::MAX), Duration::from_secs(60));
    }
}
