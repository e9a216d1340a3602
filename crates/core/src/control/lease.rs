//! Which jobs one poll gets: in enqueue order, never past an earlier job for the same object that is on its way.
//!
//! A job that was handed out and not acked may never have arrived. Were a later one for the same object handed out
//! meanwhile, the redelivery would undo it; so the later one waits until the earlier one is acked (from there on
//! the agent keeps the order) or goes with it in the same answer.

use super::{admission::Lane, job::MOST_DELIVERIES, presence::elapsed};
use crate::planted::{Bug, planted};
use jiff::Timestamp;
use std::{collections::BTreeSet, time::Duration};
use vworkspace_protocol::{
    admin::JobState,
    limits::{BYTES_PER_POLL, JOBS_PER_POLL},
};

/// Most jobs of one cluster that are handed out and not acked. Overflow rule: nothing new is offered until acks
/// arrive or leases end.
pub const MOST_UNACKED: usize = 500;
/// Most queued jobs looked at for one poll. Behind more blocked ones the rest waits for the next ack.
pub const MOST_SCANNED: usize = 200;

/// How much one answer may carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most jobs.
    pub jobs: usize,
    /// Most payload bytes; a single job always fits.
    pub bytes: usize,
}

impl Default for Limits {
    /// The contract's: 50 jobs, 4 MiB.
    fn default() -> Self {
        Self { jobs: JOBS_PER_POLL, bytes: BYTES_PER_POLL }
    }
}

/// An open job that this poll could get, or that stands in another's way.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Rises with every enqueued job.
    pub seq: i64,
    /// What it is about.
    pub lane: Lane,
    /// Queued, leased, or acked by an agent that is gone.
    pub state: JobState,
    /// Deliveries since the last ack.
    pub deliveries: u32,
    /// End of the lease while leased.
    pub leased_until: Option<Timestamp>,
    /// Whether any agent ever acked it or told its progress: then it may have started and no longer expires here.
    pub ever_acked: bool,
    /// After this it must not start.
    pub expires_at: Option<Timestamp>,
    /// Size of its payload.
    pub bytes: usize,
}

/// What the poll does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Handed out, in enqueue order.
    pub offer: Vec<i64>,
    /// Over: their time passed before they started.
    pub expired: Vec<i64>,
    /// Over: handed out [`MOST_DELIVERIES`] times and never acked.
    pub undeliverable: Vec<i64>,
    /// The earliest moment at which, without any further call, something more may be offered.
    pub next_due: Option<Timestamp>,
}

/// Plans one poll. `open` holds, in ascending `seq`: every leased job, the acked ones to be offered again, and the
/// first queued ones. `lease` is how long a delivered job stays hidden.
pub fn plan(open: &[Candidate], now: Timestamp, lease: Duration, limits: Limits) -> Plan {
    let mut plan = Plan::default();
    let mut held: BTreeSet<Lane> = BTreeSet::new();
    let mut unacked = open.iter().filter(|job| on_its_way(job, now, lease)).count();
    let mut bytes = 0;
    for job in open {
        if on_its_way(job, now, lease) {
            held.insert(job.lane);
            plan.next_due = earliest(plan.next_due, job.leased_until);
        } else if (!job.ever_acked || planted(Bug::ExpireAcked))
            && job.expires_at.is_some_and(|expiry| expiry <= now)
        {
            plan.expired.push(job.seq);
        } else if job.deliveries >= MOST_DELIVERIES {
            plan.undeliverable.push(job.seq);
        } else if (held.contains(&job.lane) && !planted(Bug::OvertakeOnTheWay))
            || (job.state == JobState::Queued && unacked >= MOST_UNACKED)
        {
            held.insert(job.lane);
        } else if plan.offer.len() < limits.jobs
            && (plan.offer.is_empty() || bytes + job.bytes <= limits.bytes)
        {
            bytes += job.bytes;
            unacked += 1;
            plan.offer.push(job.seq);
        } else {
            break;
        }
    }
    if plan.offer.is_empty() && !(plan.expired.is_empty() && plan.undeliverable.is_empty()) {
        // What is over took up the places of what was looked at: there may be more behind it.
        plan.next_due = Some(now);
    }
    plan
}

/// Handed out under a lease that has not ended.
fn on_its_way(job: &Candidate, now: Timestamp, lease: Duration) -> bool {
    job.state == JobState::Leased && job.leased_until.is_some_and(|end| holds(end, now, lease))
}

/// Whether a lease that ends at `end` holds. One that ends later than a lease that begins now was given before the
/// clock went back, and nobody is to wait for that.
pub fn holds(end: Timestamp, now: Timestamp, lease: Duration) -> bool {
    let end = if planted(Bug::EndLeaseEarly) { end - lease / 2 } else { end };
    planted(Bug::DropRedelivery) || (end > now && (elapsed(now, end) <= lease || planted(Bug::TrustOldLease)))
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job(seq: i64, lane: u8, state: JobState) -> Candidate {
        Candidate {
            seq,
            lane: [lane; 16],
            state,
            deliveries: u32::from(state == JobState::Leased),
            leased_until: (state == JobState::Leased).then(|| at(130)),
            ever_acked: state == JobState::Acked,
            expires_at: None,
            bytes: 10,
        }
    }

    #[test]
    fn queued_jobs_go_out_in_order_even_for_one_object() {
        let open = [job(1, 1, JobState::Queued), job(2, 1, JobState::Queued), job(3, 2, JobState::Queued)];
        assert_eq!(plan(&open, at(100), LEASE, Limits::default()).offer, [1, 2, 3]);
    }

    #[test]
    fn a_job_waits_for_an_earlier_one_of_its_object_that_is_on_its_way() {
        let open = [job(1, 1, JobState::Leased), job(2, 1, JobState::Queued), job(3, 2, JobState::Queued)];
        let early = plan(&open, at(129), LEASE, Limits::default());
        assert_eq!((early.offer, early.next_due), (vec![3], Some(at(130))));
        assert_eq!(plan(&open, at(130), LEASE, Limits::default()).offer, [1, 2, 3]);
    }

    #[test]
    fn a_lease_given_before_the_clock_went_back_is_over() {
        let leased = [job(1, 1, JobState::Leased)];
        assert!(plan(&leased, at(100), LEASE, Limits::default()).offer.is_empty());
        assert_eq!(plan(&leased, at(99), LEASE, Limits::default()).offer, [1]);
    }

    #[test]
    fn an_acked_job_holds_nobody_and_is_offered_again_after_a_break() {
        let open = [job(1, 1, JobState::Acked), job(2, 1, JobState::Queued)];
        assert_eq!(plan(&open, at(100), LEASE, Limits::default()).offer, [1, 2]);
    }

    #[test]
    fn ten_unacked_deliveries_are_enough() {
        let mut lost = job(1, 1, JobState::Leased);
        lost.deliveries = MOST_DELIVERIES - 1;
        assert_eq!(plan(&[lost.clone()], at(200), LEASE, Limits::default()).offer, [1]);
        lost.deliveries = MOST_DELIVERIES;
        let parked = plan(&[lost, job(2, 1, JobState::Queued)], at(200), LEASE, Limits::default());
        assert_eq!((parked.undeliverable, parked.offer), (vec![1], vec![2]));
    }

    #[test]
    fn a_poll_that_found_only_what_is_over_is_due_again_at_once() {
        let mut queued = job(2, 2, JobState::Queued);
        queued.expires_at = Some(at(100));
        let on_its_way = job(1, 1, JobState::Leased);
        let planned = plan(&[on_its_way.clone(), queued.clone()], at(100), LEASE, Limits::default());
        assert_eq!((planned.expired, planned.next_due), (vec![2], Some(at(100))));
        let open = [on_its_way, queued, job(3, 3, JobState::Queued)];
        assert_eq!(plan(&open, at(100), LEASE, Limits::default()).next_due, Some(at(130)));
    }

    #[test]
    fn an_expired_job_is_not_offered_unless_an_agent_once_held_it() {
        let mut queued = job(1, 1, JobState::Queued);
        queued.expires_at = Some(at(100));
        let mut held = job(2, 2, JobState::Acked);
        held.expires_at = Some(at(100));
        let planned = plan(&[queued, held], at(100), LEASE, Limits::default());
        assert_eq!((planned.expired, planned.offer), (vec![1], vec![2]));
    }

    #[test]
    fn a_large_job_goes_alone_and_nothing_overtakes_it() {
        let mut large = job(2, 2, JobState::Queued);
        large.bytes = 1000;
        let limits = Limits { jobs: 50, bytes: 100 };
        let open = [job(1, 1, JobState::Queued), large, job(3, 3, JobState::Queued)];
        assert_eq!(plan(&open, at(0), LEASE, limits).offer, [1]);
        assert_eq!(plan(&open[1..], at(0), LEASE, limits).offer, [2]);
    }

    #[test]
    fn an_agent_that_never_acks_is_not_fed_for_ever() {
        let mut open: Vec<_> = (0..MOST_UNACKED as i64).map(|seq| job(seq, 1, JobState::Leased)).collect();
        open.push(job(9999, 2, JobState::Queued));
        assert!(plan(&open, at(100), LEASE, Limits::default()).offer.is_empty());
    }

    fn any_job() -> impl Strategy<Value = (u8, u8, u32, bool)> {
        (0u8..4, 0u8..3, 0u32..12, any::<bool>())
    }

    proptest! {
        /// For every object: what is offered is a prefix of what is not on its way, and nothing is offered behind
        /// an earlier job that is.
        #[test]
        fn order_per_object_is_never_broken(jobs in proptest::collection::vec(any_job(), 0..60), most in 1usize..20) {
            let open: Vec<Candidate> = jobs.iter().enumerate().map(|(seq, &(lane, state, deliveries, live))| {
                let state = [JobState::Queued, JobState::Leased, JobState::Acked][usize::from(state)];
                let mut job = job(seq as i64, lane, state);
                job.deliveries = deliveries;
                job.leased_until = (state == JobState::Leased).then(|| at(if live { 120 } else { 50 }));
                job
            }).collect();
            let planned = plan(&open, at(100), LEASE, Limits { jobs: most, bytes: usize::MAX });
            prop_assert!(planned.offer.len() <= most);
            prop_assert!(planned.offer.is_sorted());
            let over: Vec<i64> = planned.expired.iter().chain(&planned.undeliverable).copied().collect();
            for offered in &planned.offer {
                let lane = open[*offered as usize].lane;
                for earlier in open.iter().filter(|job| job.lane == lane && job.seq < *offered) {
                    prop_assert!(planned.offer.contains(&earlier.seq) || over.contains(&earlier.seq));
                }
            }
        }
    }
}
