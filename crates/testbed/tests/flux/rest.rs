//! What readers see of an application at rest: the passing states that the normal form leaves out.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::recording::{Event, Object, Recording};

/// The conditions that make a passing state.
const CONDITIONS: [&str; 5] = ["Ready", "Reconciling", "Stalled", "FetchFailed", "ArtifactOutdated"];

/// Every state that was seen since the release was installed, each once.
pub fn states(recording: &Recording) -> BTreeSet<String> {
    let objects = recording.0.iter().filter_map(|line| object(&line.event));
    objects.skip_while(|object| !is_installed(object)).map(state).collect()
}

/// How often Flux looked again at a release that was ready.
pub fn looks(recording: &Recording) -> usize {
    let objects = recording.0.iter().filter_map(|line| object(&line.event));
    let is_look = |object: &&Object| {
        object.kind == "HelmRelease"
            && is_settled(object)
            && is(object, "Reconciling", "True")
            && is(object, "Ready", "True")
    };
    objects.filter(is_look).count()
}

fn object(event: &Event) -> Option<&Object> {
    match event {
        Event::Added(object) | Event::Modified(object) | Event::Deleted(object) => Some(object),
        Event::Step(_) | Event::End { .. } => None,
    }
}

fn is_installed(object: &Object) -> bool {
    object.kind == "HelmRelease" && is_settled(object) && is(object, "Ready", "True")
}

fn is_settled(object: &Object) -> bool {
    object.status["observedGeneration"] == object.generation
}

fn state(object: &Object) -> String {
    let word = |type_: &str| {
        let condition = condition(object, type_)?;
        Some(format!(" {type_}={}/{}", condition["status"].as_str()?, condition["reason"].as_str()?))
    };
    let words: String = CONDITIONS.into_iter().filter_map(word).collect();
    let settled = if is_settled(object) { "" } else { " not settled" };
    format!("{}{words}{settled}", object.kind)
}

fn is(object: &Object, type_: &str, status: &str) -> bool {
    condition(object, type_).is_some_and(|condition| condition["status"] == status)
}

fn condition<'a>(object: &'a Object, type_: &str) -> Option<&'a Value> {
    object.status["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}
