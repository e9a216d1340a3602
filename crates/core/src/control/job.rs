//! What may happen to a job, by the state it is in (contract, section 2).
//!
//! ```text
//!   queued ──lease──► leased ──ack──► acked ──result──► closed
//!      │                │ ▲  redelivery │
//!      │                └─┴─────────────┘
//!      └──────┴────────┴──► expired | cancelled | superseded | undeliverable     (terminal, like closed)
//! ```
//!
//! The agent is believed about its own side: an ack or a result counts in whatever open state the job is, since
//! the answer that would have moved the state on may have been lost.

use crate::planted::{Bug, planted};
use thiserror::Error;
use vworkspace_protocol::admin::JobState;

/// Deliveries without an ack after which a job is parked as undeliverable.
pub const MOST_DELIVERIES: u32 = 10;

/// A terminal job stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// A result is recorded already; the first one counts.
    #[error("a terminal result is recorded already")]
    ResultRecorded,
    /// The job ended some other way.
    #[error("the job is {0}")]
    Closed(JobState),
}

/// What an accepted call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The state changes.
    Taken,
    /// It was so before: answer as then, record nothing.
    Repeated,
}

/// The agent holds the job durably.
///
/// # Errors
/// The job is over: the agent must not start it.
pub fn ack(state: JobState) -> Result<Step, Refused> {
    match state {
        JobState::Queued | JobState::Leased => Ok(Step::Taken),
        JobState::Acked => Ok(Step::Repeated),
        JobState::Closed if planted(Bug::AckReopens) => Ok(Step::Taken),
        JobState::Closed
        | JobState::Expired
        | JobState::Cancelled
        | JobState::Superseded
        | JobState::Undeliverable => Err(Refused::Closed(state)),
    }
}

/// The agent tells progress; the state stays.
///
/// # Errors
/// The job is over.
pub fn progress(state: JobState) -> Result<(), Refused> {
    if state.is_terminal() { Err(Refused::Closed(state)) } else { Ok(()) }
}

/// The agent tells the result.
///
/// # Errors
/// A result is recorded, or the job ended without one.
pub fn close(state: JobState) -> Result<(), Refused> {
    match state {
        JobState::Queued | JobState::Leased | JobState::Acked => Ok(()),
        JobState::Closed if planted(Bug::SecondResultCounts) => Ok(()),
        JobState::Closed => Err(Refused::ResultRecorded),
        JobState::Expired | JobState::Cancelled | JobState::Superseded | JobState::Undeliverable => {
            Err(Refused::Closed(state))
        }
    }
}

/// A person or program withdraws the job. An agent that acked it already may still carry it out.
///
/// # Errors
/// The job ended some other way.
pub fn cancel(state: JobState) -> Result<Step, Refused> {
    match state {
        JobState::Queued | JobState::Leased | JobState::Acked => Ok(Step::Taken),
        JobState::Cancelled => Ok(Step::Repeated),
        JobState::Closed | JobState::Expired | JobState::Superseded | JobState::Undeliverable => {
            Err(Refused::Closed(state))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: [JobState; 5] = [
        JobState::Closed,
        JobState::Expired,
        JobState::Cancelled,
        JobState::Superseded,
        JobState::Undeliverable,
    ];

    #[test]
    fn nothing_moves_a_terminal_job() {
        for state in TERMINAL {
            assert!(state.is_terminal());
            assert_eq!(ack(state), Err(Refused::Closed(state)));
            assert_eq!(progress(state), Err(Refused::Closed(state)));
            assert!(close(state).is_err());
            assert_ne!(cancel(state), Ok(Step::Taken));
        }
        assert_eq!(close(JobState::Closed), Err(Refused::ResultRecorded));
        assert_eq!(cancel(JobState::Cancelled), Ok(Step::Repeated));
    }

    #[test]
    fn the_agent_is_believed_in_every_open_state() {
        for state in [JobState::Queued, JobState::Leased, JobState::Acked] {
            assert!(ack(state).is_ok() && progress(state).is_ok() && close(state).is_ok());
            assert_eq!(cancel(state), Ok(Step::Taken));
        }
        assert_eq!(ack(JobState::Acked), Ok(Step::Repeated));
    }
}
