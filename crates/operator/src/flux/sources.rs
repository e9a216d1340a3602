//! What a release's sources say: the failure nearest its cause, and whether they can be reached. Pure.

use super::{
    observed::{Condition, Observed as _, Source},
    reading::Seen,
};

/// The HelmChart's word that the fault, if there is one, is its HelmRepository's.
const NO_SOURCE_ARTIFACT: &str = "NoSourceArtifact";

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

/// Reads whether the sources can be reached.
pub(super) fn reach(seen: &Seen<'_>) -> Reach {
    if let Some(failure) = failure(seen) {
        return Reach::Unreachable { reason: failure.reason.clone(), message: failure.message.clone() };
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

/// `FetchFailed` stays between two tries, when `Ready` flips.
fn failing(source: &Source) -> Option<&Condition> {
    source.current_true("FetchFailed").or_else(|| source.current_false("Ready"))
}
