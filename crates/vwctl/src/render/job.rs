use super::{
    cluster::conditions,
    plain,
    table::{below, fields, table},
    text::{ago, clipped, when},
};
use vworkspace_protocol::{
    admin::{Explanation, Holder, Job, JobPage, JobTarget, NextStep, TimelineEntry},
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
            plain(&job.phase),
            ago(job.created_at, job.as_of),
            clipped(&job.error),
        ]
    };
    table(["ID", "KIND", "TARGET", "STATE", "PHASE", "AGE", "ERROR"], page.items.iter().map(row))
}

pub(crate) fn job(job: &Job) -> String {
    let facts = fields([
        ("id", job.id.to_string()),
        ("cluster", job.cluster_id.to_string()),
        ("kind", plain(&job.kind)),
        ("target", target(&job.target)),
        ("state", state(job)),
        ("error", plain(&job.error)),
        ("phase", plain(&job.phase)),
        ("deliveries", job.deliveries.to_string()),
        ("key", plain(&job.idempotency_key)),
        ("created", when(job.created_at)),
        ("expires", job.expires_at.map(when).unwrap_or_default()),
    ]);
    below([facts, conflicts(&job.conflicts), conditions(&job.conditions), timeline(&job.timeline)])
}

/// A job, who has it, and what happens next.
pub(crate) fn explanation(explained: &Explanation) -> String {
    let holder = match explained.holder {
        Holder::ControlPlane => "the control plane: it waits in the queue",
        Holder::OnTheWay => "on its way: handed out, not acked",
        Holder::Agent => "the agent: it is durable in the cluster",
        Holder::Nobody => "nobody: it is over",
    };
    below([job(&explained.job), fields([("held by", holder.to_owned())]), next(&explained.next)])
}

/// One line of a timeline that is told as it happens.
pub(crate) fn timeline_entry(entry: &TimelineEntry) -> String {
    format!("{}  {:<9}  {}", when(entry.at), entry.state, plain(&entry.cause))
}

/// Where a job stands, in one short line: state, phase, and what Ready says.
pub(crate) fn job_standing(job: &Job) -> String {
    let ready = job.conditions.iter().find(|condition| condition.type_ == READY);
    let words =
        [state(job), plain(&job.phase), ready.map(|ready| clipped(&ready.to_string())).unwrap_or_default()];
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    format!("{}: {}", target(&job.target), words.join(", "))
}

fn state(job: &Job) -> String {
    match job.outcome {
        Some(outcome) => format!("{} ({outcome})", job.state),
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
