//! `/livez`, `/readyz` and `/healthz`, and the rule by which addresses are written.

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde::Serialize;
use std::net::SocketAddr;
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// An address that cannot be listened on.
#[derive(Debug, Error)]
pub enum AddressError {
    /// The text is no address.
    #[error("{0:?} is not an address such as :8081 or 127.0.0.1:8081")]
    Malformed(String),
    /// The system does not give it.
    #[error("{address} cannot be listened on")]
    Bind {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What `/readyz` tells.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// The API server has answered.
    pub api_server: bool,
    /// This replica works; false while another one leads.
    pub leading: bool,
}

impl Readiness {
    /// A replica that waits for the lease is ready: it can take over.
    fn status(&self) -> StatusCode {
        if self.api_server { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}

/// `0` is no address; `:PORT` is every interface.
///
/// # Errors
/// The text is no address.
pub fn address(text: &str) -> Result<Option<SocketAddr>, AddressError> {
    if text == "0" || text.is_empty() {
        return Ok(None);
    }
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map(Some).map_err(|_| AddressError::Malformed(text.to_owned()))
}

/// Listens on the address.
///
/// # Errors
/// See [`AddressError::Bind`].
pub async fn listen(address: SocketAddr) -> Result<TcpListener, AddressError> {
    TcpListener::bind(address).await.map_err(|source| AddressError::Bind { address, source })
}

/// Serves the probes until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    readiness: watch::Receiver<Readiness>,
    shutdown: CancellationToken,
) {
    let alive = || async { "ok" };
    let router = Router::new()
        .route("/livez", get(alive))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(readiness);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
    {
        tracing::error!(%error, "the probes are not served any more");
    }
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness.borrow().clone();
    (readiness.status(), Json(readiness))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_go_writes_them() {
        assert_eq!(address("0").unwrap(), None);
        assert_eq!(address(":8081").unwrap(), Some(([0, 0, 0, 0], 8081).into()));
        assert_eq!(address("127.0.0.1:1").unwrap(), Some(([127, 0, 0, 1], 1).into()));
        assert!(address("here").is_err());
    }
}
