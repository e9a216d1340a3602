//! The whole path, as a user runs it: built server and operator, real cluster, jobs in at the control plane, truth
//! back out at the control plane.
//!
//! All tests of this program share one stack (a cluster has one `Cluster` object) and have a namespace each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod bad_input;
mod canary;
mod credentials;
mod delivery;
mod failing;
mod failing_deploys;
mod generated_values;
mod held;
mod requests;
mod rest;
mod support;
mod values;
mod vwctl;
