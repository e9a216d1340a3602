//! The reconciler of ApplicationInstance against a real API server, under the operator's own account and role.
//!
//! One cluster and one running reconciler serve all tests; each test has its own namespace.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test")]

mod applying;
mod counting;
mod deletion;
mod gates;
mod held;
mod install;
mod private;
mod refusal;
mod rest;
mod silence;
mod unauthorized;
mod unreadable;
mod values;
mod world;
