//! Decides the next step about the identity of a cluster (contract, section 4): register, rotate, or leave it as it is.
//!
//! Everything that bears on it is an argument of [`next_step`], and its effects are elsewhere: the answers of the control
//! plane to the credentials held, the mark of a lost rotation, the registration token, what the Cluster object records.
//!
//! The first row that fits decides:
//!
//! | credentials held | token | step |
//! |---|---|---|
//! | none | none | wait |
//! | none | any | register |
//! | any | new | register |
//! | not recorded | used or none | adopt |
//! | all refused, and the answer to a rotation was lost | used | register again, seldom, until refused for good |
//! | one that waits for its first answer | used or none | keep |
//! | the current one accepted, and a rotation due | used or none | rotate |
//! | any | used or none | keep |
//!
//! While every credential is refused the agent alone asks, seldom and in its own time (`session.rs`).

use super::{
    credentials::{Held, LostRotation, Verdicts},
    rotation::{Cause, Rotation, rotation},
};
use crate::planted::{Bug, planted};
use jiff::Timestamp;

/// The registration token that the Cluster names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// There is none, or it was rejected and its time to be tried again has not come.
    None,
    /// The one that the credentials held were exchanged for, as far as the Cluster's status records it.
    Used,
    /// Another one, or one that is to be exchanged whatever was before.
    New,
}

/// What is known when the step is decided.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The credentials held; `None` if there are none.
    pub held: Option<&'a Held>,
    /// What the control plane answered to them.
    pub verdicts: &'a Verdicts,
    /// The registration token.
    pub token: Token,
    /// Whether the Cluster's status records these credentials and this token.
    pub is_recorded: bool,
    /// Generation of the Cluster, if it asks for a rotation.
    pub wish: Option<i64>,
    /// Now.
    pub now: Timestamp,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityStep {
    /// Nothing: there is neither a credential nor a token to exchange.
    Wait,
    /// Exchange the token for an identity.
    Register,
    /// Exchange the token once more, for the same identity: a rotation's answer was lost, and every credential is refused.
    RegisterAgain,
    /// Record the credentials in the Cluster's status.
    Adopt,
    /// Ask for a new credential beside the current one.
    Rotate(Cause),
    /// Clear the request for a rotation: it was fulfilled.
    TakeBackWish,
    /// Nothing: the credentials stay as they are.
    Keep,
}

/// Why no rotation may begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// One is under way.
    UnderWay,
    /// The current credential was refused, or has not been accepted yet.
    NotAccepted,
}

/// Decides the next step; the module's table says how.
pub fn next_step(known: &Known<'_>) -> IdentityStep {
    let Some(held) = known.held else {
        return if known.token == Token::None { IdentityStep::Wait } else { IdentityStep::Register };
    };
    if known.token == Token::New {
        return IdentityStep::Register;
    }
    if !known.is_recorded {
        return IdentityStep::Adopt;
    }
    let is_lost = held.lost_rotation() == Some(LostRotation::Asked) && held.is_refused(known.verdicts);
    if is_lost && known.token == Token::Used {
        return IdentityStep::RegisterAgain;
    }
    if held.next().is_some() {
        // Its wish is fulfilled, or due again, once this rotation is settled.
        return IdentityStep::Keep;
    }
    let cause = match rotation(held.life, known.wish, held.fulfilled.wish, known.now) {
        Rotation::Fulfilled => return IdentityStep::TakeBackWish,
        Rotation::Due => Some(known.wish.map_or(Cause::Age, Cause::Wish)),
        Rotation::No => held.came_back().then_some(Cause::CameBack),
    };
    let may_begin = withheld(held, known.verdicts).is_none();
    cause.filter(|_| may_begin).map_or(IdentityStep::Keep, IdentityStep::Rotate)
}

/// Why no rotation may begin now, whoever asks for it; `None` if one may. It takes an accepted credential: a rotation with
/// one that is refused would only be one more call to a control plane that is to be asked seldom.
pub fn withheld(held: &Held, verdicts: &Verdicts) -> Option<Withheld> {
    if held.next().is_some() {
        return Some(Withheld::UnderWay);
    }
    let is_accepted = verdicts.accepts(&held.token) || planted(Bug::RotateWhenRejected);
    (!is_accepted).then_some(Withheld::NotAccepted)
}

#[cfg(test)]
mod tests;
