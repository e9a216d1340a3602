//! When a credential is exchanged for a new one (contract, section 4).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use vworkspace_protocol::JobId;

/// Shortest age at which a credential is rotated: one that is told to be over at once must not be exchanged for ever.
const MIN_AGE: SignedDuration = SignedDuration::from_mins(1);

/// How long a stored credential is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// When it was issued, by this side's clock.
    pub issued_at: Timestamp,
    /// When it ends unless rotated, by the control plane's.
    pub expires_at: Timestamp,
}

impl Life {
    /// From here on it is to be rotated: two thirds of its life are over, and a third is left to try. Never within
    /// the first minute.
    pub fn rotates_at(&self) -> Timestamp {
        let age = self.expires_at.duration_since(self.issued_at) / 3 * 2;
        self.issued_at.saturating_add(age.max(MIN_AGE)).unwrap_or(self.expires_at)
    }

    /// Whether it is to be rotated. One that was issued later than now was so by a clock that was ahead: how old it is
    /// nobody knows. What clocks of two replicas differ by is let pass.
    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.rotates_at() || self.issued_at.duration_since(now) > MIN_AGE
    }
}

/// What to do about the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Nothing.
    No,
    /// Ask for a new one.
    Due,
    /// The wish was fulfilled before, and is still there: take it back.
    Fulfilled,
}

/// Decides. `wish` is the generation of the object in which a rotation is asked for; `fulfilled` the last such
/// generation for which one came into use, stored in the same write as the credential itself: a wish that could not be
/// taken back is never fulfilled twice. Not to be asked while a next credential is held: that rotation is under way.
pub fn rotation(life: Option<Life>, wish: Option<i64>, fulfilled: Option<i64>, now: Timestamp) -> Rotation {
    match wish {
        Some(generation) if fulfilled == Some(generation) => Rotation::Fulfilled,
        Some(_) => Rotation::Due,
        None if life.is_some_and(|life| life.is_over(now)) => Rotation::Due,
        None => Rotation::No,
    }
}

/// Decides about a job that asks for a rotation. Such jobs take effect one after the other, each until its result is
/// durable, so the last one fulfilled is all that must be remembered.
pub fn rotation_by_job(job: &JobId, fulfilled: Option<&JobId>) -> Rotation {
    if fulfilled == Some(job) { Rotation::Fulfilled } else { Rotation::Due }
}

/// Why a credential is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Two thirds of its life are over.
    Age,
    /// The Cluster object asks for it, in this generation.
    Wish(i64),
    /// This job does.
    Job(JobId),
    /// The control plane accepted a former credential and no newer one.
    CameBack,
    /// The answer to a rotation was lost, and the cluster registered again.
    RegisteredAgain,
}

/// Which wishes were fulfilled last. Stored in the same write as the credential that fulfils one: after a crash either
/// both are there or neither is. One that is dropped unused takes it along, so that its wish is due again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fulfilled {
    /// Generation of the object that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<i64>,
    /// The job that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

impl Fulfilled {
    /// What is to be stored with the credential that `cause` brought.
    #[must_use]
    pub fn by(&self, cause: &Cause) -> Self {
        match cause {
            Cause::Age | Cause::CameBack | Cause::RegisteredAgain => self.clone(),
            Cause::Wish(generation) => Self { wish: Some(*generation), ..self.clone() },
            Cause::Job(job) => Self { job: Some(job.clone()), ..self.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn life() -> Option<Life> {
        Some(Life { issued_at: at(0), expires_at: at(90) })
    }

    #[test]
    fn a_credential_rotates_at_two_thirds_of_its_life() {
        assert_eq!(rotation(life(), None, None, at(59)), Rotation::No);
        assert_eq!(rotation(life(), None, None, at(60)), Rotation::Due);
        assert_eq!(rotation(life(), None, None, at(9_000)), Rotation::Due);
        assert_eq!(rotation(None, None, None, at(9_000)), Rotation::No);
    }

    /// The clock was ahead by more than the credential's life, and is right since this process started.
    #[test]
    fn a_credential_that_was_issued_by_a_clock_that_was_ahead_is_rotated_before_it_ends() {
        let life = Some(Life { issued_at: at(9_000), expires_at: at(900) });
        assert_eq!(rotation(life, None, None, at(10)), Rotation::Due);
        let by_a_replica_with_another_clock = Some(Life { issued_at: at(50), expires_at: at(900) });
        assert_eq!(rotation(by_a_replica_with_another_clock, None, None, at(10)), Rotation::No);
    }

    #[test]
    fn a_wish_is_fulfilled_once_even_if_it_cannot_be_taken_back() {
        assert_eq!(rotation(life(), Some(3), None, at(0)), Rotation::Due);
        assert_eq!(rotation(life(), Some(3), Some(3), at(0)), Rotation::Fulfilled);
        assert_eq!(rotation(life(), Some(5), Some(3), at(0)), Rotation::Due);
    }

    #[test]
    fn a_job_rotates_once_whatever_else_rotates_in_between() {
        let job = JobId::new("j");
        let mut fulfilled = Fulfilled::default();
        assert_eq!(rotation_by_job(&job, fulfilled.job.as_ref()), Rotation::Due);
        fulfilled = fulfilled.by(&Cause::Job(job.clone())).by(&Cause::Age).by(&Cause::Wish(7));
        assert_eq!(rotation_by_job(&job, fulfilled.job.as_ref()), Rotation::Fulfilled);
        assert_eq!(rotation(life(), Some(7), fulfilled.wish, at(0)), Rotation::Fulfilled);
        assert_eq!(rotation_by_job(&JobId::new("k"), fulfilled.job.as_ref()), Rotation::Due);
    }

    #[test]
    fn a_life_that_ends_before_it_begins_does_not_rotate_in_a_hot_loop() {
        let life = Some(Life { issued_at: at(90), expires_at: at(0) });
        assert_eq!(rotation(life, None, None, at(149)), Rotation::No);
        assert_eq!(rotation(life, None, None, at(150)), Rotation::Due);
    }
}
