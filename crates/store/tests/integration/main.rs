//! The store on a real SQLite file, through its public interface alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod delivery;
mod durability;
mod enqueue;
mod events;
mod identity;
mod report;
mod retention;
mod tenancy;
mod world;
