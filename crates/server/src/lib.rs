//! vworkspace-server: the control plane. Identities, jobs, audit, isolation of tenants.
//!
//! ```text
//!   api ─┐                        (one route table; parse, name the actor, convert)
//!        ├─► app ─► store         (use-cases; the only code that opens the store)
//!   transport::http::server ─┘     │
//!              wake ◄──────────────┘ after commit: hints to those who wait
//!   background: expiry, last-seen in batches, retention
//! ```
//!
//! Absences to rely on: no handler reaches the store but through a use-case; nothing polls the database on behalf of
//! a waiting request; no bearer, payload or path of a request is logged.

pub mod address;
pub mod api;
pub mod app;
pub mod args;
pub mod background;
pub mod certificate;
pub mod clock;
pub mod connections;
mod linger;
pub mod listen;
pub mod logs;
pub mod metrics;
pub mod serve;
pub mod tls;
pub mod wake;
