//! Server side of the HTTP transport: the routes of the agent protocol v1 over a [`ControlPort`].
//!
//! ```text
//!   request → identify (request id) → agent::* (parse) → ControlPort → answer
//!                    └─ every refusal leaves as the v1 error body, written in one place;
//!                       every answer echoes the session id
//! ```
//!
//! What is read is read tolerantly (any `Accept`, any `Content-Type`, unknown members); what is written is exact:
//! 200 with a body or 204 without one, and the v1 media type.

mod agent;
mod body;
mod echo;
mod problem;
mod ring;
mod wait;

pub use agent::{Peer, bearer};
pub use body::{BODY_TIMEOUT, read_body, read_json};
pub use problem::{Identify, Refused, RefusedWith, RequestId};
pub use ring::{Around, Ring, Ringed};

use crate::ControlPort;
use axum::{
    Router,
    routing::{get, post},
};

/// The agent routes, with their own 404 and 405 answers under `/api/agent/`. They want an [`Identify`] around them: it
/// writes the bodies of their refusals.
pub fn routes<P: ControlPort>(port: P) -> Router {
    Router::new()
        .route("/api/agent/register", post(agent::register::<P>))
        .route("/api/agent/jobs", get(agent::jobs::<P>))
        .route("/api/agent/jobs/{jobId}/ack", post(agent::ack::<P>))
        .route("/api/agent/jobs/{jobId}/status", post(agent::status::<P>))
        .route("/api/agent/jobs/{jobId}/result", post(agent::result::<P>))
        .route("/api/agent/events", post(agent::events::<P>))
        .route("/api/agent/credentials/rotate", post(agent::rotate::<P>))
        .route("/api/agent/cluster/decommission", post(agent::decommission::<P>))
        .route("/api/agent/{*rest}", axum::routing::any(problem::no_such_path))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(port)
}
