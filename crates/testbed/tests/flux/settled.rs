//! The normal form in which two recordings of one scenario are compared: the settled states of each HelmRelease in
//! order, and the last words of its sources. Timings, messages and passing states are left out.
//!
//! A state settled if it stood for [`HOLD_MS`], or was the last one before a step or the end. States that merely pass
//! (no `Ready` yet, `Ready=Unknown`, a source not looked at yet) settle only in the second way. Equal neighbours are
//! one, and so is a cycle of states that repeats at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::recording::{Event, Line, Object, Recording};

/// A state that stood for so long has settled.
const HOLD_MS: u64 = 300;
/// The longest cycle that is folded.
const LONGEST_CYCLE: usize = 4;
/// The conditions that make a release's state.
const RELEASE_CONDITIONS: [&str; 6] =
    ["Ready", "Reconciling", "Stalled", "Released", "Remediated", "Drifted"];
/// The conditions that make a source's word.
const SOURCE_CONDITIONS: [&str; 3] = ["Ready", "Stalled", "FetchFailed"];
const HELM_RELEASE: &str = "HelmRelease";

/// The normal form of a recording.
#[derive(Debug, PartialEq)]
pub struct NormalForm {
    releases: BTreeMap<String, Vec<String>>,
    sources: Vec<String>,
}

impl NormalForm {
    pub fn of(recording: &Recording) -> Self {
        let lines = &recording.0;
        let names: BTreeSet<_> =
            lines.iter().filter_map(|line| release(line).map(|(object, _)| object.name.clone())).collect();
        Self {
            releases: names
                .into_iter()
                .map(|name| (name.clone(), fold_cycles(settled_states(lines, &name))))
                .collect(),
            sources: last_words(lines),
        }
    }

    /// As the original prints it for a file of this name.
    pub fn print(&self, file: &str) -> String {
        let mut text = String::new();
        for (name, states) in self.releases.iter().chain([(&"sources".to_owned(), &self.sources)]) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{file}: {name}");
            for state in states {
                let _ = writeln!(text, "    {state}");
            }
        }
        text
    }
}

/// How things stand at the end of a recording: each release's state and the sources' words.
pub fn standing(recording: &Recording) -> (BTreeMap<String, String>, Option<String>) {
    let releases = recording
        .0
        .iter()
        .filter_map(release)
        .map(|(object, gone)| (object.name.clone(), state(object, gone)));
    (releases.collect(), last_words(&recording.0).pop())
}

/// A state that is not settled yet.
struct Current {
    state: String,
    since: u64,
    passing: bool,
}

fn settled_states(lines: &[Line], name: &str) -> Vec<String> {
    let mut states: Vec<String> = Vec::new();
    let mut current: Option<Current> = None;
    let mut steps = 0;
    let settle = |states: &mut Vec<String>, state: &str| {
        if states.last().is_none_or(|last| last != state) {
            states.push(state.to_owned());
        }
    };
    for line in lines {
        match &line.event {
            Event::Step(_) => {
                if let Some(current) = &current {
                    settle(&mut states, &current.state);
                }
                steps += 1;
                states.push(format!("STEP {steps}"));
            }
            Event::Added(_) | Event::Modified(_) | Event::Deleted(_) => {
                let Some((object, gone)) = release(line).filter(|(object, _)| object.name == name) else {
                    continue;
                };
                let state = state(object, gone);
                if current.as_ref().is_some_and(|current| current.state == state) {
                    continue;
                }
                if let Some(old) =
                    current.filter(|old| line.t_ms.saturating_sub(old.since) >= HOLD_MS && !old.passing)
                {
                    settle(&mut states, &old.state);
                }
                current = Some(Current { state, since: line.t_ms, passing: is_passing(object) });
            }
            Event::End { .. } => break,
        }
    }
    if let Some(current) = current {
        settle(&mut states, &current.state);
    }
    states
}

/// The release a line is about, and whether it is gone.
fn release(line: &Line) -> Option<(&Object, bool)> {
    match &line.event {
        Event::Added(object) | Event::Modified(object) => Some((object, false)),
        Event::Deleted(object) => Some((object, true)),
        Event::Step(_) | Event::End { .. } => None,
    }
    .filter(|(object, _)| object.kind == HELM_RELEASE)
}

fn state(object: &Object, gone: bool) -> String {
    if gone {
        return "gone".to_owned();
    }
    let deleting = object.deleting.as_ref().is_some_and(|deleting| deleting != &Value::Bool(false));
    let mut words = conditions(object, &RELEASE_CONDITIONS);
    let observed = object.status["observedGeneration"].as_i64().unwrap_or(-1);
    // Deletion raises the generation by itself.
    let generation = object.generation - i64::from(deleting);
    let observed = match observed {
        -1 | 0 => "none",
        observed if observed >= generation => "same",
        _ => "behind",
    };
    words.push(format!("observed={observed}"));
    if let Some(history) = object.status["history"].as_array().filter(|history| !history.is_empty()) {
        words.push(format!("history={}", history.iter().map(revision).collect::<Vec<_>>().join(",")));
    }
    if object.status["lastHandledReconcileAt"].as_str().is_some_and(|at| !at.is_empty()) {
        words.push("handled".to_owned());
    }
    let counted = |counter: &str| object.status[counter].as_i64().unwrap_or_default() != 0;
    if ["failures", "installFailures", "upgradeFailures"].into_iter().any(counted) {
        words.push("failures".to_owned());
    }
    if deleting {
        words.push("deleting".to_owned());
    }
    words.join(" ")
}

fn revision(revision: &Value) -> String {
    let text = |field: &str| revision[field].as_str().unwrap_or("?");
    let version = text("chartVersion");
    let version = version.split_once('+').map_or(version, |(version, _digest)| version);
    format!("{}:{version}", text("status"))
}

fn is_passing(object: &Object) -> bool {
    let Some(ready) = condition(object, "Ready") else { return true };
    let text = |field: &str| ready[field].as_str().unwrap_or_default();
    let unseen = text("reason") == "SourceNotReady"
        && text("message").contains("latest generation of object has not been reconciled");
    text("status") == "Unknown" || unseen
}

fn conditions(object: &Object, kinds: &[&str]) -> Vec<String> {
    let word = |kind: &&str| {
        let condition = condition(object, kind)?;
        Some(format!("{kind}={}/{}", condition["status"].as_str()?, condition["reason"].as_str()?))
    };
    kinds.iter().filter_map(word).collect()
}

fn condition<'a>(object: &'a Object, kind: &str) -> Option<&'a Value> {
    object.status["conditions"].as_array()?.iter().rev().find(|condition| condition["type"] == kind)
}

/// What the sources said last before each step and at the end.
fn last_words(lines: &[Line]) -> Vec<String> {
    let mut now: BTreeMap<(&str, &str), String> = BTreeMap::new();
    let mut all: Vec<String> = Vec::new();
    let snapshot = |now: &BTreeMap<_, String>, all: &mut Vec<String>| {
        let mut words: Vec<_> = now.values().cloned().collect();
        words.sort();
        let words = words.join(", ");
        if !now.is_empty() && all.last() != Some(&words) {
            all.push(words);
        }
    };
    for line in lines {
        match &line.event {
            Event::Step(_) => snapshot(&now, &mut all),
            Event::Added(object) | Event::Modified(object) if object.kind != HELM_RELEASE => {
                now.insert((&object.kind, &object.name), word(object));
            }
            Event::Deleted(object) => {
                now.remove(&(object.kind.as_str(), object.name.as_str()));
            }
            Event::Added(_) | Event::Modified(_) | Event::End { .. } => {}
        }
    }
    snapshot(&now, &mut all);
    all
}

fn word(object: &Object) -> String {
    let mut words = vec![object.kind.clone()];
    words.extend(conditions(object, &SOURCE_CONDITIONS));
    if let Some(artifact) = object.status["artifact"].as_object().filter(|_| object.kind == "HelmChart") {
        words.push(format!("artifact={}", artifact.get("revision").and_then(Value::as_str).unwrap_or("?")));
    }
    words.join(" ")
}

fn fold_cycles(mut states: Vec<String>) -> Vec<String> {
    loop {
        let before = states.len();
        for length in 1..=LONGEST_CYCLE {
            let mut start = 0;
            while start + 2 * length <= states.len() {
                if states[start..start + length] == states[start + length..start + 2 * length] {
                    states.drain(start + length..start + 2 * length);
                } else {
                    start += 1;
                }
            }
        }
        if states.len() == before {
            return states;
        }
    }
}
