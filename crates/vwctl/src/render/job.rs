use super::{
    cluster::conditions,
    plain,
    table::{below, fields, table},
    text::{ago, clipped, when},
};
use vworkspace_protocol::{
    ConditionStatus, Outcome,
    admin::{Explanation, Holder, Job, JobPage, JobState, JobTarget, NextStep, TimelineEntry},
    condition::types::READY,
    outcome::FieldConflict,
};

pub(crate) fn jobs(page: &JobPage) -> String {
    let row = |job: &Job| {
        [
            job.id.to_string(),
            plain(&job.kind),
            target(&job.target),
            state(job),
            if job.state.is_terminal() { String::new() } else { plain(&job.phase) },
            ago(job.created_at, job.as_of),
            clipped(&job.error),
        ]
    };
    table(["ID", "KIND", "TARGET", "STATE", "PHASE", "AGE", "ERROR"], page.items.iter().map(row))
}

pub(crate) fn job(job: &Job) -> String {
    let progress = match Progress::of(job) {
        Progress::Now => conditions(&job.conditions),
        Progress::BeforeTheEnd => last_told(job),
        Progress::Outdated => String::new(),
    };
    below([facts(job), conflicts(&job.conflicts), progress, timeline(&job.timeline)])
}

/// What phase and conditions of a job say.
enum Progress {
    /// How far it is.
    Now,
    /// How far it was, before it ended without doing what was asked.
    BeforeTheEnd,
    /// Nothing any more: it did what was asked, and they were told before it had.
    Outdated,
}

impl Progress {
    fn of(job: &Job) -> Self {
        match (job.state.is_terminal(), job.outcome) {
            (false, _) => Self::Now,
            (true, Some(Outcome::Succeeded | Outcome::Noop)) => Self::Outdated,
            (true, _) => Self::BeforeTheEnd,
        }
    }
}

fn facts(job: &Job) -> String {
    let phase = if job.state.is_terminal() { String::new() } else { plain(&job.phase) };
    let deliveries = if job.deliveries == 0 { String::new() } else { job.deliveries.to_string() };
    fields([
        ("id", job.id.to_string()),
        ("cluster", job.cluster_id.to_string()),
        ("kind", plain(&job.kind)),
        ("target", target(&job.target)),
        ("state", state(job)),
        ("error", plain(&job.error)),
        ("phase", phase),
        ("unacked deliveries", deliveries),
        ("key", plain(&job.idempotency_key)),
        ("held since", job.held_since.map(when).unwrap_or_default()),
        ("created", when(job.created_at)),
        ("expires", job.expires_at.map(when).unwrap_or_default()),
    ])
}

/// Phase and conditions under a heading of their own; nothing where nothing was told.
fn last_told(job: &Job) -> String {
    let told = below([fields([("phase", plain(&job.phase))]), conditions(&job.conditions)]);
    if told.is_empty() { told } else { format!("last reported before the end:\n{told}") }
}

/// A job, who has it, and what happens next.
pub(crate) fn explanation(explained: &Explanation) -> String {
    let holder = match explained.holder {
        Holder::ControlPlane if explained.job.held_since.is_some() => {
            "the control plane: it is held since a restore from a backup"
        }
        Holder::ControlPlane => "the control plane: it waits in the queue",
        Holder::OnTheWay => "on its way: delivered, not acked",
        Holder::Agent => "the agent: it is durable in the cluster",
        Holder::Nobody => "nobody: the job has finished",
    };
    below([job(&explained.job), fields([("held by", holder.to_owned())]), next(&explained.next)])
}

/// One line of a timeline that is told as it happens. The agent's result is told without its error: that comes last,
/// once.
pub(crate) fn timeline_entry(job: &Job, entry: &TimelineEntry) -> String {
    let cause = match (entry.state, job.outcome) {
        (JobState::Closed, Some(outcome)) => format!("result: {outcome}"),
        _ => plain(&entry.cause),
    };
    format!("{}  {:<9}  {cause}", when(entry.at), entry.state.as_str())
}

/// A job whose timeline was told as it happened, and whose error is told next.
pub(crate) fn followed_job(job: &Job) -> String {
    let told = Job { error: String::new(), ..job.clone() };
    below([facts(&told), conflicts(&told.conflicts)])
}

/// That a job was there before this request: its key was used before.
pub(crate) fn repetition(job: &Job) -> Option<String> {
    let repeats = format!(
        "This key was used before: job {} of {}, {}. This is its record; nothing is done again.",
        job.id,
        when(job.created_at),
        state(job)
    );
    (job.created_at < job.as_of).then_some(repeats)
}

/// That the cluster knew the job's key, and did nothing.
pub(crate) fn replayed(job: &Job) -> Option<&'static str> {
    let is_replay = job.outcome == Some(Outcome::Noop) && job.error.is_empty();
    is_replay.then_some(
        "The cluster has carried out this key before: the answer is from its record, and nothing was looked at again.",
    )
}

/// Why an open job's application is not ready, in the words of Flux and Helm; `None` while nothing is wrong.
pub(crate) fn trouble(job: &Job) -> Option<String> {
    let ready = job.conditions.iter().find(|condition| condition.type_ == READY)?;
    let is_trouble = ready.status == ConditionStatus::False && !job.state.is_terminal();
    is_trouble.then(|| plain(&format!("{}: {}", ready.reason, ready.message)))
}

/// Where a job stands, in one short line: state, and until it is over phase and what Ready says.
pub(crate) fn job_standing(job: &Job) -> String {
    if job.state.is_terminal() {
        return format!("{}: {}", target(&job.target), state(job));
    }
    let ready = job.conditions.iter().find(|condition| condition.type_ == READY);
    let words =
        [state(job), plain(&job.phase), ready.map(|ready| clipped(&ready.to_string())).unwrap_or_default()];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    format!("{}: {}", target(&job.target), words.join(", "))
}

fn state(job: &Job) -> String {
    match job.outcome {
        Some(outcome) => format!("{} ({outcome})", job.state),
        None if job.held_since.is_some() => format!("{} (held)", job.state),
        None => job.state.to_string(),
    }
}

fn target(target: &JobTarget) -> String {
    let place = if target.namespace.is_empty() { String::new() } else { format!("{}/", target.namespace) };
    plain(&format!("{} {place}{}", target.kind, target.name))
}

fn conflicts(conflicts: &[FieldConflict]) -> String {
    if conflicts.is_empty() {
        return String::new();
    }
    table(["FIELD", "OWNED BY"], conflicts.iter().map(|c| [plain(&c.field_path), plain(&c.manager)]))
}

fn next(steps: &[NextStep]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let row = |step: &NextStep| [step.at.map(when).unwrap_or_default(), plain(&step.what)];
    table(["AT THE LATEST", "NEXT"], steps.iter().map(row))
}

fn timeline(entries: &[TimelineEntry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let row = |entry: &TimelineEntry| [when(entry.at), entry.state.to_string(), plain(&entry.cause)];
    table(["AT", "STATE", "CAUSE"], entries.iter().map(row))
}
