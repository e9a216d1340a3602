//! The control plane's decisions: who may do what, which jobs are admitted, how a job lives.
//!
//! ```text
//!   access      may this actor do this?                         (Actor, Action, Decision)
//!   token       what a token looks like, what is kept of it     (Kind, Presented)
//!   credential  does this bearer still work?                 (Standing)
//!   admission   is this enqueue request a job?                  (AdmittedJob)
//!   job         what ack, progress, result and cancel change    (transitions by state)
//!   lease       which jobs does this poll get?                  (Plan)
//!   explain     who has this job, what happens next?       (Surroundings)
//!   ingest      which reports are these, are they repeats?      (EventBatch)
//!   presence    is the agent there, did its session break?      (Sighting)
//!   write_health  can the database still be written?            (WriteState)
//!   identity    do two agents use one identity, who is served?  (Sessions, Standing)
//! ```
//!
//! Nothing here reads a clock, draws a random number or knows a database.

pub mod access;
pub mod admission;
pub mod credential;
pub mod explain;
pub mod identity;
pub mod ingest;
pub mod job;
pub mod lease;
pub mod name;
pub mod presence;
pub mod token;
pub mod write_health;

pub use access::{Action, Actor, Decision};
pub use admission::AdmittedJob;
pub use ingest::EventBatch;
pub use name::DnsLabel;
