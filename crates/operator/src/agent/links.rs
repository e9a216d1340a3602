//! The current way to the control plane: one link per credential, URL and CA, swapped as a whole.

use crate::{
    agent::{conversation::Echo, credentials::Credentials},
    args::Args,
    clock,
};
use jiff::Timestamp;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use vworkspace_core::agent::session::Failure;
use vworkspace_protocol::{ClusterId, id::SessionId};
use vworkspace_transport::{
    LinkError, Witness,
    http::client::{HttpLink, LinkSettings, SettingsError},
};

/// What the control plane's logs call us.
pub const USER_AGENT: &str = concat!("vworkspace-operator/", env!("CARGO_PKG_VERSION"));

/// A link and the identity it speaks for.
pub struct Connection {
    /// The transport.
    pub link: HttpLink,
    /// The identity.
    pub cluster: ClusterId,
    /// What the link was made of.
    pub credentials: Credentials,
    witness: Arc<Witness>,
}

impl Connection {
    /// A link with the credential. `witness` is shared by all links to this control plane.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(
        credentials: &Credentials,
        session: &SessionId,
        args: &Args,
        witness: Arc<Witness>,
    ) -> Result<Self, SettingsError> {
        let link = HttpLink::new(&LinkSettings {
            base_url: credentials.base_url.clone(),
            ca_pem: credentials.ca_pem.clone(),
            bearer: Some(credentials.token.clone()),
            session: session.clone(),
            user_agent: USER_AGENT.to_owned(),
            capabilities: args.capabilities(),
            allow_insecure_http: args.allow_insecure_http,
            witness: witness.clone(),
        })?;
        tracing::info!(url = credentials.base_url, "the control plane is reached {}", link.way());
        Ok(Self { link, cluster: credentials.cluster_id.clone(), credentials: credentials.clone(), witness })
    }

    /// What is known of the control plane's echo.
    pub fn echo(&self) -> Echo {
        Echo { target: self.credentials.target(), mark: self.witness.mark() }
    }
}

/// Gives the current connection; cheap to clone.
#[derive(Clone)]
pub struct Links {
    connection: watch::Receiver<Option<Arc<Connection>>>,
    /// What the control plane's clock said when it was last read.
    clock_read: Arc<Mutex<Option<(Timestamp, Instant)>>>,
}

impl Links {
    /// The receiving end of the channel that the driver feeds.
    pub fn new(receiver: watch::Receiver<Option<Arc<Connection>>>) -> Self {
        Self { connection: receiver, clock_read: Arc::default() }
    }

    /// The connection, if there is a credential.
    pub fn now(&self) -> Option<Arc<Connection>> {
        self.connection.borrow().clone()
    }

    /// Whether this is the connection in use: what an earlier one meets says nothing about it.
    pub fn is_current(&self, connection: &Arc<Connection>) -> bool {
        self.connection.borrow().as_ref().is_some_and(|now| Arc::ptr_eq(now, connection))
    }

    /// The control plane's clock; ours before any connection told it. Another connection, made for another credential, is
    /// without it up to its first answer: until then it is counted on from when it was last read.
    pub fn control_plane_now(&self) -> Timestamp {
        let told = self.now().and_then(|connection| connection.link.control_plane_now());
        // Each change is one assignment: it is whole even after a panic.
        let mut read = self.clock_read.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = read.and_then(|(then, at)| then.checked_add(at.elapsed()).ok());
        *read = told.map(|told| (told, Instant::now())).or(*read);
        told.or(counted).unwrap_or_else(clock::now)
    }

    /// Waits for a connection; `None` once the agent ends.
    pub async fn connected(&self) -> Option<Arc<Connection>> {
        self.connection.clone().wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Waits until the connection is another one than `old`.
    pub async fn changed_from(&self, old: &Arc<Connection>) {
        let is_other = |now: &Option<Arc<Connection>>| !now.as_ref().is_some_and(|now| Arc::ptr_eq(now, old));
        // An error means that the agent ends: nothing changes any more.
        if self.connection.clone().wait_for(is_other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for `delay`, or until there is another connection to try.
    pub async fn pause(&self, old: &Arc<Connection>, delay: Duration) {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.changed_from(old) => {}
        }
    }
}

/// What an error of the link means for the session.
pub fn failure_of(error: &LinkError) -> Failure {
    match error {
        LinkError::Refused { status, problem, retry_after } => {
            Failure::of_refusal(*status, &problem.error, *retry_after)
        }
        LinkError::Unexpected { status, retry_after, .. } => Failure::of_foreign(*status, *retry_after),
        LinkError::Unreachable { .. } | LinkError::Malformed { .. } => {
            Failure::Unavailable { retry_after: None }
        }
    }
}

/// A connection to an address where nobody listens.
#[cfg(test)]
pub(super) fn connection_to_nowhere() -> Arc<Connection> {
    connection_to("http://localhost:1")
}

#[cfg(test)]
fn connection_to(base_url: &str) -> Arc<Connection> {
    let credentials = Credentials {
        base_url: base_url.to_owned(),
        cluster_id: ClusterId::new("c"),
        token: vworkspace_protocol::Secret::new("vwksp-agt-test"),
        ca_pem: None,
    };
    let args = <Args as clap::Parser>::parse_from(["operator"]);
    Arc::new(Connection::new(&credentials, &SessionId::new("s"), &args, Arc::default()).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use vworkspace_protocol::JobId;
    use vworkspace_transport::AgentLink as _;

    /// A connection whose control plane answered once, that it was the year 2001.
    async fn connection_to_the_past() -> Arc<Connection> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = connection_to(&format!("http://{}", listener.local_addr().unwrap()));
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            let answer = "HTTP/1.1 204 No Content\r\ndate: Mon, 01 Jan 2001 00:00:00 GMT\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let job = JobId::new("j");
        let (told, ()) = futures::join!(connection.link.ack(&job), answering);
        told.unwrap();
        connection
    }

    #[tokio::test]
    async fn the_control_planes_clock_outlives_the_connection_that_told_it() {
        let (connections, links) = watch::channel(Some(connection_to_the_past().await));
        let links = Links::new(links);
        let told = links.control_plane_now();
        for other in [None, Some(connection_to_nowhere())] {
            connections.send_replace(other);
            let passed = links.control_plane_now().duration_since(told);
            assert!((SignedDuration::ZERO..SignedDuration::from_hours(1)).contains(&passed), "{passed}");
        }
    }
}
