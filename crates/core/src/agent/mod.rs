//! The agent's decisions: when to talk, what a job is about, when it is over, which events go out.
//!
//! ```text
//!   bare_answers when a v1 control plane out of form is believed
//!   credentials which of two is presented, what is stored after an answer (Held, Verdicts)
//!   session    when to resync, poll, wait or stop; connected or not
//!   dedup      is this job a replay?                  (JobKey, Ledger)
//!   divergence does the control plane still hold what was reported? (Divergence, Settled)
//!   departure  what follows from the answer to a decommission
//!   event_reporter  keys, log and outbox: stored before sent (EventReporter)
//!   held       does the API server hold what was sent? (Comparison)
//!   helm_failure  when a job stops waiting for a failure that Flux retries (Failing)
//!   identity_step what follows for the identity: register, rotate, keep (next_step)
//!   job_run    one job from receipt to result         (goal, deadline, progress)
//!   outbox     events waiting for delivery            (EventBatcher)
//!   rotation   when the credential is exchanged, and for whom (Life, Cause)
//!   spacing    the tries of one call that is made again
//!   transition event keys that tell flaps apart       (TransitionLog)
//!   work       all open jobs: journal, lanes, effects (Work)
//!   shards     which record is stored where          (Shards)
//! ```
//!
//! Inputs come by `handle_*`, outputs leave by `poll_*`; time and randomness are arguments.

pub mod bare_answers;
pub mod credentials;
pub mod dedup;
pub mod departure;
pub mod divergence;
pub mod event_reporter;
pub mod held;
pub mod helm_failure;
pub mod identity_step;
pub mod job_run;
pub mod object_key;
pub mod outbox;
mod reported;
pub mod rotation;
pub mod session;
pub mod shards;
mod shelf;
pub mod spacing;
pub mod transition;
pub mod work;

pub use object_key::ObjectKey;
