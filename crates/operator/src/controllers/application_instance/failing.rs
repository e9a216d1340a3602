//! The failures of Helm that Flux retries, as the status keeps them. Pure; the rules are `core::agent::helm_failure`.

use super::situation::Situation;
use crate::flux::reading::{Progress, Reading};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use vworkspace_core::agent::helm_failure::{self, Failing};
use vworkspace_crds::application_instance::{FailingRelease, FailureKind};
use vworkspace_protocol::{condition::types, time::whole_seconds};

/// What the status says in this situation, given what it said. Between two tries nothing changes. The cause is read off the
/// words that are reported, never off Helm's own, which may hold more than may be shown.
pub(super) fn advance(
    before: Option<FailingRelease>,
    situation: &Situation,
    conditions: &[Condition],
    now: Timestamp,
) -> Option<FailingRelease> {
    let Situation::Flux(Reading { progress, is_answered, .. }) = situation else { return None };
    let ready = conditions.iter().find(|condition| condition.type_ == types::READY);
    match progress {
        // Flux reports a failure before it counts it.
        Progress::Retrying { failures: failures @ 1.., .. } if *is_answered => {
            let (before, message) = (before.map(read), ready.map_or("", |ready| &ready.message));
            Some(written(Failing::advance(before, message, *failures, whole_seconds(now))))
        }
        Progress::Retrying { .. }
        | Progress::Starting { .. }
        | Progress::SourceFailing { .. }
        | Progress::Waiting { .. } => before,
        Progress::SourceStalled { .. }
        | Progress::Failed { .. }
        | Progress::Suspended
        | Progress::Done { .. }
        | Progress::Resting => None,
    }
}

/// As the rules take it.
pub fn read(failing: FailingRelease) -> Failing {
    let FailingRelease { kind, cause, tries, counted, since } = failing;
    let kind = match kind {
        FailureKind::Chart => helm_failure::FailureKind::Chart,
        FailureKind::Cluster => helm_failure::FailureKind::Cluster,
    };
    Failing { kind, cause, tries, counted, since: since.0 }
}

fn written(failing: Failing) -> FailingRelease {
    let Failing { kind, cause, tries, counted, since } = failing;
    let kind = match kind {
        helm_failure::FailureKind::Chart => FailureKind::Chart,
        helm_failure::FailureKind::Cluster => FailureKind::Cluster,
    };
    FailingRelease { kind, cause, tries, counted, since: Time(since) }
}
