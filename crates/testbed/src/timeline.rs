//! Which way a job may have gone: a table of its own, not the code that it judges.

use vworkspace_protocol::{
    JobId,
    admin::{Job, JobState, TimelineEntry},
};

/// Whether the job's timeline begins where jobs begin, only takes legal steps, ends at most once, and ends where the
/// job is. Where the control plane `was_set_back`, its agent may have the job although the record says that it was never
/// handed out: it was, after the backup.
pub(crate) fn is_legal(job: &Job, was_set_back: bool) -> bool {
    let states: Vec<JobState> = job.timeline.iter().map(|entry| entry.state).collect();
    states.first() == Some(&JobState::Queued)
        && job.timeline.windows(2).all(|pair| may_follow(pair[0].state, &pair[1], was_set_back))
        && states.last() == Some(&job.state)
}

fn may_follow(before: JobState, after: &TimelineEntry, was_set_back: bool) -> bool {
    if before.is_terminal() {
        return false;
    }
    match after.state {
        // Held since a restore, and released: it stays in its state.
        JobState::Queued => {
            let is_progress = was_set_back && after.cause.starts_with("progress: ");
            before == JobState::Queued && (is_about_a_restore(after) || is_progress)
        }
        // Handed out, also again; and offered again after a session broke.
        JobState::Leased | JobState::Acked | JobState::Closed | JobState::Cancelled => true,
        JobState::Expired | JobState::Undeliverable => before != JobState::Acked,
        // What was handed out before a restore is replaced while it is held.
        JobState::Superseded => {
            before == JobState::Queued || after.cause.ends_with("while this one was held")
        }
    }
}

fn is_about_a_restore(entry: &TimelineEntry) -> bool {
    entry.cause.starts_with("held: ") || entry.cause.starts_with("released by ")
}

/// The job that took this one's place at its agent, if it ended so: `Superseded: by job ID`, and after a semicolon why it
/// was not taken itself, if it was not.
pub(crate) fn superseded_by(job: &Job) -> Option<JobId> {
    let by = job.error.strip_prefix("Superseded: by job ")?;
    by.split(';').next().map(JobId::new)
}
