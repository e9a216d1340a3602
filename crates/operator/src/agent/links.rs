//! The current way to the control plane: one link per credential, URL and CA, swapped as a whole.

use crate::{agent::credentials::Credentials, clock};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use vworkspace_core::agent::session::Failure;
use vworkspace_protocol::{ClusterId, id::SessionId};
use vworkspace_transport::{
    LinkError,
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
}

impl Connection {
    /// A link with the credential.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(
        credentials: &Credentials,
        session: &SessionId,
        allow_insecure_http: bool,
    ) -> Result<Self, SettingsError> {
        let link = HttpLink::new(&LinkSettings {
            base_url: credentials.base_url.clone(),
            ca_pem: credentials.ca_pem.clone(),
            bearer: Some(credentials.token.clone()),
            session: session.clone(),
            user_agent: USER_AGENT.to_owned(),
            allow_insecure_http,
        })?;
        Ok(Self { link, cluster: credentials.cluster_id.clone(), credentials: credentials.clone() })
    }

    /// The control plane's clock, as far as it is known.
    pub fn control_plane_now(&self) -> jiff::Timestamp {
        self.link.control_plane_now().unwrap_or_else(clock::now)
    }
}

/// Gives the current connection; cheap to clone.
#[derive(Clone)]
pub struct Links(watch::Receiver<Option<Arc<Connection>>>);

impl Links {
    /// The receiving end of the channel that the driver feeds.
    pub fn new(receiver: watch::Receiver<Option<Arc<Connection>>>) -> Self {
        Self(receiver)
    }

    /// The connection, if there is a credential.
    pub fn now(&self) -> Option<Arc<Connection>> {
        self.0.borrow().clone()
    }

    /// Whether this is the connection in use: what an earlier one meets says nothing about it.
    pub fn is_current(&self, connection: &Arc<Connection>) -> bool {
        self.0.borrow().as_ref().is_some_and(|now| Arc::ptr_eq(now, connection))
    }

    /// Waits for a connection; `None` once the agent ends.
    pub async fn connected(&self) -> Option<Arc<Connection>> {
        self.0.clone().wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Waits until the connection is another one than `old`.
    pub async fn changed_from(&self, old: &Arc<Connection>) {
        let is_other = |now: &Option<Arc<Connection>>| !now.as_ref().is_some_and(|now| Arc::ptr_eq(now, old));
        // An error means that the agent ends: nothing changes any more.
        if self.0.clone().wait_for(is_other).await.is_err() {
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
        LinkError::Refused { status, retry_after, .. } => Failure::of_status(*status, *retry_after),
        LinkError::Unreachable { .. } | LinkError::Malformed { .. } => {
            Failure::Unavailable { retry_after: None }
        }
    }
}

/// A connection to an address where nobody listens.
#[cfg(test)]
pub(super) fn connection_to_nowhere() -> Arc<Connection> {
    let credentials = Credentials {
        base_url: "http://localhost:1".to_owned(),
        cluster_id: ClusterId::new("c"),
        token: vworkspace_protocol::Secret::new("vwksp-agt-test"),
        ca_pem: None,
    };
    Arc::new(Connection::new(&credentials, &SessionId::new("s"), false).unwrap())
}
