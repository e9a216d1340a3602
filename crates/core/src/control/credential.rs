//! Whether a cluster's bearer credential works, around rotation (contract, section 4).

use jiff::Timestamp;

/// One stored credential.
#[derive(Clone, Copy, Debug)]
pub struct Credential {
    /// End of its life.
    pub expires_at: Timestamp,
    /// False on one that rotation, or a repeated registration, issued and nobody used yet.
    pub is_used: bool,
}

/// What a presented credential is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the current one.
    Current,
    /// It is a new one, now used for the first time: all others of the cluster end.
    FirstUse,
    /// It does not work.
    Ended,
}

/// Judges a credential at `now`. One that nobody used is good for its whole life: the cluster may have stored it in the
/// place of the old one and been cut off before it could use it, for however long.
pub fn standing(credential: Credential, now: Timestamp) -> Standing {
    match credential.is_used {
        _ if credential.expires_at <= now => Standing::Ended,
        true => Standing::Current,
        false => Standing::FirstUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_works_to_its_end_whether_it_was_used_or_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (is_used, works) in [(true, Standing::Current), (false, Standing::FirstUse)] {
            let credential = Credential { expires_at: at(100), is_used };
            assert_eq!(standing(credential, at(99)), works);
            assert_eq!(standing(credential, at(100)), Standing::Ended);
        }
    }
}
