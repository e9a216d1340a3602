//! What runs, as the status keeps it, and the news that it is something else with no change of the spec. Pure.

use super::request;
use crate::flux::reading::{Reported, Running};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use vworkspace_core::agent::transition::ContentChange;
use vworkspace_crds::{
    ApplicationInstance,
    application_instance::{AppliedChart, ReplacedContent, RunningRelease},
};
use vworkspace_protocol::{
    condition::{reasons, types},
    time::whole_seconds,
};

/// How long after a change a new process reports it again; the control plane knows it by its key.
const REPEATED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Most changes remembered as reported; the first is forgotten beyond it, and reported once more.
const REMEMBERED: usize = 4_096;

/// What the status of the instance reports already.
pub fn reported(instance: &ApplicationInstance) -> Reported<'_> {
    let Some(status) = &instance.status else { return Reported::default() };
    let generation = instance.metadata.generation.unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == types::READY);
    let is_ready = ready.is_some_and(|ready| {
        ready.status == "True"
            && ready.reason == reasons::HELM_RELEASE_READY
            && ready.observed_generation == Some(generation)
    });
    let stalled = status.conditions.iter().any(|condition| {
        condition.type_ == types::BLOCKED
            && condition.status == "True"
            && condition.reason == reasons::SOURCE_STALLED
            && condition.observed_generation == Some(generation)
    });
    let is_old =
        request::of(instance).is_some_and(|request| status.handled_request.as_deref() != Some(request.id));
    let running = status.running_release.as_ref().filter(|running| running.generation == generation);
    Reported { is_ready, is_stalled: stalled && !is_old, running }
}

/// The release for the status, given the one that stands there.
pub fn advance(
    before: Option<&RunningRelease>,
    running: &Running,
    generation: i64,
    now: Timestamp,
) -> RunningRelease {
    let Running { chart, version, digest, revision } = running.clone();
    let after = RunningRelease { chart, version, digest, revision, generation, replaced: None };
    let Some(before) = before.filter(|before| before.generation == generation) else { return after };
    let replaced = if before.has_same_content(&after) {
        before.replaced.clone()
    } else {
        let (version, digest) = (before.version.clone(), before.digest.clone());
        Some(ReplacedContent { version, digest, at: Time(whole_seconds(now)) })
    };
    RunningRelease { replaced, ..after }
}

/// The chart that runs, given where it was asked for. Flux adds the digest of an OCI artifact to its version (fact 12).
pub fn chart(requested: &AppliedChart, running: &Running) -> AppliedChart {
    let version = match (&running.digest, running.version.rsplit_once('+')) {
        (Some(_), Some((version, _))) => version.to_owned(),
        (Some(_), None) | (None, _) => running.version.clone(),
    };
    AppliedChart { name: running.chart.clone(), version, ..requested.clone() }
}

/// The change that the status tells of.
pub fn change(running: Option<&RunningRelease>) -> Option<ContentChange> {
    let running = running?;
    let replaced = running.replaced.as_ref()?;
    let content = |version: &str, digest: Option<&String>| match digest {
        Some(digest) => format!("{} {version} ({digest})", running.chart),
        None => format!("{} {version}", running.chart),
    };
    Some(ContentChange {
        from: content(&replaced.version, replaced.digest.as_ref()),
        to: content(&running.version, running.digest.as_ref()),
        at: replaced.at.0,
    })
}

/// Changes that this process has reported, by the instance's uid.
///
/// The status is written first, the report goes out later: a process that ends in between leaves a change unreported.
/// So each process reports the recent ones it finds, once.
#[derive(Default)]
pub(super) struct ReportedChanges(Mutex<BTreeMap<String, Timestamp>>);

impl ReportedChanges {
    /// Returns `true` the first time for each change, unless it is long past.
    pub(super) fn is_due(&self, uid: &str, change: &ContentChange, now: Timestamp) -> bool {
        if now.duration_since(change.at) > REPEATED_FOR {
            return false;
        }
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(uid.to_owned(), change.at) == Some(change.at) {
            return false;
        }
        if reported.len() > REMEMBERED {
            reported.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_crds::application_instance::SourceType;

    fn running(version: &str, revision: i64) -> Running {
        Running { chart: "hello".to_owned(), version: version.to_owned(), digest: None, revision }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn new_content_of_the_same_generation_is_a_change() {
        let first = advance(None, &running("1.0.0", 1), 1, at(1));
        assert_eq!(change(Some(&first)), None);
        let moved = advance(Some(&first), &running("1.0.7", 2), 1, at(2));
        let expected = ContentChange { from: "hello 1.0.0".into(), to: "hello 1.0.7".into(), at: at(2) };
        assert_eq!(change(Some(&moved)), Some(expected));
        assert_eq!(advance(Some(&moved), &running("1.0.7", 3), 1, at(9)).replaced, moved.replaced);
    }

    #[test]
    fn chart_that_runs_has_the_version_that_was_found() {
        let source_type = SourceType::Oci;
        let requested = |version: &str| AppliedChart {
            source_type,
            url: "r.example".to_owned(),
            name: "hello".to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(chart(&requested("1.x"), &running("1.0.7", 1)), requested("1.0.7"));
        let of_registry = Running { digest: Some("sha256:ab".to_owned()), ..running("1.0.7+ab", 1) };
        assert_eq!(chart(&requested("*"), &of_registry).version, "1.0.7");
    }

    #[test]
    fn content_that_the_spec_asked_for_is_no_change() {
        let first = advance(None, &running("1.0.0", 1), 1, at(1));
        let asked = advance(Some(&first), &running("1.0.7", 2), 2, at(2));
        assert_eq!(change(Some(&asked)), None);
        let forced = advance(Some(&first), &running("1.0.0", 2), 1, at(2));
        assert_eq!(change(Some(&forced)), None);
    }

    #[test]
    fn change_is_reported_once_by_each_process() {
        let change = ContentChange { from: "a".into(), to: "b".into(), at: at(0) };
        let (first, second) = (ReportedChanges::default(), ReportedChanges::default());
        assert!(first.is_due("u", &change, at(1)) && !first.is_due("u", &change, at(2)));
        assert!(first.is_due("u", &ContentChange { at: at(5), ..change.clone() }, at(6)));
        assert!(second.is_due("u", &change, at(3)));
        assert!(!ReportedChanges::default().is_due("u", &change, at(3 * 86_400)));
    }
}
