//! What Flux's objects mean for an instance: the first seven rows of the contract's table, section 7.
//!
//! Pure. Flux's own words are not taken at face value, for each of them lies at some moment (facts 1, 2, 7 and 14):
//! a word counts when it speaks about the current generation, about the chart asked for, and about sources that have
//! looked at their own current spec.

use super::{
    observed::{Condition, HelmRelease, Observed as _, Snapshot, Source},
    version,
};
use vworkspace_crds::application_instance::SourceType;

/// Flux's word that the fault, if there is one, lies deeper.
const SOURCE_NOT_READY: &str = "SourceNotReady";
/// The HelmChart's word that the fault, if there is one, is its HelmRepository's.
const NO_SOURCE_ARTIFACT: &str = "NoSourceArtifact";
/// Reasons of `Ready=False` that mean that Helm itself was at work and failed.
const HELM_FAILURES: [&str; 8] = [
    "InstallFailed",
    "UpgradeFailed",
    "TestFailed",
    "RollbackFailed",
    "RollbackSucceeded",
    "UninstallFailed",
    "UninstallSucceeded",
    "RetriesExceeded",
];

/// What the instance asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Kind of source.
    pub source_type: SourceType,
    /// Name of the chart.
    pub chart: &'a str,
    /// Version, range or tag.
    pub version: &'a str,
    /// The reconcile we asked for after the referenced values changed (fact 8).
    pub requested_at: Option<&'a str>,
}

/// What the cluster holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// The release; absent before it is written.
    pub release: Option<&'a HelmRelease>,
    /// The HelmChart that Flux made; never there for OCI.
    pub chart: Option<&'a Source>,
    /// The HelmRepository or OCIRepository.
    pub source: Option<&'a Source>,
}

/// What to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Where the release stands.
    pub progress: Progress,
    /// Flux's word on drift, where it looks for it (fact 13).
    pub drift: Option<Drift>,
}

/// Where a release stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// On its way, nothing is wrong so far. Left by any other.
    Starting {
        /// Flux's reason for reconciling.
        reason: String,
        /// Flux's message.
        message: String,
    },
    /// The chart cannot be had. Flux tries for ever (fact 3); only a deadline ends it.
    SourceFailing {
        /// The deepest failing source's reason.
        reason: String,
        /// Its message.
        message: String,
    },
    /// Something outside Helm is missing: values, a dependency, rights (facts 8 to 10). Flux tries for ever.
    Waiting {
        /// Flux's reason.
        reason: String,
        /// Flux's message.
        message: String,
    },
    /// Helm failed and Flux tries again (facts 4 and 5).
    Retrying {
        /// Flux's message on the failure.
        message: String,
    },
    /// Helm failed and Flux has given up (facts 5 and 6). Left only by a change.
    Failed {
        /// Flux's message on the failure.
        message: String,
        /// The older release that runs, if one does.
        running: Option<String>,
    },
    /// Switched off by hand.
    Suspended,
    /// The release is what was asked for.
    Done {
        /// Flux's message.
        message: String,
    },
}

/// Flux's word on drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Whether live objects differ.
    pub found: bool,
    /// Which.
    pub message: String,
}

/// Reads Flux's objects.
///
/// # Guarantees
/// `Done` is never told before the release is what was asked for, `Failed` never before Flux has given up on exactly
/// that; passing states of Flux between two tries do not show.
pub fn read(wanted: &Wanted<'_>, seen: &Seen<'_>) -> Reading {
    let drift = seen
        .release
        .and_then(|release| release.current("Drifted"))
        .map(|condition| Drift { found: condition.status == "True", message: condition.message.clone() });
    Reading { progress: progress(wanted, seen), drift }
}

fn progress(wanted: &Wanted<'_>, seen: &Seen<'_>) -> Progress {
    let Some(release) = seen.release else {
        return source_failure(seen).unwrap_or_else(|| starting(None, "waiting for the HelmRelease"));
    };
    if release.metadata.deletion_timestamp.is_some() {
        return starting(None, "the HelmRelease is being deleted and will be made again");
    }
    if release.spec.suspend {
        return Progress::Suspended;
    }
    let view = View { wanted, seen, release };
    if let Some(done) = view.done() {
        return done;
    }
    if let Some(failed) = view.failed() {
        return failed;
    }
    source_failure(seen).or_else(|| view.trouble()).unwrap_or_else(|| view.under_way())
}

/// A release beside what was asked for.
struct View<'a> {
    wanted: &'a Wanted<'a>,
    seen: &'a Seen<'a>,
    release: &'a HelmRelease,
}

impl View<'_> {
    /// Facts 1 and 14.
    fn done(&self) -> Option<Progress> {
        let ready = self.release.condition("Ready").filter(|ready| ready.status == "True")?;
        let newest = self.release.status.history.first()?;
        let is_reconciling = self.release.condition("Reconciling").is_some_and(|c| c.status == "True");
        let is_done = self.release.is_settled()
            && !is_reconciling
            && self.is_request_handled()
            && self.are_sources_settled()
            && newest.status == "deployed"
            && self.is_the_chart(newest);
        is_done.then(|| Progress::Done { message: ready.message.clone() })
    }

    /// Facts 5 and 6.
    fn failed(&self) -> Option<Progress> {
        let stalled = self.release.current_true("Stalled")?;
        if !self.release.is_settled() || !self.is_attempt_ours() {
            return None;
        }
        let running = self.release.status.history.iter().find(|snapshot| snapshot.status == "deployed");
        Some(Progress::Failed {
            message: self.failure_message().unwrap_or(stalled).message.clone(),
            running: running
                .map(|snapshot| format!("release {} of chart {}", snapshot.version, chart_name(snapshot))),
        })
    }

    /// What Flux complains about and tries again.
    fn trouble(&self) -> Option<Progress> {
        let complaint = self.release.current_false("Ready").filter(|ready| ready.reason != SOURCE_NOT_READY);
        if let Some(ready) = complaint
            && !HELM_FAILURES.contains(&ready.reason.as_str())
        {
            return Some(Progress::Waiting { reason: ready.reason.clone(), message: ready.message.clone() });
        }
        let is_between_tries = self.release.current("Ready").is_none_or(|ready| ready.status == "Unknown");
        let failure = self.failure_message().filter(|_| complaint.is_some() || is_between_tries)?;
        self.is_attempt_ours().then(|| Progress::Retrying { message: failure.message.clone() })
    }

    fn under_way(&self) -> Progress {
        let reconciling = self.release.current_true("Reconciling");
        let words = self.release.current("Ready").filter(|ready| ready.status != "True").or(reconciling);
        let message = words.map_or("waiting for Flux to take up the change", |condition| &condition.message);
        starting(reconciling, message)
    }

    /// The failure itself; `Ready` may speak of the remedy, or of the next try.
    fn failure_message(&self) -> Option<&Condition> {
        self.release.current_false("Released").or_else(|| self.release.current_false("Ready"))
    }

    /// Whether the values we last asked to be read have been (fact 8).
    fn is_request_handled(&self) -> bool {
        let handled = self.release.status.last_handled_reconcile_at.as_deref();
        self.wanted.requested_at.is_none_or(|requested| handled == Some(requested))
    }

    /// A source that has not looked at its own current spec makes the release speak about an older chart.
    fn are_sources_settled(&self) -> bool {
        [self.seen.source, self.seen.chart].into_iter().flatten().all(Source::is_settled)
    }

    /// Whether what Flux last tried is what is asked for now: a release keeps its generation when only the tag of
    /// its OCIRepository changes, and may be tried once more with the old chart (fact 14).
    fn is_attempt_ours(&self) -> bool {
        let status = &self.release.status;
        let is_ours = status.last_attempted_revision.as_deref().is_none_or(|attempted| {
            self.is_the_version(attempted, status.last_attempted_revision_digest.as_deref())
        });
        is_ours && self.are_sources_settled() && self.is_request_handled()
    }

    fn is_the_chart(&self, snapshot: &Snapshot) -> bool {
        let is_named_so = match self.wanted.source_type {
            SourceType::Helm => snapshot.chart_name == self.wanted.chart,
            // An artifact's path need not end in the chart's own name.
            SourceType::Oci => true,
        };
        is_named_so && self.is_the_version(&snapshot.chart_version, snapshot.oci_digest.as_deref())
    }

    fn is_the_version(&self, version: &str, digest: Option<&str>) -> bool {
        match self.wanted.source_type {
            SourceType::Helm if version::exact(self.wanted.version).is_some() => {
                version::same(self.wanted.version, version)
            }
            SourceType::Helm => self.seen.chart.is_some_and(|chart| is_in_range(self.wanted, chart, version)),
            SourceType::Oci => match (self.tagged_digest(), digest) {
                (Some(tagged), Some(digest)) => tagged == digest,
                _ => version::same(self.wanted.version, version),
            },
        }
    }

    /// Digest behind the tag asked for, once the source knows it.
    fn tagged_digest(&self) -> Option<&str> {
        let source = self.seen.source.filter(|source| source.is_settled())?;
        let (tag, digest) = version::split_revision(&source.status.artifact.as_ref()?.revision);
        tag.is_none_or(|tag| tag == version::tag_of(self.wanted.version)).then_some(digest)
    }
}

/// A range means the version that Flux found for exactly that range.
fn is_in_range(wanted: &Wanted<'_>, chart: &Source, version: &str) -> bool {
    let found = chart.status.artifact.as_ref().map(|artifact| artifact.revision.as_str());
    chart.is_settled()
        && chart.spec.version.as_deref() == Some(wanted.version)
        && found.is_some_and(|found| version::same(found, version))
}

/// The deepest failing source's own word (fact 3). `FetchFailed` stays between two tries, when `Ready` flips.
fn source_failure(seen: &Seen<'_>) -> Option<Progress> {
    let of_source = seen.source.and_then(failing);
    let of_chart = || seen.chart.and_then(failing).filter(|condition| condition.reason != NO_SOURCE_ARTIFACT);
    of_source.or_else(of_chart).map(|condition| Progress::SourceFailing {
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    })
}

fn failing(source: &Source) -> Option<&Condition> {
    source.current_true("FetchFailed").or_else(|| source.current_false("Ready"))
}

fn starting(reconciling: Option<&Condition>, message: &str) -> Progress {
    let reason = reconciling.map_or("Progressing", |condition| &condition.reason);
    Progress::Starting { reason: reason.to_owned(), message: message.to_owned() }
}

fn chart_name(snapshot: &Snapshot) -> String {
    format!("{} {}", snapshot.chart_name, snapshot.chart_version)
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
