//! What becomes of an accepted socket: a place among the bounded many, TLS, HTTP/1.1 until either side is done.
//!
//! Thousands of agents wait at the same time, each in a connection of its own, so this is written to keep little: see
//! `docs/BENCHMARKS.md`.

use crate::{
    linger::Lingering,
    tls::{Certificate, TlsStream},
};
use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::SockRef;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;
use vworkspace_protocol::problem::code;
use vworkspace_transport::http::server::Peer;

/// Longest time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time between the end of one request, or the handshake, and the last header byte of the next. Longer than
/// clients keep idle connections, so that they, not we, end them.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time in which a peer takes nothing of what is sent to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time for answers that are being written when the server stops.
pub const GRACE: Duration = Duration::from_secs(5);

/// The open connections of a socket.
pub struct Connections {
    served: Arc<Served>,
    tls: Option<Certificate>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// What every connection needs.
struct Served {
    http: http1::Builder,
    router: Router,
    stop: CancellationToken,
}

/// Plain or TLS. Boxed, because it is moved from hand to hand before it is served, and each hand would keep room for
/// all of it for as long as the connection lasts.
type Stream = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Connections {
    /// None yet, and at most `most` at a time; all end soon after `stop`.
    pub fn new(router: Router, tls: Option<Certificate>, stop: CancellationToken, most: usize) -> Self {
        // HTTP/1.1 alone: see docs/BENCHMARKS.md for what an idle HTTP/2 connection costs.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let room = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { served: Arc::new(Served { http, router, stop }), tls, room, tasks: TaskTracker::new() }
    }

    /// Serves the socket in a task of its own, or closes it when there is no room.
    pub fn take_up(&self, socket: TcpStream) {
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            tracing::debug!("connection closed: too many");
            return;
        };
        let peer = socket.peer_addr().ok().map(|address| Peer(address.ip()));
        let stream = Box::pin(opened(socket, self.tls.as_ref().map(Certificate::config)));
        let served = self.served.clone();
        self.tasks.spawn(async move {
            if let Err(error) = served.connection(stream, peer).await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }

    /// Returns when the last one has ended.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Served {
    async fn connection(
        &self,
        stream: impl Future<Output = io::Result<Stream>> + Unpin,
        peer: Option<Peer>,
    ) -> io::Result<()> {
        let Some(stream) = self.stop.run_until_cancelled(stream).await else {
            return Ok(());
        };
        let service = service_fn(|mut request: Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            self.router.clone().call(request)
        });
        let stream = TokioIo::new(Lingering::new(stream?));
        let mut connection = Box::pin(self.http.serve_connection(stream, service));
        let ended = match self.stop.run_until_cancelled(connection.as_mut()).await {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                timeout(GRACE, connection).await?
            }
        };
        ended.map_err(io::Error::other)
    }
}

async fn opened(socket: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Stream> {
    // Answers are small: waiting to fill a packet would only delay them.
    socket.set_nodelay(true)?;
    // A peer that takes nothing of its answer holds its place no longer than one that says nothing.
    SockRef::from(&socket).set_tcp_user_timeout(Some(WRITE_TIMEOUT))?;
    let Some(tls) = tls else { return Ok(Box::new(socket)) };
    let shaken = async {
        // The first byte of TLS is no letter, the first one of an HTTP request is nothing else.
        let mut first = [0];
        socket.peek(&mut first).await?;
        if first[0].is_ascii_alphabetic() {
            return Err(refuse_plain_http(socket).await);
        }
        TlsStream::accept(tls, socket).await
    };
    Ok(Box::new(timeout(HANDSHAKE_TIMEOUT, shaken).await??))
}

/// Answers plain HTTP where TLS is spoken, so that who typed `http://` reads what to change.
async fn refuse_plain_http(socket: TcpStream) -> io::Error {
    let error = code::HTTPS_REQUIRED;
    let body =
        format!(r#"{{"error":"{error}","message":"this port speaks HTTPS: write the URL with https://"}}"#);
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut socket = Lingering::new(socket);
    let written = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await
    };
    match written.await {
        Ok(()) => io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on a port that speaks TLS"),
        Err(error) => error,
    }
}
