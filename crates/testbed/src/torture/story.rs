//! What happened, for people: one object's histories side by side, and the figures of a run.

use super::{
    check::{Broken, Stored},
    history::{Change, History, Target},
    nemesis::Tally,
    settle::Settled,
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};
use vworkspace_protocol::{JobId, admin::Job};

/// Most broken promises that are told.
const MOST_TOLD: usize = 20;
/// Most lines of one object's history, the newest.
const MOST_LINES: usize = 400;

/// The broken promises, and the whole history of each object concerned.
pub(super) fn broken(broken: &[Broken], history: &History, jobs: &BTreeMap<JobId, Job>) -> String {
    let mut text = String::new();
    for Broken { invariant, target, what } in broken.iter().take(MOST_TOLD) {
        let about = target.as_ref().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "BROKEN {invariant}: {about} {what}");
    }
    if broken.len() > MOST_TOLD {
        let _ = writeln!(text, "… and {} more", broken.len() - MOST_TOLD);
    }
    let concerned: BTreeSet<&Target> =
        broken.iter().take(MOST_TOLD).filter_map(|broken| broken.target.as_ref()).collect();
    for target in concerned {
        let lines = of_target(target, history, jobs);
        let skipped = lines.len().saturating_sub(MOST_LINES);
        let _ = writeln!(text, "\nwhat happened to {target} ({skipped} earlier lines left out):");
        for (at, line) in lines.iter().skip(skipped) {
            let _ = writeln!(text, "  {at} {line}");
        }
    }
    text
}

/// Who asked for what, what the API server told, and each job's timeline, in order of time.
fn of_target(target: &Target, history: &History, jobs: &BTreeMap<JobId, Job>) -> Vec<(Timestamp, String)> {
    let mut lines = Vec::new();
    for asked in history.asked.iter().filter(|asked| asked.target == *target) {
        let answer = asked.job.as_ref().map_or("no answer".to_owned(), |id| format!("taken as job {id}"));
        lines.push((asked.at, format!("asked    {:?} {}: {answer}", asked.deed, asked.n)));
        let known = asked.job.as_ref().and_then(|id| jobs.get(id));
        for entry in known.iter().flat_map(|job| &job.timeline) {
            lines.push((entry.at, format!("job      {}: {} {}", asked.n, entry.state, entry.cause)));
        }
    }
    for seen in history.seen.iter().filter(|seen| seen.target == *target) {
        let what = match seen.change {
            Change::Set { n, generation } => format!("carries {n} at generation {generation}"),
            Change::Deleting => "is being deleted".to_owned(),
            Change::Gone => "is gone".to_owned(),
        };
        lines.push((seen.at, format!("cluster  {what} ({})", seen.uid)));
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
