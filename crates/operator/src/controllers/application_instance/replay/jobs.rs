//! Every recording as jobs that wait: each change of the spec, and each request, is one.

use super::{
    cluster::{Cluster, at},
    lines, recordings, runs_what_was_asked_for, says,
};
use crate::{conditions::to_wire, controllers::application_instance::failing};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;
use vworkspace_core::agent::job_run::{Goal, JobRun, Observed};
use vworkspace_protocol::{JobId, ObjectRef, Outcome, outcome::JobResult};

/// A job that was applied, and how it ended.
struct Waiting {
    name: String,
    run: JobRun,
    ended_at: Option<Timestamp>,
}

impl Waiting {
    fn start(name: &str, generation: i64, now: Timestamp, retry_seconds: Option<u32>) -> Self {
        let mut job = json!({ "id": name, "kind": "apply", "payload": {} });
        if let Some(seconds) = retry_seconds {
            job["retrySeconds"] = seconds.into();
        }
        let mut run = JobRun::new(&serde_json::from_value(job).unwrap());
        run.handle_applying(now);
        let kind = "ApplicationInstance".to_owned();
        run.handle_applied(Goal::Ready, ObjectRef { kind, generation, ..ObjectRef::default() });
        Self { name: name.to_owned(), run, ended_at: None }
    }

    fn handle(&mut self, cluster: &Cluster, now: Timestamp) {
        let observed = Observed {
            observed_generation: cluster.generation,
            conditions: to_wire(&cluster.conditions),
            handled_request: cluster.handled_request.clone(),
            failing: cluster.failing.clone().map(failing::read),
            ..Observed::default()
        };
        self.run.handle_observed(Some(observed));
        self.handle_time(now);
    }

    fn handle_time(&mut self, now: Timestamp) {
        self.run.handle_timeout(now);
        if self.run.result().is_some() {
            self.ended_at.get_or_insert(now);
        }
    }

    fn result(&self) -> Option<&JobResult> {
        self.run.result()
    }
}

/// The jobs of a recording. After its last line time passes, and nothing else does.
fn play(recording: &str, retry_seconds: Option<u32>) -> Vec<Waiting> {
    let (mut cluster, mut jobs) = (Cluster::default(), Vec::<Waiting>::new());
    for line in lines(recording) {
        let before = cluster.request.clone();
        if cluster.play(&line).is_none() {
            continue;
        }
        if cluster.request != before {
            let name = cluster.request.clone().unwrap();
            if let Some(former) = jobs.last_mut() {
                former.run.handle_superseded(&JobId::new(name.as_str()));
            }
            jobs.push(Waiting::start(&name, cluster.generation, at(&line), retry_seconds));
        }
        let Some(job) = jobs.last_mut() else { continue };
        let was_open = job.result().is_none();
        job.handle(&cluster, at(&line));
        let has_succeeded = job.result().is_some_and(|result| result.outcome == Outcome::Succeeded);
        if was_open && has_succeeded {
            check_success(&cluster, &line);
        }
    }
    let last = jobs.last_mut().unwrap();
    while last.result().is_none() {
        last.handle_time(last.run.poll_timeout().unwrap());
    }
    jobs
}

/// Looks at the raw status: Flux has handled the request, and what was asked for runs.
fn check_success(cluster: &Cluster, line: &Value) {
    let release = cluster.release.as_ref().unwrap();
    assert_eq!(cluster.requested_at, release.status.last_handled_reconcile_at, "{line}");
    assert!(runs_what_was_asked_for(cluster) && !says(cluster, "Drifted", "True"), "{line}");
}

fn told(jobs: &[Waiting]) -> String {
    let mut story = String::new();
    for job in jobs {
        let Some(result) = job.result() else { continue };
        let at = job.ended_at.map_or_else(|| "-".to_owned(), |at| format!("{} ms", at.as_millisecond()));
        writeln!(story, "    {}: {} at {at} {}", job.name, result.outcome, result.error).unwrap();
    }
    story
}

#[test]
fn all_recordings_end_their_jobs_as_written_down() {
    let recordings = recordings();
    let story =
        recordings.iter().map(|(name, recording)| format!("{name}\n{}", told(&play(recording, None))));
    insta::assert_snapshot!(story.collect::<String>());
}
