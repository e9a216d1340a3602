//! A recording: what was done from outside and what a watch of Flux's objects saw, in order.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The lines of one scenario.
#[derive(Clone, Debug, Default)]
pub struct Recording(pub Vec<Line>);

/// One line.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Line {
    /// Milliseconds since the beginning.
    pub t_ms: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "UPPERCASE")]
pub enum Event {
    /// Done from outside: objects applied, a call of `kubectl`, or something outside the cluster.
    Step(Step),
    /// Seen by the watch.
    Added(Object),
    /// Seen by the watch.
    Modified(Object),
    /// Seen by the watch.
    Deleted(Object),
    /// Watched at least until here.
    End { action: String },
}

/// What was done from outside.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Step {
    pub action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubectl: Option<String>,
    /// Done neither by a manifest nor by `kubectl`; the action says it in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// An object as the watch saw it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Object {
    pub kind: String,
    pub name: String,
    pub generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
    #[serde(default)]
    pub status: Value,
}

impl Step {
    /// Changes nothing: asks Helm for the values of the release.
    pub fn asks_for_values(&self) -> bool {
        self.command.as_deref().is_some_and(|command| command.starts_with("helm get values"))
    }
}

impl Recording {
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    /// As it would be written to a file.
    pub fn print(&self) -> String {
        self.0.iter().map(|line| format!("{}\n", serde_json::json!(line))).collect()
    }

    /// The recording up to each step, and the whole of it: at the end of each of these something had settled.
    pub fn stages(&self) -> impl Iterator<Item = Self> {
        let steps = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, line)| matches!(line.event, Event::Step(_)))
            .map(|(index, _)| index);
        let ends: Vec<usize> = steps.skip(1).chain([self.0.len()]).collect();
        ends.into_iter().map(|end| Self(self.0[..end].to_vec()))
    }

    /// Whether anything was seen since the last step, if that was one outside the cluster.
    pub fn has_effect(&self) -> bool {
        let is_step = |line: &Line| matches!(&line.event, Event::Step(_));
        let Some(last) = self.0.iter().rposition(is_step) else { return false };
        let is_outside = matches!(&self.0[last].event, Event::Step(step) if step.manifest.is_none() && step.kubectl.is_none());
        is_outside && self.0.iter().skip(last + 1).any(|line| !matches!(line.event, Event::End { .. }))
    }

    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.0.iter().filter_map(|line| match &line.event {
            Event::Step(step) => Some(step),
            Event::Added(_) | Event::Modified(_) | Event::Deleted(_) | Event::End { .. } => None,
        })
    }
}
