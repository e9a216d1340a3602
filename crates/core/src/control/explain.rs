//! Why a job stands where it stands, for people who wait for it.

use super::job::MOST_DELIVERIES;
use jiff::Timestamp;
use std::time::Duration;
use vworkspace_protocol::{
    JobId,
    admin::{Explanation, Holder, Job, JobState, NextStep, Presence},
};

/// What is known beside the job itself.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The cluster's agent.
    pub presence: Presence,
    /// When it was last seen.
    pub last_seen: Option<Timestamp>,
    /// End of the job's lease, while it is leased.
    pub leased_until: Option<Timestamp>,
    /// An earlier job for the same object that was handed out and not acked.
    pub behind: Option<JobId>,
    /// An earlier job for the same object that the agent holds, and of which it has not told that the cluster took it.
    pub ahead: Option<JobId>,
    /// Whether any agent ever acked it or told its progress: then it no longer expires here.
    pub ever_acked: bool,
    /// Silence after which what a session acked is offered again.
    pub stale_session: Duration,
}

/// Says who has the job and what can happen next, the likeliest first.
pub fn explain(job: Job, around: &Surroundings) -> Explanation {
    let (holder, mut next) = match job.state {
        JobState::Queued | JobState::Leased | JobState::Acked if job.held_since.is_some() => {
            (Holder::ControlPlane, held_back(job.state))
        }
        JobState::Queued => (Holder::ControlPlane, vec![handed_out(around)]),
        JobState::Leased => (Holder::OnTheWay, on_its_way(&job, around)),
        JobState::Acked => (Holder::Agent, held(&job, around)),
        JobState::Closed
        | JobState::Expired
        | JobState::Cancelled
        | JobState::Superseded
        | JobState::Undeliverable => (Holder::Nobody, Vec::new()),
    };
    if let Some(expiry) = job.expires_at.filter(|_| holder != Holder::Nobody && !around.ever_acked) {
        // What is on its way may still arrive.
        let at = around.leased_until.filter(|_| job.state == JobState::Leased).max(Some(expiry));
        next.push(step(at, "it expires unless the agent has acked it"));
    }
    Explanation { job, holder, next }
}

/// The agent may have the job since before the backup was restored, or its result may be lost.
fn held_back(state: JobState) -> Vec<NextStep> {
    let release = "somebody releases it (`vwctl job release`) or cancels it: the control plane was restored from a backup";
    let report = match state {
        JobState::Leased | JobState::Acked => Some(step(None, "an agent that has it reports its result")),
        JobState::Queued
        | JobState::Closed
        | JobState::Expired
        | JobState::Cancelled
        | JobState::Superseded
        | JobState::Undeliverable => None,
    };
    report.into_iter().chain([step(None, release)]).collect()
}

fn handed_out(around: &Surroundings) -> NextStep {
    let what = match (&around.behind, around.presence) {
        (_, Presence::Unregistered) => "it is delivered once the cluster's agent has registered".to_owned(),
        (_, Presence::Disconnected) => "it is delivered once the cluster's agent is back".to_owned(),
        (Some(earlier), Presence::Connected) => {
            format!("it is delivered once job {earlier} for the same object is acked")
        }
        (None, Presence::Connected) => "it is delivered at the agent's next poll".to_owned(),
    };
    NextStep { at: None, what }
}

/// Only a poll offers again or gives up: while the agent is away, no time can be told.
fn on_its_way(job: &Job, around: &Surroundings) -> Vec<NextStep> {
    let what = if job.deliveries >= MOST_DELIVERIES {
        "given up as undeliverable".to_owned()
    } else {
        format!("redelivered (delivery {} of {MOST_DELIVERIES})", job.deliveries + 1)
    };
    match around.presence {
        Presence::Connected => vec![
            step(None, "the agent acks it"),
            step(around.leased_until, &format!("it is {what} unless acked before")),
        ],
        Presence::Disconnected => vec![
            step(None, "the agent acks it once it is back"),
            step(None, &format!("it is {what} once the agent is back, unless acked before")),
        ],
        Presence::Unregistered => vec![step(None, &format!("it is {what} once an agent has registered"))],
    }
}

fn held(job: &Job, around: &Surroundings) -> Vec<NextStep> {
    let told = match around.presence {
        Presence::Connected => "the agent reports progress and finally the result",
        Presence::Disconnected => "the agent continues with it and reports the result once it is back",
        Presence::Unregistered => {
            let left = "the cluster has left; it is redelivered to the agent that registers next";
            return vec![step(None, left)];
        }
    };
    let silent = around.last_seen.map(|seen| seen + around.stale_session);
    let again = if silent.is_some_and(|silent| silent <= job.as_of) {
        step(None, "it is redelivered at the agent's next call")
    } else {
        let what =
            "it is redelivered if the agent's session is not seen until then, or at once when it changes";
        step(silent, what)
    };
    let first = around.ahead.as_ref().map(|ahead| {
        let what = format!(
            "the agent begins once the API server has accepted job {ahead} for the same object, or that job has finished"
        );
        step(None, &what)
    });
    first.into_iter().chain([step(None, told), again]).collect()
}

fn step(at: Option<Timestamp>, what: &str) -> NextStep {
    NextStep { at, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_protocol::{ClusterId, admin::JobTarget};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job(state: JobState) -> Job {
        Job {
            id: JobId::new("j"),
            cluster_id: ClusterId::new("c"),
            kind: "apply".into(),
            target: JobTarget::default(),
            state,
            outcome: None,
            error: String::new(),
            conflicts: Vec::new(),
            applied_ref: None,
            idempotency_key: "k".into(),
            deliveries: 1,
            phase: String::new(),
            conditions: Vec::new(),
            held_since: None,
            created_at: at(0),
            expires_at: Some(at(500)),
            timeline: Vec::new(),
            as_of: at(10),
        }
    }

    fn around(presence: Presence) -> Surroundings {
        Surroundings {
            presence,
            last_seen: Some(at(5)),
            leased_until: Some(at(30)),
            behind: None,
            ahead: None,
            ever_acked: false,
            stale_session: Duration::from_secs(600),
        }
    }

    fn told(state: JobState, around: &Surroundings) -> (Holder, Vec<String>) {
        let explained = explain(job(state), around);
        let line = |step: NextStep| match step.at {
            Some(at) => format!("{} {}", at.as_second(), step.what),
            None => step.what,
        };
        (explained.holder, explained.next.into_iter().map(line).collect())
    }

    #[test]
    fn a_queued_job_names_what_it_waits_for() {
        let (holder, next) = told(JobState::Queued, &around(Presence::Connected));
        assert_eq!(holder, Holder::ControlPlane);
        assert_eq!(next[0], "it is delivered at the agent's next poll");
        assert_eq!(next[1], "500 it expires unless the agent has acked it");
        let behind = Surroundings { behind: Some(JobId::new("i")), ..around(Presence::Connected) };
        assert!(told(JobState::Queued, &behind).1[0].contains("job i for the same object"));
        assert!(told(JobState::Queued, &around(Presence::Disconnected)).1[0].ends_with("agent is back"));
    }

    #[test]
    fn a_leased_job_is_offered_again_or_given_up_at_the_end_of_its_lease() {
        let (holder, next) = told(JobState::Leased, &around(Presence::Connected));
        assert_eq!(holder, Holder::OnTheWay);
        assert_eq!(next[1], "30 it is redelivered (delivery 2 of 10) unless acked before");
        let last = Job { deliveries: MOST_DELIVERIES, ..job(JobState::Leased) };
        let explained = explain(last, &around(Presence::Connected));
        assert!(explained.next[1].what.contains("undeliverable"));
    }

    #[test]
    fn of_an_agent_that_is_away_no_time_is_promised() {
        let away = around(Presence::Disconnected);
        let (holder, next) = told(JobState::Leased, &away);
        assert_eq!(holder, Holder::OnTheWay);
        assert_eq!(
            next[1],
            "it is redelivered (delivery 2 of 10) once the agent is back, unless acked before"
        );
        let last = Job { deliveries: MOST_DELIVERIES, ..job(JobState::Leased) };
        let given_up = &explain(last, &away).next[1];
        assert!(given_up.at.is_none() && given_up.what.contains("undeliverable"), "{given_up:?}");
        let left = told(JobState::Leased, &around(Presence::Unregistered)).1;
        assert_eq!(left[0], "it is redelivered (delivery 2 of 10) once an agent has registered");

        let silent = Surroundings { ever_acked: true, ..away };
        let late = Job { as_of: at(605), ..job(JobState::Acked) };
        let again = &explain(late, &silent).next[1];
        assert_eq!((again.at, again.what.as_str()), (None, "it is redelivered at the agent's next call"));
    }

    #[test]
    fn a_leased_job_does_not_expire_before_its_lease_has_ended() {
        let early = Job { expires_at: Some(at(20)), ..job(JobState::Leased) };
        let explained = explain(early, &around(Presence::Connected));
        assert_eq!(explained.next[2].at, Some(at(30)));
    }

    #[test]
    fn an_acked_job_is_the_agents_and_no_longer_expires() {
        let acked = Surroundings { ever_acked: true, ..around(Presence::Disconnected) };
        let (holder, next) = told(JobState::Acked, &acked);
        assert_eq!((holder, next.len()), (Holder::Agent, 2));
        assert!(next[0].contains("once it is back") && next[1].starts_with("605 "), "{next:?}");
        let second = Surroundings { ahead: Some(JobId::new("i")), ..acked };
        assert!(
            told(JobState::Acked, &second).1[0]
                .contains("once the API server has accepted job i for the same object")
        );
        let left = told(JobState::Acked, &around(Presence::Unregistered)).1;
        assert!(left[0].contains("registers next"), "{left:?}");
    }

    #[test]
    fn held_job_waits_for_a_person() {
        for (state, steps) in [(JobState::Queued, 1), (JobState::Leased, 2), (JobState::Acked, 2)] {
            let held = Job { held_since: Some(at(1)), expires_at: None, ..job(state) };
            let explained = explain(held, &around(Presence::Connected));
            assert_eq!((explained.holder, explained.next.len()), (Holder::ControlPlane, steps));
            assert!(explained.next[steps - 1].what.contains("vwctl job release"));
        }
        let over = Job { held_since: Some(at(1)), ..job(JobState::Cancelled) };
        assert_eq!(explain(over, &around(Presence::Connected)).holder, Holder::Nobody);
    }

    #[test]
    fn nothing_follows_an_end() {
        for state in [JobState::Closed, JobState::Expired, JobState::Cancelled, JobState::Superseded] {
            assert_eq!(told(state, &around(Presence::Connected)), (Holder::Nobody, Vec::new()));
        }
    }
}
