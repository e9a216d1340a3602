//! The words that control plane and agent exchange.
//!
//! Data only: no clock, no socket, no randomness. Two vocabularies live here:
//!
//! - the **agent protocol v1** ([`job`], [`intent`], [`outcome`], [`event`], [`credential`]), wire-compatible
//!   with every v1 agent and control plane; what we add to it is optional (contract, section 1);
//! - the **admin API** ([`admin`]) that people and programs use to hand in intent and to read what became of it.
//!
//! Readers are tolerant: unknown members are ignored, absent, `null` and zero times mean "not set", and
//! `jobs: null` is an empty list. Writers are exact.

pub mod admin;
pub mod condition;
pub mod credential;
pub mod event;
pub mod headers;
pub mod id;
pub mod intent;
pub mod job;
pub mod limits;
pub mod object;
pub mod outcome;
pub mod problem;
pub mod secret;
pub mod time;

pub use condition::{Condition, ConditionStatus};
pub use id::{ClusterId, JobId};
pub use job::{Job, JobKind, WaitFor};
pub use object::ObjectRef;
pub use outcome::Outcome;
pub use problem::Problem;
pub use secret::Secret;
