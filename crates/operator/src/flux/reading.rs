//! What Flux's objects mean for an instance: the first rows of the contract's table, section 7.
//!
//! Pure. Flux's own words are not taken at face value, for each of them lies at some moment (facts 1, 2, 7 and 14):
//! a word counts when it speaks about the current generation, about the chart asked for, and about sources that have
//! looked at their own current spec. Once a release was reported as ready, Flux's looking again is no news (facts 15
//! to 17): what the status reports already is part of the input.

use super::{
    observed::{Condition, HelmRelease, Observed as _, Source},
    release_view::{ReleaseView, is_request_handled},
    sources::{self, Reach},
};
use vworkspace_crds::application_instance::{RunningRelease, SourceType};

/// What the instance asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Kind of source.
    pub source_type: SourceType,
    /// Name of the chart.
    pub chart: &'a str,
    /// Version, range or tag.
    pub version: &'a str,
    /// The request that stands on the release since we first asked Flux to look (facts 8 and 18).
    pub requested_at: Option<&'a str>,
    /// `true` if that request is about changed values, which run only once it is handled.
    pub is_for_values: bool,
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

/// What the status of the instance reports already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reported<'a> {
    /// `Ready=True` stands there for the instance's present generation.
    pub is_ready: bool,
    /// That a source has stalled stands there, for the present generation and request.
    pub is_stalled: bool,
    /// The release behind it; `None` if an operator of an earlier version wrote the status.
    pub running: Option<&'a RunningRelease>,
}

/// What to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Where the release stands.
    pub progress: Progress,
    /// Flux's word on drift, where it looks for it (fact 13).
    pub drift: Option<Drift>,
    /// Whether the sources can be reached.
    pub reach: Reach,
    /// The release that runs, where it is certain that it is the one asked for.
    pub running: Option<Running>,
    /// Flux has handled the requests that stand on its objects, and this is what it made of them.
    pub is_answered: bool,
}

/// A release that runs, by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Name of the chart.
    pub chart: String,
    /// Version of the chart as Flux names it.
    pub version: String,
    /// Digest of the OCI artifact.
    pub digest: Option<String>,
    /// Helm's revision number.
    pub revision: i64,
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
    /// The chart cannot be fetched for now. Flux tries for ever (fact 3); only a deadline ends it.
    SourceFailing {
        /// The deepest failing source's reason.
        reason: String,
        /// Its message.
        message: String,
    },
    /// The address, the chart or its version is wrong: Flux has given up on the source (fact 22). Left by a corrected spec,
    /// or when the repository gets what was missing.
    SourceStalled {
        /// The stalled source's reason.
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
    /// Helm failed and Flux tries again (facts 4, 5 and 21).
    Retrying {
        /// Flux's message on the failure.
        message: String,
        /// How many tries have failed by Flux's count.
        failures: i64,
        /// The older release that runs, if one does.
        running: Option<String>,
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
        /// Flux's message, with the digest of an OCI artifact.
        message: String,
    },
    /// The release was reported as ready and runs; Flux looks at it again, or does nothing at all. No news.
    Resting,
}

/// Flux's word on drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Whether live objects differ.
    pub found: bool,
    /// Which.
    pub message: String,
}

impl Progress {
    pub(super) fn starting(reconciling: Option<&Condition>, message: &str) -> Self {
        let reason = reconciling.map_or("Progressing", |condition| &condition.reason);
        Self::Starting { reason: reason.to_owned(), message: message.to_owned() }
    }
}

impl Running {
    /// Returns `true` if this is the same Helm revision with the same content.
    fn is(&self, reported: &RunningRelease) -> bool {
        let reported = (&reported.chart, &reported.version, &reported.digest, reported.revision);
        reported == (&self.chart, &self.version, &self.digest, self.revision)
    }
}

/// Reads Flux's objects.
///
/// # Guarantees
/// `Done` is never reported before the release is what was asked for, `Failed` and `SourceStalled` never before Flux has
/// given up on exactly that; passing states of Flux between two tries do not show. `Resting` only where `reported.is_ready`.
pub fn read(wanted: &Wanted<'_>, seen: &Seen<'_>, reported: &Reported<'_>) -> Reading {
    let drifted = seen.release.and_then(|release| release.current("Drifted"));
    let drift = drifted.map(|c| Drift { found: c.status == "True", message: c.message.clone() });
    let (progress, running) = progress(wanted, seen, reported);
    // A running release that is not what was asked for rests until Flux takes it up.
    let is_old = progress == Progress::Resting && running.is_none();
    let is_answered = !is_old && is_answered(wanted, seen);
    Reading { progress, drift, reach: sources::reach(seen), running, is_answered }
}

/// Returns `true` if Flux has handled every request that stands: that on the source first, and the release looked at what
/// came of it.
fn is_answered(wanted: &Wanted<'_>, seen: &Seen<'_>) -> bool {
    seen.release.is_some_and(|release| is_request_handled(wanted, release))
        && sources::are_requests_handled(seen)
}

fn progress(wanted: &Wanted<'_>, seen: &Seen<'_>, reported: &Reported<'_>) -> (Progress, Option<Running>) {
    let Some(release) = seen.release else {
        let starting = || Progress::starting(None, "waiting for the HelmRelease");
        return (source_failure(seen).unwrap_or_else(starting), None);
    };
    if release.metadata.deletion_timestamp.is_some() {
        let message = "the HelmRelease is being deleted and will be made again";
        return (Progress::starting(None, message), None);
    }
    if release.spec.suspend {
        return (Progress::Suspended, None);
    }
    let view = ReleaseView { wanted, seen, reported, release };
    if let Some((running, ready)) = view.done() {
        return (done(reported, &running, ready), Some(running));
    }
    if view.is_at_rest() {
        return (Progress::Resting, None);
    }
    let unfinished =
        view.failed().or_else(|| source_stalled(wanted, seen, reported)).or_else(|| source_failure(seen));
    let unfinished = unfinished.or_else(|| view.trouble());
    (unfinished.unwrap_or_else(|| view.under_way()), None)
}

fn done(reported: &Reported<'_>, running: &Running, ready: &Condition) -> Progress {
    if reported.is_ready && reported.running.is_none_or(|reported| running.is(reported)) {
        return Progress::Resting;
    }
    let message = match &running.digest {
        Some(digest) => format!("{}, digest {digest}", ready.message),
        None => ready.message.clone(),
    };
    Progress::Done { message }
}

fn source_stalled(wanted: &Wanted<'_>, seen: &Seen<'_>, reported: &Reported<'_>) -> Option<Progress> {
    sources::stalled(wanted, seen, reported).map(|condition| Progress::SourceStalled {
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    })
}

fn source_failure(seen: &Seen<'_>) -> Option<Progress> {
    sources::failure(seen).map(|condition| Progress::SourceFailing {
        reason: sources::reason(condition),
        message: condition.message.clone(),
    })
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
