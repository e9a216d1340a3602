//! Following a job to its end by its live timeline.

use crate::{Error, output::say, progress::Progress, render, signals::Signals};
use std::time::Duration;
use vworkspace_client::{Client, Error as CallError};
use vworkspace_protocol::{
    ClusterId, JobId, Outcome,
    admin::{Job, JobState, Presence, TimelineEntry},
};

/// How long one request waits at the server; short enough for proxies that cut silent connections.
const WAIT: Duration = Duration::from_secs(25);
/// Failures in a row after which following ends: with the pauses, about a minute of an absent control plane.
const MOST_FAILURES: u32 = 6;

/// Follows job `id` until nothing more can happen, or until a signal; `tell` gets each timeline entry once, in order, with the
/// job as it is; why the application is not ready is said when that changes. Answers the job as it was last seen, `known` at
/// first, however the following ended.
pub(crate) async fn follow(
    client: &Client,
    signals: &mut Signals,
    id: &JobId,
    known: Option<Job>,
    tell: impl FnMut(&Job, &TimelineEntry) -> Result<(), Error>,
) -> (Option<Job>, Result<(), Error>) {
    let progress = Progress::start(format!("job {id}"));
    let mut following =
        Following { client, progress, id, job: known, seen: 0, is_awaited: false, trouble: None, tell };
    let ended = tokio::select! {
        ended = following.run() => ended,
        signal = signals.first() => Err(Error::Interrupted { id: id.clone(), signal }),
    };
    (following.job, ended)
}

struct Following<'a, T> {
    client: &'a Client,
    progress: Progress,
    id: &'a JobId,
    /// As it was last seen.
    job: Option<Job>,
    /// The last entry of its timeline that was told.
    seen: u32,
    /// It was told that the job waits for its cluster.
    is_awaited: bool,
    /// Why the application is not ready, as it was told last.
    trouble: Option<String>,
    tell: T,
}

impl<T: FnMut(&Job, &TimelineEntry) -> Result<(), Error>> Following<'_, T> {
    async fn run(&mut self) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            let job = match self.client.watch_job(self.id, self.seen, WAIT).await {
                Ok(job) => job,
                Err(error) => {
                    failures += 1;
                    let Some(pause) = pause(&error, failures) else { return Err(error.into()) };
                    if failures == 2 {
                        let error = render::plain(&error.to_string());
                        self.progress.aside(|| say(&format!("{error}; trying again, the job goes on")));
                    }
                    self.progress.now(format!("{}; trying again", render::plain(&error.to_string())));
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            failures = 0;
            let (before, job) = (self.seen, self.job.insert(job));
            for entry in job.timeline.iter().filter(|entry| entry.seq > before) {
                self.progress.aside(|| (self.tell)(job, entry))?;
                self.seen = self.seen.max(entry.seq);
            }
            let trouble = render::trouble(job);
            if let Some(words) = trouble.as_deref().filter(|_| trouble != self.trouble) {
                self.progress.aside(|| say(words));
            }
            self.trouble = trouble.or(self.trouble.take());
            self.progress.now(render::job_standing(job));
            if job.state.is_terminal() {
                return Ok(());
            }
            let cluster = job.cluster_id.clone();
            self.tell_of(&cluster).await;
            tokio::time::sleep(rest(before, self.seen)).await;
        }
    }

    /// Says once that the cluster is away, and once that it is back.
    async fn tell_of(&mut self, cluster: &ClusterId) {
        // The job is what matters: where the cluster cannot be asked about now, it is next time.
        let Ok(cluster) = self.client.cluster(cluster).await else { return };
        let awaited = render::awaited(&cluster);
        match &awaited {
            Some(why) if !self.is_awaited => self.progress.aside(|| say(why)),
            None if self.is_awaited && cluster.presence == Presence::Connected => {
                self.progress.aside(|| say(&format!("{} is there again.", cluster.name)));
            }
            Some(_) | None => {}
        }
        self.is_awaited = awaited.is_some();
    }
}

/// How long to wait before the next request, by the last entry known before the answer and in it. An answer without news
/// may have come at once: where many follow one job, the server has no place for all of them to wait.
const fn rest(seen: u32, last: u32) -> Duration {
    if last > seen { Duration::ZERO } else { Duration::from_secs(1) }
}

/// How long to wait before the next try; nothing when another try would be no better.
fn pause(error: &CallError, failures: u32) -> Option<Duration> {
    let told = match error {
        CallError::Unreachable { tls: None, .. } => None,
        CallError::Refused { status: 429 | 500..=599, retry_after, .. } => *retry_after,
        // A certificate stays wrong until somebody changes it.
        CallError::Unreachable { tls: Some(_), .. } => return None,
        CallError::Refused { .. } | CallError::Malformed { .. } => return None,
    };
    let own = Duration::from_secs(1 << failures.min(5));
    (failures <= MOST_FAILURES).then(|| told.unwrap_or(own))
}

/// Whether a job that is over did what was asked: succeeded, or had been done before.
///
/// # Errors
/// [`Error::JobEnded`] for every other end.
pub(crate) fn verdict(job: &Job) -> Result<(), Error> {
    let how = match (job.state, job.outcome) {
        (JobState::Closed, Some(Outcome::Succeeded)) => return Ok(()),
        // An expired job is closed as noop too, but with an error.
        (JobState::Closed, Some(Outcome::Noop)) if job.error.is_empty() => return Ok(()),
        (JobState::Closed, Some(outcome)) => format!("ended {outcome}"),
        (state, _) => format!("is {state}"),
    };
    let why = if job.error.is_empty() { String::new() } else { format!(": {}", render::plain(&job.error)) };
    Err(Error::JobEnded { id: job.id.clone(), how: how + &why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;
    use vworkspace_client::TlsFault;

    #[test]
    fn only_success_and_replays_are_good_ends() {
        let ended = |state, outcome, error: &str| {
            verdict(&Job { state, outcome, error: error.to_owned(), ..fixture::job() })
        };
        assert!(ended(JobState::Closed, Some(Outcome::Succeeded), "").is_ok());
        assert!(ended(JobState::Closed, Some(Outcome::Noop), "").is_ok());
        for (state, outcome, error) in [
            (JobState::Closed, Some(Outcome::Noop), "expired"),
            (JobState::Closed, Some(Outcome::Failed), "HelmReleaseFailed: x"),
            (JobState::Closed, Some(Outcome::Conflict), ""),
            (JobState::Closed, None, ""),
            (JobState::Expired, None, ""),
            (JobState::Cancelled, None, ""),
            (JobState::Superseded, None, ""),
            (JobState::Undeliverable, None, ""),
        ] {
            let told = ended(state, outcome, error).unwrap_err().to_string();
            assert!(told.ends_with(error), "{told}");
        }
    }

    #[test]
    fn an_answer_without_news_is_followed_by_a_rest() {
        assert_eq!(rest(2, 3), Duration::ZERO);
        assert_eq!(rest(3, 3), Duration::from_secs(1));
    }

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        let refused =
            |status, retry_after| CallError::Refused { status, problem: Default::default(), retry_after };
        assert_eq!(pause(&refused(404, None), 1), None);
        assert_eq!(pause(&refused(503, Some(Duration::from_secs(9))), 1), Some(Duration::from_secs(9)));
        let unreachable = |tls| CallError::Unreachable { server: String::new(), tls, detail: String::new() };
        assert_eq!(pause(&unreachable(Some(TlsFault::UnknownIssuer)), 1), None);
        let away = unreachable(None);
        assert_eq!(pause(&away, 2), Some(Duration::from_secs(4)));
        assert_eq!(pause(&away, MOST_FAILURES + 1), None);
    }
}
