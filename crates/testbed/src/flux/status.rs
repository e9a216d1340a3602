//! What happened → the conditions Flux shows for it. Pure: no client, no clock.
//!
//! The words (reasons, messages, which condition comes and goes when) are those of the recordings.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::{Deserialize, Serialize};

use super::helm::Revision;
use super::objects::{Artifact, ReleaseStatus, Snapshot, SourceStatus, go_duration};
use super::plan::{Action, Wanted};

/// Flux keeps this many revisions in a release's history when none before the newest was ever deployed.
const HISTORY_WITHOUT_DEPLOYED: usize = 5;
/// A message is cut to this many characters.
const MESSAGE_LIMIT: usize = 2048;

/// The generation a condition speaks of, and now.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) generation: i64,
    pub(super) now: Timestamp,
}

/// A condition's status.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Is {
    True,
    False,
    Unknown,
}

/// An object's conditions in Flux's order: Stalled, Reconciling, Ready, then the others as they came.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Conditions(Vec<Condition>);

impl Conditions {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, kind: &str) -> Option<&Condition> {
        self.0.iter().find(|condition| condition.type_ == kind)
    }

    pub(super) fn is_true(&self, kind: &str) -> bool {
        self.get(kind).is_some_and(|condition| condition.status == "True")
    }

    /// Sets a condition; its transition time moves only when its status does.
    pub(super) fn set(&mut self, at: At, kind: &str, is: Is, reason: &str, message: &str) {
        let status = match is {
            Is::True => "True",
            Is::False => "False",
            Is::Unknown => "Unknown",
        };
        let since =
            self.get(kind).filter(|old| old.status == status).map(|old| old.last_transition_time.clone());
        let condition = Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(MESSAGE_LIMIT).collect(),
            observed_generation: Some(at.generation),
            last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(at.now))),
        };
        match self.0.iter_mut().find(|old| old.type_ == kind) {
            Some(old) => *old = condition,
            None => self.0.push(condition),
        }
        self.0.sort_by_key(|condition| match condition.type_.as_str() {
            "Stalled" => 0,
            "Reconciling" => 1,
            "Ready" => 2,
            _ => 3,
        });
    }

    pub(super) fn remove(&mut self, kinds: &[&str]) {
        self.0.retain(|condition| !kinds.contains(&condition.type_.as_str()));
    }

    fn progressing(&mut self, at: At, message: &str) {
        self.set(at, "Reconciling", Is::True, "Progressing", message);
        self.set(at, "Ready", Is::Unknown, "Progressing", message);
    }
}

/// Why a source has no artifact, in Flux's words.
#[derive(Clone, Debug)]
pub(super) struct SourceFailure {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Only a change of the object or of its source helps; Flux does not retry before the interval.
    pub(super) terminal: bool,
}

/// The source controller has noticed a new generation, or tries again.
pub(super) fn processing(status: &mut SourceStatus, at: At) {
    let message =
        format!("processing object: new generation {} -> {}", status.observed_generation.0, at.generation);
    status.conditions.remove(&["Stalled"]);
    status.conditions.set(at, "Reconciling", Is::True, "Progressing", &message);
    if status.conditions.get("Ready").is_none() {
        status.conditions.set(at, "Ready", Is::Unknown, "Progressing", &message);
    }
}

/// The source is being fetched for the first time.
pub(super) fn building(status: &mut SourceStatus, at: At) {
    status.conditions.progressing(at, "building artifact");
}

/// The source was fetched and is something new; `outdated` is the reason an artifact kept before is outdated.
pub(super) fn found(status: &mut SourceStatus, at: At, outdated: &str, message: &str) {
    status.conditions.progressing(at, &format!("building artifact: {message}"));
    // What failed before stays until the new artifact is stored.
    status.conditions.remove(&["Stalled"]);
    if status.artifact.is_some() {
        status.conditions.set(at, "ArtifactOutdated", Is::True, outdated, message);
    }
}

/// The source is in storage: its conditions, before the artifact itself is named.
pub(super) fn stored(status: &mut SourceStatus, at: At, reason: &str, message: &str) {
    status.conditions.remove(&["Reconciling", "Stalled", "FetchFailed", "ArtifactOutdated"]);
    status.conditions.set(at, "Ready", Is::True, reason, message);
    status.conditions.set(at, "ArtifactInStorage", Is::True, reason, message);
}

/// The artifact is named and the generation observed.
pub(super) fn artifact_named(status: &mut SourceStatus, at: At, artifact: &Artifact) {
    status.observed_generation.0 = at.generation;
    status.url = Some(artifact.url.clone());
    status.artifact = Some(artifact.clone());
}

/// The source could not be fetched.
pub(super) fn fetch_failed(status: &mut SourceStatus, at: At, failure: &SourceFailure) {
    let SourceFailure { reason, message, terminal } = failure;
    if *terminal {
        status.conditions.remove(&["Reconciling"]);
        status.conditions.set(at, "Stalled", Is::True, reason, message);
    } else {
        status.conditions.set(at, "Reconciling", Is::True, "ProgressingWithRetry", "building artifact");
    }
    status.conditions.set(at, "Ready", Is::False, reason, message);
    status.conditions.set(at, "FetchFailed", Is::True, reason, message);
}

/// The helm controller looks at the release.
pub(super) fn fulfilling(status: &mut ReleaseStatus, at: At) {
    status.conditions.remove(&["Stalled"]);
    status.conditions.set(at, "Reconciling", Is::True, "Progressing", "Fulfilling prerequisites");
}

/// Something the release needs is not there.
pub(super) fn not_ready(status: &mut ReleaseStatus, at: At, reason: &str, message: &str) {
    status.conditions.set(at, "Ready", Is::False, reason, message);
}

/// Helm is about to run.
pub(super) fn running(status: &mut ReleaseStatus, at: At, action: Action, timeout: Duration) {
    let message = format!("Running '{}' action with timeout of {}", action.word(), go_duration(timeout));
    status.conditions.progressing(at, &message);
}

/// What is about to be tried; failures counted for something else no longer count.
pub(super) fn attempting(status: &mut ReleaseStatus, at: At, wanted: &Wanted, namespace: &str) {
    if !wanted.was_attempted(status, at.generation) {
        clear_failures(status);
    }
    status.storage_namespace = Some(namespace.to_owned());
    status.last_attempted_generation = Some(at.generation);
    status.last_attempted_revision = Some(wanted.chart_version.clone());
    status.last_attempted_revision_digest.clone_from(&wanted.oci_digest);
    status.last_attempted_config_digest = Some(wanted.config_digest.clone());
}

/// Helm did it: the conditions, before the history names the new revision.
pub(super) fn succeeded(status: &mut ReleaseStatus, at: At, action: Action, message: &str) {
    status.conditions.set(at, "Ready", Is::True, action.succeeded(), message);
    status.conditions.set(at, "Released", Is::True, action.succeeded(), message);
}

/// Helm did not: the conditions, before the history names the failed revision.
pub(super) fn failed(status: &mut ReleaseStatus, at: At, action: Action, message: &str) {
    status.conditions.set(at, "Ready", Is::False, action.failed(), message);
    status.conditions.set(at, "Released", Is::False, action.failed(), message);
}

/// Counts a failed action; one that left a revision behind counts for its kind too.
pub(super) fn count_failure(status: &mut ReleaseStatus, action: Action, left_a_revision: bool) {
    status.failures += 1;
    match action {
        Action::Install if left_a_revision => status.install_failures += 1,
        Action::Upgrade if left_a_revision => status.upgrade_failures += 1,
        Action::Install | Action::Upgrade => {}
    }
}

/// A success makes earlier failures history.
pub(super) const fn clear_failures(status: &mut ReleaseStatus) {
    status.failures = 0;
    status.install_failures = 0;
    status.upgrade_failures = 0;
}

/// No attempt is left for this generation.
pub(super) fn exhausted(status: &mut ReleaseStatus, at: At, action: Action) {
    let message = format!("Failed to {} after {} attempt(s)", action.word(), status.failures.max(1));
    status.conditions.remove(&["Reconciling"]);
    status.conditions.set(at, "Stalled", Is::True, "RetriesExceeded", &message);
}

/// The release is as it was wanted, as its last `Released` says.
pub(super) fn in_sync(status: &mut ReleaseStatus, at: At) {
    match status.conditions.get("Released").cloned() {
        Some(released) if released.status == "True" => {
            status.conditions.set(at, "Ready", Is::True, &released.reason, &released.message);
        }
        // The upgrade that failed before Helm stored anything was to something else than runs (fact 21).
        Some(_) => {
            let Some(newest) = status.history.first() else { return };
            let Snapshot { namespace, name, version, chart_name, chart_version, .. } = newest;
            let release = format!("release {namespace}/{name}.v{version}");
            let chart = format!("chart {chart_name}@{chart_version}");
            let message = format!("Helm upgrade succeeded for {release} with {chart}");
            succeeded(status, at, Action::Upgrade, &message);
        }
        None => {}
    }
    status.conditions.remove(&["Reconciling", "Stalled"]);
}

/// Helm removed the release.
pub(super) fn uninstalled(status: &mut ReleaseStatus, at: At, outcome: Result<&str, &str>) {
    let (reason, message) = match outcome {
        Ok(message) => ("UninstallSucceeded", message),
        Err(message) => ("UninstallFailed", message),
    };
    status.conditions.set(at, "Ready", Is::False, reason, message);
    if outcome.is_ok() {
        status.conditions.set(at, "Released", Is::False, reason, message);
    }
}

/// The history after an action: Helm's revisions, newest first, down to the newest one before that was ever deployed.
///
/// Helm does not know the configuration's digest nor the OCI artifact a revision came from: the newest one's are those
/// of `wanted`, the others' are kept from `old`.
pub(super) fn history(
    old: &[Snapshot],
    revisions: &[Revision],
    wanted: &Wanted,
    action: Action,
    of: (&str, &str),
) -> Vec<Snapshot> {
    let first_deployed = revisions.iter().map(|revision| revision.updated).min();
    let mut newest_first: Vec<&Revision> = revisions.iter().collect();
    newest_first.sort_by_key(|revision| std::cmp::Reverse(revision.revision));
    let kept = newest_first
        .iter()
        .skip(1)
        .position(|revision| matches!(revision.status.as_str(), "deployed" | "superseded"))
        .map_or(HISTORY_WITHOUT_DEPLOYED, |position| position + 2);
    let snapshot = |(index, revision): (usize, &&Revision)| {
        let known = old.iter().find(|snapshot| snapshot.version == revision.revision);
        let newest = index == 0;
        let (chart_name, chart_version) = wanted.split_chart(&revision.chart);
        Snapshot {
            name: of.1.to_owned(),
            namespace: of.0.to_owned(),
            version: revision.revision,
            status: revision.status.clone(),
            chart_name,
            chart_version: match known {
                Some(known) if !newest => known.chart_version.clone(),
                Some(_) | None if newest => wanted.chart_version.clone(),
                Some(_) | None => chart_version,
            },
            app_version: revision.app_version.clone(),
            config_digest: match known {
                Some(known) if !newest => known.config_digest.clone(),
                Some(_) | None => wanted.config_digest.clone(),
            },
            digest: revision.digest(),
            first_deployed: whole_seconds(first_deployed.unwrap_or(revision.updated)),
            last_deployed: whole_seconds(revision.updated),
            oci_digest: if newest {
                wanted.oci_digest.clone()
            } else {
                known.and_then(|known| known.oci_digest.clone())
            },
            action: newest.then(|| action.word().to_owned()),
        }
    };
    newest_first.iter().take(kept).enumerate().map(snapshot).collect()
}

/// Kubernetes writes times in whole seconds.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: At = At { generation: 2, now: Timestamp::UNIX_EPOCH };

    fn words(conditions: &Conditions) -> Vec<String> {
        conditions.0.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason)).collect()
    }

    #[test]
    fn a_source_that_fails_for_now_is_reconciling_and_one_that_cannot_succeed_is_stalled() {
        let mut status = SourceStatus::default();
        processing(&mut status, AT);
        assert_eq!(words(&status.conditions), ["Reconciling=True/Progressing", "Ready=Unknown/Progressing"]);
        let unreachable = SourceFailure { reason: "Failed", message: "refused".into(), terminal: false };
        fetch_failed(&mut status, AT, &unreachable);
        assert_eq!(
            words(&status.conditions),
            ["Reconciling=True/ProgressingWithRetry", "Ready=False/Failed", "FetchFailed=True/Failed"]
        );
        let missing =
            SourceFailure { reason: "InvalidChartReference", message: "no chart".into(), terminal: true };
        fetch_failed(&mut status, AT, &missing);
        assert_eq!(
            words(&status.conditions),
            [
                "Stalled=True/InvalidChartReference",
                "Ready=False/InvalidChartReference",
                "FetchFailed=True/InvalidChartReference"
            ]
        );
    }

    #[test]
    fn ready_comes_before_reconciling_goes() {
        let mut status = ReleaseStatus::default();
        fulfilling(&mut status, AT);
        running(&mut status, AT, Action::Install, Duration::from_secs(20));
        succeeded(&mut status, AT, Action::Install, "done");
        assert_eq!(
            words(&status.conditions),
            ["Reconciling=True/Progressing", "Ready=True/InstallSucceeded", "Released=True/InstallSucceeded"]
        );
        in_sync(&mut status, AT);
        assert_eq!(
            words(&status.conditions),
            ["Ready=True/InstallSucceeded", "Released=True/InstallSucceeded"]
        );
    }

    #[test]
    fn the_history_ends_at_the_newest_revision_before_that_ran() {
        let revision = |number, status: &str| Revision {
            revision: number,
            updated: Timestamp::UNIX_EPOCH,
            status: status.into(),
            chart: "my-app-1.0.0".into(),
            app_version: None,
        };
        let wanted = Wanted {
            chart_name: "my-app".into(),
            chart_version: "1.0.0+abc".into(),
            oci_digest: None,
            config_digest: "c".into(),
        };
        let revisions = [revision(1, "superseded"), revision(2, "deployed"), revision(3, "failed")];
        let history = history(&[], &revisions, &wanted, Action::Upgrade, ("ns", "app"));
        let seen: Vec<_> =
            history.iter().map(|s| (s.version, s.status.as_str(), s.chart_version.as_str())).collect();
        assert_eq!(seen, [(3, "failed", "1.0.0+abc"), (2, "deployed", "1.0.0")]);
    }
}
