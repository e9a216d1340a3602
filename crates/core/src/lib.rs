//! Decisions of both ends of the conversation. Pure and synchronous: time and randomness are arguments.
//!
//! - [`agent`]: what the operator's agent does next (session, job runs, outbox);
//! - [`control`]: what the control plane allows and does next (access, admission, the life of a job);
//! - [`backoff`], [`canonical`] and [`report_digest`]: shared by both;
//! - [`watch_pace`] and [`namespace_access`]: how the operator deals with its own API server;
//! - [`planted`]: mistakes that the simulation must find, in no program that is shipped.

pub mod agent;
pub mod backoff;
pub mod canonical;
pub mod control;
pub mod namespace_access;
pub mod planted;
pub mod report_digest;
pub mod watch_pace;
