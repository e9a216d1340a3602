//! One HelmRelease beside what the instance asks for: the questions that decide where it stands. Pure.

use super::{
    observed::{Condition, HelmRelease, Observed as _, Snapshot, Source},
    reading::{Progress, Reported, Running, Seen, Wanted},
    version,
};
use vworkspace_crds::application_instance::SourceType;

/// Flux's word that the fault, if there is one, lies deeper.
const SOURCE_NOT_READY: &str = "SourceNotReady";
/// Reasons of a release's `Ready=False` that only mean that its chart is not at hand; what runs is not touched.
const SOURCE_REASONS: [&str; 2] = [SOURCE_NOT_READY, "ArtifactFailed"];
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

/// A release beside what was asked for and what was reported.
pub(super) struct ReleaseView<'a> {
    pub(super) wanted: &'a Wanted<'a>,
    pub(super) seen: &'a Seen<'a>,
    pub(super) reported: &'a Reported<'a>,
    pub(super) release: &'a HelmRelease,
}

impl ReleaseView<'_> {
    /// The release that runs, if it is what was asked for and Flux has nothing left to do (facts 1 and 14).
    pub(super) fn done(&self) -> Option<(Running, &Condition)> {
        let ready = self.release.condition("Ready").filter(|ready| ready.status == "True")?;
        let newest = self.release.status.history.first()?;
        let is_reconciling = self.release.condition("Reconciling").is_some_and(|c| c.status == "True");
        let is_done = self.release.is_settled()
            && !is_reconciling
            && !self.are_values_unread()
            && self.are_sources_settled()
            && newest.status == "deployed"
            && self.is_the_chart(newest);
        is_done.then(|| (running(newest), ready))
    }

    /// Returns `true` if the release was reported as ready and still runs, whatever Flux is looking at (facts 15 to 17).
    pub(super) fn is_at_rest(&self) -> bool {
        let newest = self.release.status.history.first().filter(|newest| newest.status == "deployed");
        let Some(newest) = newest else { return false };
        self.reported.is_ready
            && self.release.is_settled()
            && !self.are_values_unread()
            && self.release.current_true("Stalled").is_none()
            && self.release.current_false("Released").is_none()
            && self.is_ready_at_rest(newest)
    }

    /// `Ready=Unknown` means that Helm is at work. That is no news only where Flux found new content by itself or
    /// corrects drift; in all other cases, for example a release that was uninstalled by hand, it must show.
    fn is_ready_at_rest(&self, newest: &Snapshot) -> bool {
        let Some(ready) = self.release.current("Ready") else { return false };
        match ready.status.as_str() {
            "True" => true,
            "False" => SOURCE_REASONS.contains(&ready.reason.as_str()),
            _ => self.is_content_new(newest) || self.release.current_true("Drifted").is_some(),
        }
    }

    /// Returns `true` if Flux found, or tried, other content than what runs.
    fn is_content_new(&self, newest: &Snapshot) -> bool {
        let status = &self.release.status;
        if status.last_attempted_revision.as_ref().is_some_and(|tried| *tried != newest.chart_version) {
            return true;
        }
        match self.wanted.source_type {
            SourceType::Oci => {
                let digest =
                    self.seen.source.and_then(artifact).map(|found| version::split_revision(found).1);
                digest.is_some_and(|digest| newest.oci_digest.as_deref() != Some(digest))
            }
            SourceType::Helm => {
                let found = self.seen.chart.and_then(artifact);
                found.is_some_and(|found| !version::same(found, &newest.chart_version))
            }
        }
    }

    /// Facts 5 and 6.
    pub(super) fn failed(&self) -> Option<Progress> {
        let stalled = self.release.current_true("Stalled")?;
        if !self.release.is_settled() || !self.is_attempt_ours() {
            return None;
        }
        let message = self.failure_message().unwrap_or(stalled).message.clone();
        Some(Progress::Failed { message, running: self.older_release() })
    }

    /// What Flux complains about and tries again.
    pub(super) fn trouble(&self) -> Option<Progress> {
        let complaint = self.release.current_false("Ready").filter(|ready| ready.reason != SOURCE_NOT_READY);
        if let Some(ready) = complaint
            && !HELM_FAILURES.contains(&ready.reason.as_str())
        {
            return Some(Progress::Waiting { reason: ready.reason.clone(), message: ready.message.clone() });
        }
        let is_between_tries = self.release.current("Ready").is_none_or(|ready| ready.status == "Unknown");
        let failure = self.failure_message().filter(|_| complaint.is_some() || is_between_tries)?;
        let running = self.older_release();
        let failures = self.release.status.failures;
        self.is_attempt_ours().then(|| Progress::Retrying {
            message: failure.message.clone(),
            failures,
            running,
        })
    }

    pub(super) fn under_way(&self) -> Progress {
        let reconciling = self.release.current_true("Reconciling");
        let words = self.release.current("Ready").filter(|ready| ready.status != "True").or(reconciling);
        let message = words.map_or("waiting for Flux to take up the change", |condition| &condition.message);
        Progress::starting(reconciling, message)
    }

    /// The release that still runs although the last attempt failed, in words.
    fn older_release(&self) -> Option<String> {
        let older = |snapshot: &&Snapshot| snapshot.status == "deployed" && !self.is_last_attempt(snapshot);
        let running = self.release.status.history.iter().find(older)?;
        Some(format!("release {} of chart {} {}", running.version, running.chart_name, running.chart_version))
    }

    /// Returns `true` if the snapshot is what Flux tried last: a release whose test failed is deployed all the same.
    fn is_last_attempt(&self, snapshot: &Snapshot) -> bool {
        let status = &self.release.status;
        status.last_attempted_revision.as_ref() == Some(&snapshot.chart_version)
            && snapshot.config_digest.is_some()
            && status.last_attempted_config_digest == snapshot.config_digest
    }

    /// The failure itself; `Ready` may speak of the remedy, or of the next try.
    fn failure_message(&self) -> Option<&Condition> {
        self.release.current_false("Released").or_else(|| self.release.current_false("Ready"))
    }

    /// Returns `true` if we asked Flux to read changed values and it has not done so (fact 8). Any other request is one
    /// more look at what there is (fact 18): the job waits for it, the conditions do not.
    fn are_values_unread(&self) -> bool {
        self.wanted.is_for_values && !is_request_handled(self.wanted, self.release)
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
        is_ours && self.are_sources_settled() && !self.are_values_unread()
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
            SourceType::Oci => match (self.found_digest(), digest) {
                (Some(found), Some(digest)) => found == digest,
                _ => version::same(self.wanted.version, version),
            },
        }
    }

    /// Digest of the artifact asked for by tag or range, once the source knows it.
    fn found_digest(&self) -> Option<&str> {
        let source = self.seen.source.filter(|source| source.is_settled())?;
        let (tag, digest) = version::split_revision(artifact(source)?);
        let is_range = source.spec.reference.semver.as_deref() == Some(self.wanted.version);
        let is_asked_for = is_range || tag.is_none_or(|tag| tag == version::tag_of(self.wanted.version));
        is_asked_for.then_some(digest)
    }
}

/// Returns `true` if the newest request was handled.
pub(super) fn is_request_handled(wanted: &Wanted<'_>, release: &HelmRelease) -> bool {
    let handled = release.status.last_handled_reconcile_at.as_deref();
    wanted.requested_at.is_none_or(|requested| handled == Some(requested))
}

/// A range means the version that Flux found for exactly that range.
fn is_in_range(wanted: &Wanted<'_>, chart: &Source, version: &str) -> bool {
    chart.is_settled()
        && chart.spec.version.as_deref() == Some(wanted.version)
        && artifact(chart).is_some_and(|found| version::same(found, version))
}

fn artifact(source: &Source) -> Option<&str> {
    source.status.artifact.as_ref().map(|artifact| artifact.revision.as_str())
}

fn running(snapshot: &Snapshot) -> Running {
    Running {
        chart: snapshot.chart_name.clone(),
        version: snapshot.chart_version.clone(),
        digest: snapshot.oci_digest.clone(),
        revision: snapshot.version,
    }
}
