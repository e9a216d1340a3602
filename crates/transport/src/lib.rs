//! The port that moves messages between agent and control plane.
//!
//! ```text
//!   operator ── AgentLink ──► http::client ═══ outbound HTTPS ═══► http::server ──► ControlPort ── server
//! ```
//!
//! A transport keeps no job state and knows of no other transport. Each adapter module holds both ends. What every
//! transport owes is said at [`AgentLink`] and [`ControlPort`]; `tests/conformance` asks each of them for it.

pub mod control;
pub mod http;
pub mod link;
pub mod memory;
pub mod provenance;

pub use control::{AgentCall, ControlPort, Refusal};
pub use link::{AgentLink, LinkError};
pub use memory::MemoryLink;
pub use provenance::{EchoMark, Evidence, Unechoed, Witness};
