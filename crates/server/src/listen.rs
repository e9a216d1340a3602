//! The socket: plain or TLS, with time-outs against clients that never finish.

use crate::connections::Bounded;
use axum::Router;
use axum_server::{
    Handle, Server,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};
use thiserror::Error;

/// A connection that has not sent its first request by then is closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time between the end of one request and the last header byte of the next on an HTTP/1 connection.
/// Longer than clients keep idle connections, so that they, not we, end them.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time for answers that are being written when the server stops.
pub const GRACE: Duration = Duration::from_secs(5);

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
    tls: Option<RustlsConfig>,
}

impl Listener {
    /// Binds the socket; without `tls` only on loopback, unless `allow_insecure_http`.
    ///
    /// # Errors
    /// See [`enum@Error`].
    pub fn bind(
        address: SocketAddr,
        tls: Option<RustlsConfig>,
        allow_insecure_http: bool,
    ) -> Result<Self, Error> {
        if tls.is_none() && !address.ip().is_loopback() && !allow_insecure_http {
            return Err(Error::InsecureHttp { address });
        }
        let socket = TcpListener::bind(address).map_err(|source| Error::Bind { address, source })?;
        let address = socket.local_addr().map_err(|source| Error::Bind { address, source })?;
        Ok(Self { socket, address, tls })
    }

    /// The base URL of what listens here.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Serves at most so many connections until the handle is told to stop.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn serve(
        self,
        router: Router,
        handle: Handle<SocketAddr>,
        most_connections: usize,
    ) -> io::Result<()> {
        let server = with_time_outs(axum_server::from_tcp(self.socket)?.handle(handle));
        let service = router.into_make_service();
        // Answers are small: waiting to fill a packet would only delay them.
        let plain = NoDelayAcceptor::new();
        match self.tls {
            Some(config) => {
                let tls = RustlsAcceptor::new(config).acceptor(plain);
                server.acceptor(Bounded::new(tls, most_connections)).serve(service).await
            }
            None => server.acceptor(Bounded::new(plain, most_connections)).serve(service).await,
        }
    }
}

fn with_time_outs(server: Server<SocketAddr>) -> Server<SocketAddr> {
    // HTTP/1.1 alone: see docs/BENCHMARKS.md for what an idle HTTP/2 connection costs.
    let mut server = server
        .http1_only()
        .first_request_timeout(FIRST_REQUEST_TIMEOUT)
        .accept_error_handler(|_, error| tracing::debug!(%error, "connection not accepted"));
    server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT);
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_alone() {
        let bind = |address: &str, allow| Listener::bind(address.parse().unwrap(), None, allow);
        assert!(matches!(bind("0.0.0.0:0", false), Err(Error::InsecureHttp { .. })));
        assert!(bind("127.0.0.1:0", false).unwrap().url().starts_with("http://127.0.0.1:"));
    }
}
