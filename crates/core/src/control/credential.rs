//! Whether a cluster's bearer credential works, around rotation (contract, section 4).

use jiff::Timestamp;
use std::time::Duration;

/// How long a credential that rotation gave waits for its first use (contract, section 4). Then it is dropped.
pub const UNUSED_LIFE: Duration = Duration::from_hours(24);

/// One stored credential.
#[derive(Clone, Copy, Debug)]
pub struct Credential {
    /// End of its life.
    pub expires_at: Timestamp,
    /// Whether it was used.
    pub usage: Usage,
}

/// Whether a credential was used, and what becomes of one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It is the current one.
    Used,
    /// A repeated registration gave it. It is good for its whole life, because who registers holds one answer, and
    /// nothing beside it.
    Registered,
    /// Rotation gave it. Its cluster holds the current one, too, so it need not wait for its first use for ever.
    Rotated {
        /// When it is dropped.
        drop_at: Timestamp,
    },
}

/// What a presented credential is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the current one.
    Current,
    /// It is a new one, now used for the first time: all others of the cluster end.
    FirstUse,
    /// It came too late to its first use. That is final: it is to be forgotten before its holder is told, who goes back
    /// to the current one then. Should the clock be set back, no earlier message that is still on its way may use it.
    Dropped,
    /// It does not work.
    Ended,
}

/// Judges a credential at `now`.
pub fn standing(credential: Credential, now: Timestamp) -> Standing {
    match credential.usage {
        Usage::Rotated { drop_at } if drop_at <= now => Standing::Dropped,
        _ if credential.expires_at <= now => Standing::Ended,
        Usage::Used => Standing::Current,
        Usage::Registered | Usage::Rotated { .. } => Standing::FirstUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn judged(usage: Usage, second: i64) -> Standing {
        standing(Credential { expires_at: at(100), usage }, at(second))
    }

    #[test]
    fn a_credential_that_was_used_or_registered_with_works_to_its_end() {
        for (usage, works) in [(Usage::Used, Standing::Current), (Usage::Registered, Standing::FirstUse)] {
            assert_eq!(judged(usage, 99), works);
            assert_eq!(judged(usage, 100), Standing::Ended);
        }
    }

    #[test]
    fn a_rotated_credential_that_is_not_used_in_time_is_dropped() {
        let usage = Usage::Rotated { drop_at: at(24) };
        assert_eq!(judged(usage, 23), Standing::FirstUse);
        assert_eq!(judged(usage, 24), Standing::Dropped);
        assert_eq!(judged(Usage::Rotated { drop_at: at(200) }, 100), Standing::Ended);
    }
}
