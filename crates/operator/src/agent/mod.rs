//! The part of the operator that talks to the control plane.
//!
//! ```text
//!   credentials ──► links ──► poll ──► jobs (lanes) ──► applier ──► Kubernetes API
//!                     │                  │  ▲              follow (watch) ──┘
//!                     │                  │  └──────────────── conditions ◄──┘
//!                     ├──► events ◄── reporter     journal, ledger ◄── jobs
//!                     └──► heartbeat
//! ```
//!
//! What is decided is decided in `vworkspace_core::agent`; here is the asynchronous shell around it.

pub mod action;
pub mod applier;
pub mod conversation;
pub mod credentials;
pub mod driver;
pub mod events;
pub mod follow;
pub mod heartbeat;
pub mod jobs;
mod journal;
pub mod ledger;
pub mod links;
mod own_objects;
pub mod problem;
mod report_check;
mod shard_store;
mod snapshots;

pub use driver::{Agent, run};
