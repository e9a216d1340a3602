//! What a crash or a cut costs: nothing. Built server and operator on a cluster of their own, killed with `-9` while
//! jobs are open.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod crash;
mod foreign_answers;
mod forgotten;
mod lost_rotation;
mod membership;
mod proxy;
mod restored;
mod rotation;
mod strict_v1;
#[path = "../end_to_end/support.rs"]
#[allow(dead_code, reason = "the end-to-end tests ask more questions than these")]
mod support;
