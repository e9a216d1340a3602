//! The socket: plain or TLS, and the loop that takes up its connections.

use crate::{connections::Connections, tls::Certificate};
use axum::Router;
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Rest after an accept that failed: out of file descriptors, trying at once would fail as well.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a failure of accept that goes on is logged: it comes back with each pause.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Connections beyond one for each request that is let in: a request too many is answered so, and a probe is served.
pub const SPARE: usize = 1000;

/// A socket that will not be opened.
#[derive(Debug, Error)]
pub enum Error {
    /// Tokens must not travel readable.
    #[error(
        "{address} is not loopback: give --tls-cert and --tls-key, or say --allow-insecure-http to serve plain HTTP there"
    )]
    InsecureHttp {
        /// Where it should have listened.
        address: SocketAddr,
    },
    /// The operating system refused.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where it should have listened.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A bound socket.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Certificate>,
}

impl Listener {
    /// Binds the socket; without `tls` only on loopback, unless `allow_insecure_http`.
    ///
    /// # Errors
    /// See [`enum@Error`].
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Certificate>,
        allow_insecure_http: bool,
    ) -> Result<Self, Error> {
        if tls.is_none() && !address.ip().is_loopback() && !allow_insecure_http {
            return Err(Error::InsecureHttp { address });
        }
        let failed = |source| Error::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, tls })
    }

    /// The base URL of what listens here.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Serves at most `most` connections at a time until `stop`; then closes the socket and returns when the last
    /// connection has ended, see [`GRACE`](crate::connections::GRACE). A connection too many is closed at once.
    pub async fn serve(self, router: Router, stop: CancellationToken, most: usize) {
        let connections = Connections::new(router, self.tls, stop.clone(), most);
        let mut logged: Option<(Option<i32>, Instant)> = None;
        while let Some(accepted) = stop.run_until_cancelled(self.socket.accept()).await {
            match accepted {
                Ok((socket, _)) => connections.take_up(socket),
                Err(gone) if gone.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    let code = error.raw_os_error();
                    if logged.is_none_or(|(before, at)| before != code || at.elapsed() >= LOG_EVERY) {
                        logged = Some((code, Instant::now()));
                        tracing::warn!(%error, "cannot accept connections, retrying");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(self.socket);
        connections.ended().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_http_is_for_loopback_alone() {
        let bind = |address: &str| Listener::bind(address.parse().unwrap(), None, false);
        assert!(matches!(bind("0.0.0.0:0").await, Err(Error::InsecureHttp { .. })));
        assert!(bind("127.0.0.1:0").await.unwrap().url().starts_with("http://127.0.0.1:"));
    }
}
