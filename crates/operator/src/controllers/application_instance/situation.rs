//! Where an instance stands, and the conditions that tell it: the table of the contract, section 7, row by row.

use super::validate::Refusal;
use crate::{
    conditions,
    flux::reading::{Drift, Progress, Reading},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use vworkspace_protocol::{
    ConditionStatus,
    condition::{reasons, types},
};

/// Flux's reason for reconciling between two tries; told steadily, where Flux flips between two reasons.
const WITH_RETRY: &str = "ProgressingWithRetry";

/// Where an instance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Flux has it in hand.
    Flux(Reading),
    /// A rule of ours, or of the API server, stands against it.
    Refused(Refusal),
    /// Something around it is missing; tried again by itself.
    Unavailable {
        /// `DependencyMissing`, `AccessDenied`, `NamespaceNotAuthorized` or `FieldConflict`.
        reason: &'static str,
        /// What, for people.
        message: String,
    },
    /// Nothing is to be installed.
    Placeholder,
    /// Waiting for the release to be gone.
    Deleting {
        /// What is waited for.
        message: String,
    },
}

/// The conditions after `before`, for one generation of the instance.
///
/// # Guarantees
/// The same situation gives the same conditions: telling it twice changes nothing.
pub fn conditions(
    before: &[Condition],
    situation: &Situation,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut table = Table { conditions: before.to_vec(), generation, now };
    match situation {
        Situation::Flux(reading) => {
            table.progress(&reading.progress);
            table.drift(reading.drift.as_ref());
        }
        Situation::Refused(refusal) => {
            let message = refusal.to_string();
            table.standing_still(reasons::VALIDATION_FAILED, &message);
            table.set(types::BLOCKED, true, refusal.rule(), &message);
        }
        Situation::Unavailable { reason, message } => {
            table.standing_still(reason, message);
            table.set(types::BLOCKED, true, reason, message);
        }
        Situation::Placeholder => {
            table.set(types::READY, true, reasons::PLACEHOLDER, "nothing is to be installed");
            table.all_is_well();
        }
        Situation::Deleting { message } => {
            table.set(types::READY, false, reasons::DELETING, message);
            table.set(types::RECONCILING, true, reasons::UNINSTALLING, message);
            table.set(types::DELETING, true, reasons::UNINSTALLING, message);
        }
    }
    table.conditions
}

struct Table {
    conditions: Vec<Condition>,
    generation: i64,
    now: Timestamp,
}

impl Table {
    fn progress(&mut self, progress: &Progress) {
        let is_suspended = *progress == Progress::Suspended;
        if is_suspended {
            self.set(types::SUSPENDED, true, reasons::SUSPENDED, "the HelmRelease is suspended");
        } else {
            self.clear(types::SUSPENDED, reasons::RESUMED);
        }
        self.clear(types::BLOCKED, reasons::UNBLOCKED);
        match progress {
            Progress::Starting { reason, message } => {
                self.set(types::READY, ConditionStatus::Unknown, reasons::PROGRESSING, message);
                self.set(types::RECONCILING, true, reason, message);
            }
            Progress::SourceFailing { reason, message } | Progress::Waiting { reason, message } => {
                self.set(types::READY, false, reason, message);
                self.set(types::RECONCILING, true, reasons::PROGRESSING, "Flux tries again by itself");
            }
            Progress::Retrying { message } => {
                self.set(types::READY, false, reasons::HELM_RELEASE_FAILED, message);
                self.set(types::RECONCILING, true, WITH_RETRY, "Flux tries again by itself");
            }
            Progress::Failed { message, running } => self.failed(message, running.as_deref()),
            Progress::Suspended => {
                let message = "the HelmRelease is suspended: nothing is applied until it is resumed";
                self.set(types::READY, ConditionStatus::Unknown, reasons::SUSPENDED, message);
                self.set(types::RECONCILING, false, reasons::STABLE, "");
            }
            Progress::Done { message } => {
                self.set(types::READY, true, reasons::HELM_RELEASE_READY, message);
                self.all_is_well();
            }
        }
    }

    fn failed(&mut self, message: &str, running: Option<&str>) {
        self.standing_still(reasons::HELM_RELEASE_FAILED, message);
        match running {
            Some(running) => {
                let message = format!("{running} runs instead");
                self.set(types::DEGRADED, true, reasons::HELM_RELEASE_DEGRADED, &message);
            }
            None => conditions::remove(&mut self.conditions, types::DEGRADED),
        }
    }

    fn drift(&mut self, drift: Option<&Drift>) {
        match drift {
            Some(drift) if drift.found => {
                self.set(types::DRIFTED, true, reasons::DRIFT_DETECTED, &drift.message);
            }
            Some(_) => self.clear(types::DRIFTED, reasons::DRIFT_CORRECTED),
            None => conditions::remove(&mut self.conditions, types::DRIFTED),
        }
    }

    fn standing_still(&mut self, reason: &str, message: &str) {
        self.set(types::READY, false, reason, message);
        self.set(types::RECONCILING, false, reasons::STABLE, "");
    }

    fn all_is_well(&mut self) {
        self.set(types::RECONCILING, false, reasons::STABLE, "");
        self.set(types::DEGRADED, false, reasons::RECOVERED, "");
        self.set(types::BLOCKED, false, reasons::UNBLOCKED, "");
    }

    /// Says that a condition no longer holds, where it was ever told.
    fn clear(&mut self, type_: &str, reason: &str) {
        if self.conditions.iter().any(|condition| condition.type_ == type_) {
            self.set(type_, false, reason, "");
        }
    }

    fn set(&mut self, type_: &str, status: impl Into<ConditionStatus>, reason: &str, message: &str) {
        let (generation, now) = (self.generation, self.now);
        conditions::set(&mut self.conditions, type_, status.into(), reason, message, generation, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(situation: &Situation) -> String {
        let conditions = conditions(&[], situation, 1, Timestamp::UNIX_EPOCH);
        let words = conditions.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason));
        words.collect::<Vec<_>>().join(" ")
    }

    fn flux(progress: Progress) -> Situation {
        Situation::Flux(Reading { progress, drift: None })
    }

    #[test]
    fn a_stalled_upgrade_is_failed_and_degraded() {
        let progress = Progress::Failed {
            message: "boom".into(),
            running: Some("release 1 of chart hello 1.0.0".into()),
        };
        assert_eq!(
            told(&flux(progress)),
            "Ready=False/HelmReleaseFailed Reconciling=False/Stable Degraded=True/HelmReleaseDegraded"
        );
    }

    #[test]
    fn done_clears_what_stood_in_the_way() {
        let blocked = Situation::Refused(Refusal::NamespaceNotGated { namespace: "a".into() });
        let before = conditions(&[], &blocked, 1, Timestamp::UNIX_EPOCH);
        assert_eq!(
            told(&blocked),
            "Ready=False/ValidationFailed Reconciling=False/Stable Blocked=True/NamespaceNotGated"
        );
        let after =
            conditions(&before, &flux(Progress::Done { message: String::new() }), 1, Timestamp::UNIX_EPOCH);
        let blocked = after.iter().find(|c| c.type_ == types::BLOCKED).unwrap();
        assert_eq!((blocked.status.as_str(), blocked.reason.as_str()), ("False", "Unblocked"));
    }

    #[test]
    fn every_row_is_told_the_same_way_twice() {
        let rows = [
            flux(Progress::Suspended),
            flux(Progress::Retrying { message: "x".into() }),
            flux(Progress::Done { message: "x".into() }),
            Situation::Placeholder,
            Situation::Deleting { message: "x".into() },
        ];
        for situation in rows {
            let once = conditions(&[], &situation, 1, Timestamp::UNIX_EPOCH);
            assert_eq!(conditions(&once, &situation, 1, Timestamp::MAX), once, "{situation:?}");
        }
    }

    #[test]
    fn drift_is_told_beside_ready_and_only_when_looked_for() {
        let drift = Drift { found: true, message: "Deployment changed".into() };
        let reading = Reading { progress: Progress::Done { message: String::new() }, drift: Some(drift) };
        assert!(told(&Situation::Flux(reading)).ends_with("Drifted=True/DriftDetected"));
        assert!(!told(&flux(Progress::Done { message: String::new() })).contains("Drifted"));
    }
}
