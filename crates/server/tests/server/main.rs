//! The whole server through real HTTP on loopback, over a real database in a temporary folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod at_a_time;
mod bad_input;
mod echo;
mod gone;
mod identity;
mod jobs;
mod large_body;
mod openapi;
mod polling;
mod program;
mod registration;
mod reports;
mod restore;
mod restored;
mod revocation;
mod support;
mod tenancy;
mod tls;
