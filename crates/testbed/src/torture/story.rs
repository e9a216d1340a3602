//! What happened, for people: one object's histories side by side, and the figures of a run.

use super::{
    check::{Broken, Near, Stored},
    history::{Change, History},
    nemesis::Tally,
    settle::Settled,
};
use crate::view::Target;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};
use vworkspace_protocol::{JobId, admin::Job};

/// Most broken promises that are told.
const MOST_TOLD: usize = 20;
/// So many lines before and after.
const AROUND: usize = 20;

/// The broken promises, each with what happened to the object around it.
pub(super) fn broken(broken: &[Broken], history: &History, jobs: &BTreeMap<JobId, Job>) -> String {
    let mut text = String::new();
    for Broken { invariant, target, near, what } in broken.iter().take(MOST_TOLD) {
        let about = target.as_ref().map(ToString::to_string).unwrap_or_default();
        // Writing to a text cannot fail.
        let _ = writeln!(text, "BROKEN {invariant}: {about} {what}");
        let lines = target.as_ref().map(|target| of_target(target, history, jobs)).unwrap_or_default();
        for line in around(&lines, *near) {
            let _ = writeln!(text, "  {} {}", line.at, line.what);
        }
    }
    if broken.len() > MOST_TOLD {
        let _ = writeln!(text, "… and {} more", broken.len() - MOST_TOLD);
    }
    text
}

/// One thing that happened to an object.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    at: Timestamp,
    what: String,
    /// The job it is about.
    n: Option<u64>,
}

/// The lines to look at.
fn around(lines: &[Line], near: Near) -> &[Line] {
    let (first, last) = match near {
        Near::End => (lines.len(), lines.len()),
        Near::Job(n) => {
            let is_about = |line: &Line| line.n == Some(n);
            let first = lines.iter().position(is_about).unwrap_or(lines.len());
            (first, lines.iter().rposition(is_about).unwrap_or(first))
        }
        Near::Time(at) => {
            let place = lines.partition_point(|line| line.at < at);
            (place, place)
        }
    };
    let (from, to) = (first.saturating_sub(AROUND), last.saturating_add(AROUND).min(lines.len()));
    lines.get(from..to).unwrap_or_default()
}

/// Who asked for what, what the API server told, and each job's timeline, in order of time.
fn of_target(target: &Target, history: &History, jobs: &BTreeMap<JobId, Job>) -> Vec<Line> {
    let mut lines = Vec::new();
    for asked in history.asked.iter().filter(|asked| asked.target == *target) {
        let answer = asked.job.as_ref().map_or("no answer".to_owned(), |id| format!("taken as job {id}"));
        let (n, what) = (Some(asked.n), format!("asked    {:?} {}: {answer}", asked.deed, asked.n));
        lines.push(Line { at: asked.at, what, n });
        let known = asked.job.as_ref().and_then(|id| jobs.get(id));
        for entry in known.iter().flat_map(|job| &job.timeline) {
            let what = format!("job      {}: {} {}", asked.n, entry.state, entry.cause);
            lines.push(Line { at: entry.at, what, n });
        }
    }
    for seen in history.seen.iter().filter(|seen| seen.target == *target) {
        let (what, n) = match seen.change {
            Change::Set { n, generation } => (format!("carries {n} at generation {generation}"), Some(n)),
            Change::Deleting => ("is being deleted".to_owned(), None),
            Change::Gone => ("is gone".to_owned(), None),
        };
        lines.push(Line { at: seen.at, what: format!("cluster  {what} ({})", seen.uid), n });
    }
    lines.sort();
    lines.dedup();
    lines
}

/// The figures of a run.
pub(super) fn figures(
    seed: u64,
    took: Duration,
    history: &History,
    jobs: &BTreeMap<JobId, Job>,
    settled: &Settled,
    stored: &Stored,
    tally: &Tally,
) -> String {
    let (server, operator) = (tally.server.get(), tally.operator.get());
    let sets = history.seen.iter().filter(|seen| matches!(seen.change, Change::Set { .. })).count();
    let ends = history.seen.iter().filter(|seen| seen.change == Change::Gone).count();
    let numbers: BTreeSet<u64> = history.asked.iter().map(|asked| asked.n).collect();
    let mut ended: BTreeMap<String, u64> = BTreeMap::new();
    for job in jobs.values() {
        let how = job.outcome.map_or_else(|| job.state.to_string(), |outcome| outcome.to_string());
        *ended.entry(how).or_default() += 1;
    }
    let ended: Vec<String> = ended.iter().map(|(how, times)| format!("{times} {how}")).collect();
    format!(
        "seed {seed}: {} kills with -9 ({server} of the server, {operator} of the operator) in {:.0} s
  jobs       {} asked for, {} acknowledged, {} without any answer; {} withdrawn; ended: {}
  cluster    {sets} changes by as many jobs, {ends} ends of objects
  database   {} jobs, {} events, checked {} times
  operator   ended by itself {} times
  settled    {:.1} s after the last kill",
        server + operator,
        took.as_secs_f64(),
        numbers.len(),
        history.acknowledged().len(),
        history.unknown().len(),
        history.withdrawn.len(),
        ended.join(", "),
        stored.jobs,
        stored.events,
        tally.checked.get() + 1,
        tally.gave_up.get(),
        settled.after.as_secs_f64(),
    )
}
