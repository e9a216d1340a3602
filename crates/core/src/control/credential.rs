//! Whether a cluster's bearer credential works, around rotation (contract, section 4).

use jiff::Timestamp;

/// One stored credential.
#[derive(Clone, Copy, Debug)]
pub struct Credential {
    /// End of its own life.
    pub expires_at: Timestamp,
    /// Set on one that rotation issued and nobody used yet: when it is dropped in favour of the old one.
    pub drop_at: Option<Timestamp>,
}

/// What a presented credential is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the current one.
    Current,
    /// It is the rotated one, now used for the first time: the old one ends.
    FirstUse,
    /// It does not work.
    Ended,
}

/// Judges a credential at `now`. `old_works` tells whether the one it is to replace still does: an unused new one
/// is dropped only while the old one works, so that a long cut never leaves a cluster with none.
pub fn standing(credential: Credential, old_works: bool, now: Timestamp) -> Standing {
    let dropped = credential.drop_at.is_some_and(|drop_at| drop_at <= now) && old_works;
    if credential.expires_at <= now || dropped {
        Standing::Ended
    } else if credential.drop_at.is_some() {
        Standing::FirstUse
    } else {
        Standing::Current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_unused_rotated_credential_is_dropped_only_while_the_old_one_works() {
        let new = Credential { expires_at: at(100), drop_at: Some(at(10)) };
        assert_eq!(standing(new, true, at(9)), Standing::FirstUse);
        assert_eq!(standing(new, true, at(10)), Standing::Ended);
        assert_eq!(standing(new, false, at(10)), Standing::FirstUse);
        assert_eq!(standing(new, false, at(100)), Standing::Ended);
    }

    #[test]
    fn a_current_credential_works_to_its_end() {
        let current = Credential { expires_at: at(100), drop_at: None };
        assert_eq!(standing(current, false, at(99)), Standing::Current);
        assert_eq!(standing(current, false, at(100)), Standing::Ended);
    }
}
