//! What the API server's access reviews say about the operator's rights in one namespace.
//!
//! One refusal may be a moment's: a role that is being bound, an authorizer that is restarted. Jobs fail only after two
//! refusals that are at least [`CONFIRM_AFTER`] apart, with no permission in between.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Shortest time between the first refusal and the one that confirms it.
pub const CONFIRM_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// What the operator may do in a namespace, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// No review was answered yet.
    #[default]
    Unknown,
    /// The last review said yes.
    Granted,
    /// A review said no, which is not confirmed yet.
    Refused,
    /// Reviews said no at least twice, [`CONFIRM_AFTER`] apart.
    Confirmed,
}

impl Standing {
    /// Returns whether the last review said no.
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Refused | Self::Confirmed)
    }
}

/// The answers for one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceAccess {
    standing: Standing,
    refused_since: Option<Timestamp>,
    answered_at: Option<Timestamp>,
}

impl NamespaceAccess {
    /// Records a review's answer and returns what it leads to.
    pub fn handle_answer(&mut self, allowed: bool, now: Timestamp) -> Standing {
        self.answered_at = Some(now);
        if allowed {
            (self.standing, self.refused_since) = (Standing::Granted, None);
            return self.standing;
        }
        let since = *self.refused_since.get_or_insert(now);
        let is_confirmed = self.standing == Standing::Confirmed || now.duration_since(since) >= CONFIRM_AFTER;
        self.standing = if is_confirmed { Standing::Confirmed } else { Standing::Refused };
        self.standing
    }

    /// What is known.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Returns whether the last answer is younger than `age`.
    pub fn is_fresh(&self, now: Timestamp, age: Duration) -> bool {
        let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
        self.answered_at.is_some_and(|at| now.duration_since(at) < age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn standings(answers: &[(bool, i64)]) -> Vec<Standing> {
        let mut access = NamespaceAccess::default();
        answers.iter().map(|&(allowed, at)| access.handle_answer(allowed, second(at))).collect()
    }

    #[test]
    fn refusal_is_confirmed_by_another_ten_seconds_later() {
        use Standing::{Confirmed, Refused};
        assert_eq!(standings(&[(false, 0), (false, 9), (false, 10)]), [Refused, Refused, Confirmed]);
        assert_eq!(standings(&[(false, 0), (false, 600), (false, 601)]), [Refused, Confirmed, Confirmed]);
    }

    #[test]
    fn permission_in_between_starts_the_count_again() {
        use Standing::{Confirmed, Granted, Refused};
        let answers = [(false, 0), (true, 5), (false, 11), (false, 20), (false, 21)];
        assert_eq!(standings(&answers), [Refused, Granted, Refused, Refused, Confirmed]);
        assert_eq!(standings(&[(false, 0), (false, 10), (true, 11)]).last(), Some(&Granted));
    }

    #[test]
    fn answers_age() {
        let (mut access, age) = (NamespaceAccess::default(), Duration::from_secs(10));
        assert!(!access.is_fresh(second(0), age));
        access.handle_answer(false, second(0));
        assert!(access.is_fresh(second(9), age) && !access.is_fresh(second(10), age));
    }
}
