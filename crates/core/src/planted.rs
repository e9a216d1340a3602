//! Bugs planted on purpose: they show that the simulation finds what it is there to find.
//!
//! Without the feature `planted-bugs` [`planted`] is the constant `false`, and nothing of this is left in a program.
//! With it one bug is chosen by name when the simulation starts; nothing else ever chooses one.

/// A mistake that somebody could make at the place where it is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A job is acked before the journal has it.
    AckBeforeJournal = 1,
    /// A result is posted before the journal has it.
    ResultBeforeJournal,
    /// The ledger does not learn what took effect.
    ForgetLedger,
    /// A job leaves the journal before the ledger that remembers it is stored.
    LedgerNotAwaited,
    /// Jobs of one object are applied as they come.
    IgnoreLanes,
    /// No deadline ends a job.
    ForgetDeadline,
    /// Jobs are asked for before the snapshot is told.
    JobsBeforeSnapshot,
    /// Events that were not delivered are dropped.
    DropFailedBatch,
    /// The key of an event does not count the changes within one second.
    RepeatEventKey,
    /// A lease never ends.
    DropRedelivery,
    /// A lease given before the clock went back holds until the clock is there again.
    TrustOldLease,
    /// A later job for the same object is handed out while an earlier one is on its way.
    OvertakeOnTheWay,
    /// A job expires although an agent held it.
    ExpireAcked,
    /// A second result takes the place of the first.
    SecondResultCounts,
    /// An ack opens a closed job again.
    AckReopens,
    /// The old credential ends when the new one is issued.
    DiscardCredentialTooEarly,
    /// The old credential goes on working when the new one is used.
    KeepOldCredential,
    /// A new credential takes the place of the old one before it was used.
    ReplaceCredential,
    /// The exchange of a registration token cannot be repeated.
    ForgetRegistrationId,
    /// Writes are answered before they are durable.
    AnswerBeforeCommit,
    /// Nobody is woken when a job is handed in.
    LoseWakeUp,
    /// A poll does not say whose jobs it wants.
    AnyCluster,
    /// An agent may speak about every job.
    AnyJob,
    /// Events are stored as often as they come.
    StoreEventsTwice,
    /// A newer job takes the place of queued ones of every object.
    SupersedeAnyObject,
    /// A newer job supersedes queued ones from before a queued deletion of their object.
    SupersedeAcrossDelete,
    /// A deletion succeeds while the object is still going.
    DeletedAtOnce,
    /// After a cut jobs are asked for at once.
    JobsAfterCut,
    /// `Retry-After` is not kept.
    IgnoreRetryAfter,
    /// A lease ends after half its time.
    EndLeaseEarly,
    /// A registration token may be used by anybody again.
    RegisterTwice,
    /// What an earlier run of the agent acked is not offered to the next one.
    ForgetSession,
    /// Nobody is woken when a job is acked.
    LoseAckWakeUp,
    /// What is written to an object is for whatever is there.
    WriteUnconditionally,
    /// A release that Flux looks at again counts as one that starts.
    ReportFluxFlap,
    /// The control plane's clock is read off anybody's `Date`.
    BelieveAnyDate,
    /// What the control plane holds is never compared with what was reported.
    IgnoreReportDigest,
    /// What the control plane holds is compared while events are on their way.
    CompareInFlight,
    /// An end that was taken is not told again to a control plane that was set back.
    ForgetEnds,
    /// A 401 or 403 of something in between ends the conversation.
    BelieveStrangersRejection,
    /// A job is dropped when something in between answers 404.
    DropJobOnStrangers404,
    /// A result is taken as recorded when something in between answers 409.
    RecordedByStrangers409,
    /// Events are thrown away when something in between answers 400.
    BisectOnStrangers400,
    /// A batch that is too large for something in between is dropped.
    DropTooLargeBatch,
    /// Something in between may ask for a pause of an hour.
    ObeyStrangersRetryAfter,
    /// A credential that was rejected is never presented again.
    StopWhenRejected,
    /// A 403 of the control plane ends the conversation for good.
    StopWhenForbidden,
    /// A credential that was replaced is forgotten.
    ForgetFormerCredentials,
    /// A former credential that was accepted is not exchanged for another one.
    StayWithFormerCredential,
    /// Nothing says that the answer to a rotation may have been lost.
    ForgetLostRotation,
    /// A credential that the control plane rejects is rotated all the same.
    RotateWhenRejected,
    /// An answer without the echo is believed in form, though the control plane echoes.
    BelieveFormAlone,
    /// Whether the control plane echoes is not known after a restart.
    ForgetEcho,
    /// Any 2xx is a good answer, whatever it holds.
    BelieveAnySuccess,
    /// A plain v1 control plane is believed out of form at once.
    BelieveBareAnswer,
    /// A registration token is of no use any more after a 401 of something in between.
    SpendToken,
    /// A known id or key is a repetition, whatever is asked for under it.
    ReplayWhateverPayload,
    /// Two agents under one identity are both served.
    ServeBothTwins,
}

impl Bug {
    /// Every bug that can be planted.
    pub const ALL: [Self; 58] = [
        Self::AckBeforeJournal,
        Self::ResultBeforeJournal,
        Self::ForgetLedger,
        Self::LedgerNotAwaited,
        Self::IgnoreLanes,
        Self::ForgetDeadline,
        Self::JobsBeforeSnapshot,
        Self::DropFailedBatch,
        Self::RepeatEventKey,
        Self::DropRedelivery,
        Self::TrustOldLease,
        Self::OvertakeOnTheWay,
        Self::ExpireAcked,
        Self::SecondResultCounts,
        Self::AckReopens,
        Self::DiscardCredentialTooEarly,
        Self::KeepOldCredential,
        Self::ReplaceCredential,
        Self::ForgetRegistrationId,
        Self::AnswerBeforeCommit,
        Self::LoseWakeUp,
        Self::AnyCluster,
        Self::AnyJob,
        Self::StoreEventsTwice,
        Self::SupersedeAnyObject,
        Self::SupersedeAcrossDelete,
        Self::DeletedAtOnce,
        Self::JobsAfterCut,
        Self::IgnoreRetryAfter,
        Self::EndLeaseEarly,
        Self::RegisterTwice,
        Self::ForgetSession,
        Self::LoseAckWakeUp,
        Self::WriteUnconditionally,
        Self::ReportFluxFlap,
        Self::BelieveAnyDate,
        Self::IgnoreReportDigest,
        Self::CompareInFlight,
        Self::ForgetEnds,
        Self::BelieveStrangersRejection,
        Self::DropJobOnStrangers404,
        Self::RecordedByStrangers409,
        Self::BisectOnStrangers400,
        Self::DropTooLargeBatch,
        Self::ObeyStrangersRetryAfter,
        Self::StopWhenRejected,
        Self::StopWhenForbidden,
        Self::ForgetFormerCredentials,
        Self::StayWithFormerCredential,
        Self::ForgetLostRotation,
        Self::RotateWhenRejected,
        Self::BelieveFormAlone,
        Self::ForgetEcho,
        Self::BelieveAnySuccess,
        Self::BelieveBareAnswer,
        Self::SpendToken,
        Self::ReplayWhateverPayload,
        Self::ServeBothTwins,
    ];

    /// The bug of that name: the variant in kebab case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }

    /// The variant in kebab case.
    pub fn name(self) -> String {
        let mut name = String::new();
        for (place, letter) in format!("{self:?}").char_indices() {
            if letter.is_ascii_uppercase() && place > 0 {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

/// Whether this bug is planted.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub use chosen::{plant, planted};

#[cfg(feature = "planted-bugs")]
mod chosen {
    use super::Bug;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// The one that is planted; 0: none.
    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// Plants a bug in place of any other; `None` plants none.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
    }

    /// Whether this bug is planted.
    #[inline]
    pub fn planted(bug: Bug) -> bool {
        CHOSEN.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        for bug in Bug::ALL {
            assert_eq!(Bug::named(&bug.name()), Some(bug));
        }
        assert_eq!(Bug::AckBeforeJournal.name(), "ack-before-journal");
    }
}
