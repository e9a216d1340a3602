//! Where an instance stands, and the conditions that tell it: the table of the contract, section 7, row by row.

use super::validate::Refusal;
use crate::{
    conditions,
    flux::{
        reading::{Drift, Progress, Reading},
        sources::Reach,
    },
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use vworkspace_core::agent::helm_failure::cause_of;
use vworkspace_protocol::{
    ConditionStatus,
    condition::{reasons, types},
};
use vworkspace_rules::redact;

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

impl Situation {
    /// Returns `true` if this is an answer to the request that stands: Flux has handled it, or was not asked because a rule
    /// is against it or nothing is to be installed.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Flux(reading) => reading.is_answered,
            Self::Refused(_) | Self::Placeholder => true,
            Self::Unavailable { .. } | Self::Deleting { .. } => false,
        }
    }
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
            let is_running = matches!(reading.progress, Progress::Done { .. } | Progress::Resting);
            table.reach(&reading.reach, is_running);
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
        match progress {
            // What was reported with the last `Done` stays word for word.
            Progress::Resting => return,
            Progress::Suspended => {
                self.set(types::SUSPENDED, true, reasons::SUSPENDED, "the HelmRelease is suspended");
            }
            _ => self.clear(types::SUSPENDED, reasons::RESUMED),
        }
        if !matches!(progress, Progress::SourceStalled { .. }) {
            self.clear(types::BLOCKED, reasons::UNBLOCKED);
        }
        match progress {
            Progress::Resting => {}
            Progress::Starting { reason, message } => {
                self.set(types::READY, ConditionStatus::Unknown, reasons::PROGRESSING, message);
                self.set(types::RECONCILING, true, reason, message);
            }
            Progress::SourceFailing { reason, message } | Progress::Waiting { reason, message } => {
                self.set(types::READY, false, reason, message);
                self.set(types::RECONCILING, true, reasons::PROGRESSING, "Flux tries again by itself");
            }
            Progress::SourceStalled { reason, message } => {
                self.standing_still(reason, message);
                self.set(types::BLOCKED, true, reasons::SOURCE_STALLED, message);
            }
            Progress::Retrying { message, running, .. } => {
                let message = self.steady(message);
                self.set(types::READY, false, reasons::HELM_RELEASE_FAILED, &message);
                self.set(types::RECONCILING, true, WITH_RETRY, "Flux tries again by itself");
                self.degraded(running.as_deref());
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

    /// The words of the failure that was reported, where this is an equal one: a message with another address or time at each
    /// try would make a stream of events.
    fn steady(&self, message: &str) -> String {
        // As it is reported: without the credentials that it quotes.
        let message = &*redact(message);
        let reported = self.conditions.iter().find(|condition| {
            condition.type_ == types::READY
                && condition.reason == reasons::HELM_RELEASE_FAILED
                && condition.observed_generation == Some(self.generation)
                && cause_of(&condition.message) == cause_of(message)
        });
        reported.map_or(message, |condition| &condition.message).to_owned()
    }

    fn failed(&mut self, message: &str, running: Option<&str>) {
        self.standing_still(reasons::HELM_RELEASE_FAILED, message);
        self.degraded(running);
    }

    fn degraded(&mut self, running: Option<&str>) {
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

    /// Reported once each way, however often Flux tries and whatever it says meanwhile: its messages hold addresses and
    /// times, and repository and chart fail and recover one after the other.
    fn reach(&mut self, reach: &Reach, is_running: bool) {
        let reported = self.conditions.iter().find(|condition| condition.type_ == types::SOURCE_REACHABLE);
        let reported = reported.map(|condition| condition.status.as_str());
        match (reach, reported) {
            (Reach::Unreachable { reason, message }, None | Some("True")) if is_running => {
                self.set(types::SOURCE_REACHABLE, false, reason, message);
            }
            (Reach::Reachable, Some("False" | "Unknown")) => {
                self.set(types::SOURCE_REACHABLE, true, reasons::SOURCE_READY, "");
            }
            _ => {}
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
        Situation::Flux(Reading {
            progress,
            drift: None,
            reach: Reach::Unknown,
            running: None,
            is_answered: false,
        })
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
    fn stalled_source_blocks_in_its_own_words_until_it_is_corrected() {
        let message = "invalid chart reference: no chart name found".to_owned();
        let stalled = flux(Progress::SourceStalled { reason: "InvalidChartReference".into(), message });
        assert_eq!(
            told(&stalled),
            "Ready=False/InvalidChartReference Reconciling=False/Stable Blocked=True/SourceStalled"
        );
        let before = conditions(&[], &stalled, 1, Timestamp::UNIX_EPOCH);
        assert!(before.iter().filter(|c| c.type_ != types::RECONCILING).all(|c| c.message.contains("chart")));
        let starting = flux(Progress::Starting { reason: "Progressing".into(), message: "x".into() });
        let after = conditions(&before, &starting, 2, Timestamp::UNIX_EPOCH);
        let blocked = after.iter().find(|c| c.type_ == types::BLOCKED).unwrap();
        assert_eq!((blocked.status.as_str(), blocked.reason.as_str()), ("False", "Unblocked"));
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
            flux(Progress::SourceStalled { reason: "URLInvalid".into(), message: "x".into() }),
            flux(Progress::Retrying { message: "x".into(), failures: 1, running: None }),
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
        let Situation::Flux(done) = flux(Progress::Done { message: String::new() }) else { unreachable!() };
        let reading = Reading { drift: Some(drift), ..done };
        assert!(told(&Situation::Flux(reading)).ends_with("Drifted=True/DriftDetected"));
        assert!(!told(&flux(Progress::Done { message: String::new() })).contains("Drifted"));
    }

    #[test]
    fn equal_failure_that_quotes_a_password_is_reported_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let tried = |port: u16| {
            let message = format!("dial https://user:hunter2@10.0.0.1:{port}/x: refused");
            flux(Progress::Retrying { message, failures: 1, running: None })
        };
        let first = conditions(&[], &tried(4711), 1, at(1));
        assert!(!format!("{first:?}").contains("hunter2"), "{first:?}");
        assert_eq!(conditions(&first, &tried(4712), 1, at(2)), first);
    }

    #[test]
    fn failing_upgrade_is_degraded_while_flux_retries() {
        let running = Some("release 1 of chart hello 1.0.0".to_owned());
        let done = conditions(&[], &flux(Progress::Done { message: "x".into() }), 1, Timestamp::UNIX_EPOCH);
        let retrying = flux(Progress::Retrying { message: "boom".into(), failures: 1, running });
        let after = conditions(&done, &retrying, 1, Timestamp::UNIX_EPOCH);
        let degraded = after.iter().find(|c| c.type_ == types::DEGRADED).unwrap();
        assert_eq!((degraded.status.as_str(), degraded.reason.as_str()), ("True", "HelmReleaseDegraded"));
        assert!(degraded.message.contains("hello 1.0.0"));
    }

    #[test]
    fn unreachable_source_is_reported_once_each_way() {
        let resting = |reach| {
            Situation::Flux(Reading {
                progress: Progress::Resting,
                drift: None,
                reach,
                running: None,
                is_answered: false,
            })
        };
        let fails = |reason: &str, message: &str| {
            resting(Reach::Unreachable { reason: reason.into(), message: message.into() })
        };
        let tries = [
            resting(Reach::Unknown),
            fails("Failed", "dial 10.0.0.1:4711"),
            resting(Reach::Unknown),
            fails("Failed", "dial 10.0.0.1:4712"),
            fails("ChartPullError", "404"),
            resting(Reach::Reachable),
            resting(Reach::Unknown),
            resting(Reach::Reachable),
        ];
        let mut written = Vec::new();
        let mut now =
            conditions(&[], &flux(Progress::Done { message: "x".into() }), 1, Timestamp::UNIX_EPOCH);
        for situation in tries {
            let after = conditions(&now, &situation, 1, Timestamp::UNIX_EPOCH);
            if after != now {
                let reach = after.iter().find(|c| c.type_ == types::SOURCE_REACHABLE).unwrap();
                written.push(format!("{}/{} {}", reach.status, reach.reason, reach.message));
            }
            now = after;
        }
        assert_eq!(written, ["False/Failed dial 10.0.0.1:4711", "True/SourceReady "]);
    }

    #[test]
    fn unreachable_source_is_no_word_of_its_own_while_starting() {
        let reach = Reach::Unreachable { reason: "Failed".into(), message: "x".into() };
        let progress = Progress::SourceFailing { reason: "Failed".into(), message: "x".into() };
        let reading = Reading { progress, drift: None, reach, running: None, is_answered: false };
        assert!(!told(&Situation::Flux(reading)).contains("SourceReachable"));
    }
}
