//! Both ends in one process.

use crate::{
    adapter::{Adapter, SESSION, USER_AGENT, capabilities},
    port::ScriptedPort,
};
use vworkspace_protocol::{Secret, id::SessionId};
use vworkspace_transport::{AgentCall, MemoryLink};

pub struct Memory;

impl Adapter for Memory {
    type Link = MemoryLink<ScriptedPort>;

    async fn connect(port: ScriptedPort, bearer: Option<Secret>) -> Self::Link {
        let session = Some(SessionId::new(SESSION));
        let caller = AgentCall {
            bearer,
            session,
            capabilities: capabilities(),
            user_agent: USER_AGENT.to_owned(),
            address: None,
        };
        MemoryLink::new(port, caller)
    }
}
