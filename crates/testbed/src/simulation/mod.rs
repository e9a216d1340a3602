//! The whole system in one thread, in virtual time, by seed: agents, control plane, network and clusters, with
//! everything going wrong that may.
//!
//! ```text
//!   people ──► control: the real use-cases (server) on the real store, in memory, committed when the world says so
//!                 ▲
//!                 │ wire: delay, loss, doubles, reorder, refusals, cuts one way or both, half-open connections,
//!                 │       strangers that answer in the control plane's place
//!                 │
//!              agent: the real machines (core/agent), driven as the operator drives them
//!                 │
//!                 ▼ API calls: refused, slow, answers lost
//!               api: journal, ledger, what was told, credential, applications and their controllers
//! ```
//!
//! Real: the decisions of both sides about jobs, events, credentials and the link, every SQL statement, tenancy,
//! wake-ups. Modelled: HTTP, TLS, Kubernetes, leader election.

mod acts;
mod agent;
mod api;
#[cfg(feature = "planted-bugs")]
pub mod bugs;
mod campaign;
mod checks;
mod control;
mod controllers;
pub(crate) mod dice;
mod ends;
mod executor;
mod forget;
mod history;
mod nemesis;
mod people;
mod play;
mod rest;
mod restore;
mod stranger;
mod twins;
mod weather;
mod wire;
mod world;

pub use campaign::{Campaign, Sum};
pub use play::{Played, play};
