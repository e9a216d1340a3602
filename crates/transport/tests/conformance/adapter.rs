//! What a transport is to the suite.

use crate::port::{Calls, ScriptedPort};
use vworkspace_protocol::{Secret, headers::AGENT_CAPABILITIES};
use vworkspace_transport::AgentLink;

/// The link's credential.
pub const BEARER: &str = "vwksp-agt-of-the-link";
/// The link's session.
pub const SESSION: &str = "11111111-2222-3333-4444-555555555555";
/// The link's user agent.
pub const USER_AGENT: &str = "vworkspace-operator/9.8.7";

/// Makes links of one transport.
pub trait Adapter {
    /// The agent's end.
    type Link: AgentLink;

    /// A link to `port`, of [`SESSION`] and [`USER_AGENT`], with all capabilities of this build.
    fn connect(port: ScriptedPort, bearer: Option<Secret>) -> impl Future<Output = Self::Link>;
}

/// A link with the credential [`BEARER`], and what arrives at its other end.
pub async fn connected<A: Adapter>() -> (A::Link, Calls) {
    connected_as::<A>(Some(Secret::new(BEARER))).await
}

/// A link with this credential, and what arrives at its other end.
pub async fn connected_as<A: Adapter>(bearer: Option<Secret>) -> (A::Link, Calls) {
    let (port, calls) = ScriptedPort::new();
    (A::connect(port, bearer).await, calls)
}

/// What this build announces.
pub fn capabilities() -> Vec<String> {
    AGENT_CAPABILITIES.split(", ").map(str::to_owned).collect()
}
