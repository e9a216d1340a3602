//! What a release's sources say: the failure nearest its cause, and whether they can be reached. Pure.

use super::{
    observed::{Condition, Observed as _, Source},
    reading::{Reported, Seen, Wanted},
};
use vworkspace_protocol::condition::reasons;

/// The HelmChart's word that the fault, if there is one, is its HelmRepository's.
const NO_SOURCE_ARTIFACT: &str = "NoSourceArtifact";
/// Reasons with which Flux gives up on a source.
const STALLING: [&str; 2] = ["InvalidChartReference", "URLInvalid"];

/// Whether the sources of a release can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them were fetched at the last try.
    Reachable,
    /// One of them was not.
    Unreachable {
        /// The deepest failing source's reason.
        reason: String,
        /// Its message.
        message: String,
    },
    /// They do not say, for example between two tries.
    Unknown,
}

/// Flux's reason, but where that says nothing: of a chart repository that it cannot fetch it is a bare `Failed`.
pub(super) fn reason(failure: &Condition) -> String {
    let reason = if failure.reason == "Failed" { reasons::SOURCE_FAILED } else { &failure.reason };
    reason.to_owned()
}

/// Reads whether the sources can be reached.
pub(super) fn reach(seen: &Seen<'_>) -> Reach {
    if let Some(failure) = failure(seen) {
        return Reach::Unreachable { reason: reason(failure), message: failure.message.clone() };
    }
    let all = || [seen.source, seen.chart].into_iter().flatten();
    let is_ready = seen.source.is_some() && all().all(|source| source.current_true("Ready").is_some());
    if is_ready { Reach::Reachable } else { Reach::Unknown }
}

/// The deepest failing source's own word (fact 3).
pub(super) fn failure<'a>(seen: &Seen<'a>) -> Option<&'a Condition> {
    let of_chart = || seen.chart.and_then(failing).filter(|condition| condition.reason != NO_SOURCE_ARTIFACT);
    seen.source.and_then(failing).or_else(of_chart)
}

/// The word of the deepest failing source that has given up on exactly what is asked for (fact 22): only another address,
/// chart or version helps, or another index.
///
/// # Guarantees
/// A HelmChart that is about an earlier wish says nothing: Flux rewrites it only after the HelmRelease, and looks into a
/// new index only after the HelmRepository has stored it. A source that was asked to look again says nothing before it
/// has: the version may have been published a moment ago.
pub(super) fn stalled<'a>(
    wanted: &Wanted<'_>,
    seen: &Seen<'a>,
    reported: &Reported<'_>,
) -> Option<&'a Condition> {
    let source = seen.source.filter(|source| source.is_request_handled())?;
    if failing(source).is_some() {
        return given_up(source, reported);
    }
    let chart = seen.chart.filter(|chart| {
        let spec = (chart.spec.chart.as_deref(), chart.spec.version.as_deref());
        let index = source.status.artifact.as_ref().map(|artifact| &artifact.revision);
        spec == (Some(wanted.chart), Some(wanted.version))
            && source.is_settled()
            && index.is_some()
            && chart.status.observed_source_artifact_revision.as_ref() == index
    });
    chart.and_then(|chart| given_up(chart, reported))
}

/// Returns `true` if the sources have looked anew since they were asked to: the HelmChart also into the index that was
/// fetched then. HelmCharts are not asked themselves, for Flux looks again when the index has changed.
pub(super) fn are_requests_handled(seen: &Seen<'_>) -> bool {
    let Some(source) = seen.source else { return true };
    let index = source.status.artifact.as_ref().map(|artifact| &artifact.revision);
    let is_old =
        |chart: &Source| index.is_some() && chart.status.observed_source_artifact_revision.as_ref() != index;
    source.is_request_handled() && !seen.chart.is_some_and(is_old)
}

/// `Stalled` goes while Flux looks once more at the same spec, where the failure's reason stays. Whether it fails again is not
/// known then: that Flux has given up is reported only while it does not look, and stays reported when it does.
fn given_up<'a>(source: &'a Source, reported: &Reported<'_>) -> Option<&'a Condition> {
    let is_looking = source.current_true("Reconciling").is_some()
        || source.current("Ready").is_some_and(|ready| ready.status == "Unknown");
    let by_reason = || failing(source).filter(|failure| STALLING.contains(&failure.reason.as_str()));
    source
        .current_true("Stalled")
        .or_else(by_reason)
        .filter(|_| source.is_settled() && (reported.is_stalled || !is_looking))
}

/// `FetchFailed` stays between two tries, when `Ready` flips.
fn failing(source: &Source) -> Option<&Condition> {
    source.current_true("FetchFailed").or_else(|| source.current_false("Ready"))
}
