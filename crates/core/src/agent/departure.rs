//! How a cluster leaves its control plane (contract, section 4).

use super::session::Failure;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How long the end of the Cluster object is held up for a control plane that cannot be told.
pub const TELL_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// What one try may take at least, however long ago the object was deleted: the operator may not have run since, or its
/// clock may be ahead, and a control plane that is there answers within it.
pub const TRY_FOR: Duration = Duration::from_secs(10);

/// What follows from an answer to the decommission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Every credential of the cluster is dead.
    Told,
    /// This credential is dead, and so is every other, unless the cluster holds one more: an answer to an earlier try may
    /// have been lost, or this is a new credential that was dropped and the old one stays.
    Dead,
    /// The control plane will not end it, now or later: it lives until it expires, or somebody revokes it there.
    Refused,
    /// Tell it again, after this time if it was asked for.
    Again(Option<Duration>),
}

/// Decides about one credential; where it is dead, the next one that the cluster holds is to be tried.
pub fn departure(answer: Result<(), Failure>) -> Departure {
    match answer {
        Ok(()) => Departure::Told,
        Err(Failure::Unauthorized) => Departure::Dead,
        Err(Failure::Forbidden | Failure::NotFound | Failure::Closed | Failure::Refused) => {
            Departure::Refused
        }
        Err(Failure::TooLarge) => Departure::Again(None),
        Err(
            Failure::IdentityConflict { retry_after }
            | Failure::RateLimited { retry_after }
            | Failure::Unavailable { retry_after },
        ) => Departure::Again(retry_after),
    }
}

/// The answers to the decommission, one credential of the cluster after the other; `P` says why one was refused.
///
/// A credential that is dead proves nothing about the others: a control plane that forbids the current one, or does not
/// know the route at all, keeps it, although a former one is dead.
#[derive(Debug)]
pub struct Farewell<P> {
    refusal: Option<P>,
}

/// How a farewell ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left<P> {
    /// Every credential of the cluster is dead.
    Decommissioned,
    /// The control plane was not told, or has refused: a credential may live on.
    NotDecommissioned(P),
    /// Tell it again, after this time if it was asked for.
    Again(Option<Duration>, P),
}

impl<P> Default for Farewell<P> {
    fn default() -> Self {
        Self { refusal: None }
    }
}

impl<P> Farewell<P> {
    /// The control plane answered to one credential; `None`: the next one is tried. `may_wait` is whether there is time for
    /// another try.
    pub fn handle_answer(&mut self, departure: Departure, problem: P, may_wait: bool) -> Option<Left<P>> {
        match departure {
            Departure::Told => Some(Left::Decommissioned),
            Departure::Dead => None,
            Departure::Refused => {
                self.refusal.get_or_insert(problem);
                None
            }
            Departure::Again(asked) if may_wait => Some(Left::Again(asked, problem)),
            Departure::Again(_) => Some(Left::NotDecommissioned(problem)),
        }
    }

    /// No credential is left to try.
    pub fn finish(self) -> Left<P> {
        self.refusal.map_or(Left::Decommissioned, Left::NotDecommissioned)
    }
}

/// Since when a Cluster object is known to be deleted, by the clock of this process.
#[derive(Debug, Default)]
pub struct SeenDeleted {
    /// The object, by its uid, and when it was first seen so. One at a time: another takes its place.
    first: Option<(String, Timestamp)>,
}

impl SeenDeleted {
    /// From here on the object goes whether the control plane was told or not: a minute after its deletion, by the API
    /// server's clock, and no later than a minute after this process first saw it, should our clock be behind.
    pub fn gives_up_at(&mut self, uid: &str, deleted_at: Timestamp, now: Timestamp) -> Timestamp {
        let first = self.first.take().filter(|(known, _)| known == uid);
        let (uid, seen) = first.unwrap_or_else(|| (uid.to_owned(), now));
        self.first = Some((uid, seen));
        let since = deleted_at.min(seen);
        since.saturating_add(TELL_WITHIN).unwrap_or(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let asked = Some(Duration::from_secs(3));
        for (status, departure_is) in [
            (401, Departure::Dead),
            (403, Departure::Refused),
            (404, Departure::Refused),
            (405, Departure::Refused),
            (409, Departure::Refused),
            (429, Departure::Again(asked)),
            (500, Departure::Again(asked)),
            (503, Departure::Again(asked)),
        ] {
            assert_eq!(departure(Err(Failure::of_status(status, asked))), departure_is, "{status}");
        }
        assert_eq!(departure(Ok(())), Departure::Told);
    }

    /// The end of a farewell with these answers, the current credential's first.
    fn farewell(answers: &[(Departure, &'static str)], may_wait: bool) -> Left<&'static str> {
        let mut farewell = Farewell::default();
        let ended = answers.iter().find_map(|(answer, why)| farewell.handle_answer(*answer, *why, may_wait));
        ended.unwrap_or_else(|| farewell.finish())
    }

    #[test]
    fn refusal_is_remembered_when_a_former_credential_is_dead() {
        use Departure::{Dead, Refused, Told};
        for (answers, left) in [
            (vec![(Dead, "a"), (Dead, "b")], Left::Decommissioned),
            (vec![(Dead, "a"), (Told, "b")], Left::Decommissioned),
            (vec![(Refused, "a"), (Told, "b")], Left::Decommissioned),
            (vec![(Refused, "a")], Left::NotDecommissioned("a")),
            (vec![(Refused, "a"), (Dead, "b")], Left::NotDecommissioned("a")),
            (vec![(Dead, "a"), (Refused, "b"), (Refused, "c")], Left::NotDecommissioned("b")),
        ] {
            assert_eq!(farewell(&answers, true), left, "{answers:?}");
        }
    }

    #[test]
    fn answer_that_may_pass_is_waited_for_while_there_is_time() {
        let asked = Some(Duration::from_secs(3));
        let answers = [(Departure::Refused, "a"), (Departure::Again(asked), "b")];
        assert_eq!(farewell(&answers, true), Left::Again(asked, "b"));
        assert_eq!(farewell(&answers, false), Left::NotDecommissioned("b"));
    }

    #[test]
    fn an_unreachable_control_plane_holds_the_end_up_for_a_minute() {
        let mut seen = SeenDeleted::default();
        assert_eq!(seen.gives_up_at("u", at(0), at(10)), at(60));
        assert_eq!(seen.gives_up_at("u", at(0), at(50)), at(60));
    }

    #[test]
    fn a_clock_that_is_behind_the_api_servers_holds_the_end_up_no_longer() {
        let mut seen = SeenDeleted::default();
        let hour = 3600;
        assert_eq!(seen.gives_up_at("u", at(hour), at(10)), at(70));
        assert_eq!(
            seen.gives_up_at("u", at(hour), at(69)),
            at(70),
            "it is counted from when it was first seen"
        );
        assert_eq!(
            seen.gives_up_at("v", at(hour), at(100)),
            at(160),
            "another object has a minute of its own"
        );
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
}
