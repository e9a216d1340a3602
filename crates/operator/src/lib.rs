//! vworkspace-operator: the in-cluster program. Agent and controllers in one process.
//!
//! ```text
//!   control plane ◄── outbound HTTPS ── agent ── server-side apply ──► Kubernetes API ── watch ──► controllers
//!         ▲                               │                                                          │
//!         └──────── batched events ── reporter ◄──────────── condition transitions ──────────────────┘
//! ```
//!
//! Controllers never talk to the control plane; with the agent off they work unchanged.

// Who reads the wall clock reads a clock that jumps: [`clock`].
#![deny(clippy::disallowed_methods)]

pub mod agent;
pub mod announce;
pub mod api_server;
pub mod args;
pub mod cause;
pub mod clock;
pub mod conditions;
pub mod context;
pub mod controllers;
pub mod fence;
pub mod flux;
pub mod guarded;
pub mod lease;
pub mod logs;
mod marks;
pub mod metrics;
pub mod metrics_server;
pub mod namespace_access;
pub mod probes;
pub mod report;
pub mod rotations;
pub mod run;
pub mod steady_watch;

pub use context::Context;
