//! A TLS session over a socket that keeps no buffer while nothing travels.
//!
//! rustls does all of TLS; this moves bytes. Its buffered interface, which tokio-rustls stands on, keeps 4 KiB for each
//! connection for as long as it lasts, and thousands of agents wait at the same time.
//!
//! ```text
//!   socket ──► incoming ──┐             ┌──► plain ──► reader
//!                         ├──► rustls ──┤
//!            writer ──────┘             └──► outgoing ──► socket
//! ```

use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};
use std::{
    future::poll_fn,
    io::{self, ErrorKind, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read from the socket at a time. They come by way of the stack, so that a socket with nothing to read costs no
/// memory.
const READ_AT_ONCE: usize = 4096;
/// Most that may wait for the rest of its message: rustls' own bound for a handshake message, which is the largest.
const MOST_INCOMING: usize = 0xffff;
/// Most application data in one record (RFC 8446, section 5.1).
const RECORD: usize = 16 * 1024;
/// More than encryption adds to one record.
const OVERHEAD: usize = 256;

/// The server's end of a TLS session over `IO`. To be read and written by one task: both may send.
pub struct TlsStream<IO> {
    io: IO,
    session: UnbufferedServerConnection,
    /// Received, and no whole message yet.
    incoming: Vec<u8>,
    /// Decrypted and not read yet.
    plain: Buffer,
    /// Encrypted and not sent yet.
    outgoing: Buffer,
    /// Nothing more comes: the peer has said so, or broke the protocol.
    ended: bool,
    /// We have said that nothing more comes, or told the peer what it did wrong.
    closed: bool,
    /// Why nothing more can come; told once what came before it was read.
    broken: Option<io::Error>,
}

/// What is to be said once the session allows it.
enum Say<'d> {
    Nothing,
    Data(&'d [u8]),
    Close,
}

/// How far the session is when nothing that was received is left to work on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The peer has to speak before application data may travel.
    Handshake,
    Open,
    /// Both sides have said that nothing more comes.
    Over,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> TlsStream<IO> {
    /// Shakes hands with the peer; bounded in time by the caller.
    ///
    /// # Errors
    /// Those of the socket, [`ErrorKind::InvalidData`] for a peer that breaks the protocol, which is told so, and
    /// [`ErrorKind::UnexpectedEof`] for one that goes away.
    pub async fn accept(config: Arc<ServerConfig>, io: IO) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(invalid)?;
        let (plain, outgoing) = (Buffer::default(), Buffer::default());
        let incoming = Vec::new();
        let mut stream =
            Self { io, session, incoming, plain, outgoing, ended: false, closed: false, broken: None };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let standing = self.advance(Say::Nothing);
            // Also an alert that tells the peer what it did wrong.
            let sent = self.poll_send(cx);
            match standing? {
                // The rest of what TLS itself says, tickets for example, is sent with what comes next.
                Standing::Open => return Poll::Ready(Ok(())),
                Standing::Over => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                Standing::Handshake => {}
            }
            if let Poll::Ready(Err(broken)) = sent {
                return Poll::Ready(Err(broken));
            }
            // Not only once all is sent: a peer may speak before it listens.
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Has rustls work on everything that was received, and then on what is to be said.
    fn advance(&mut self, mut say: Say<'_>) -> io::Result<Standing> {
        let Self { session, incoming, plain, outgoing, ended, closed, .. } = self;
        loop {
            let UnbufferedStatus { mut discard, state } = session.process_tls_records(incoming);
            let standing = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        plain.put(record.payload);
                        discard += record.discard;
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    outgoing.append(0, |room| message.encode(room))?;
                    None
                }
                // It is in `outgoing`, which goes before anything else.
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    *ended = true;
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(Standing::Handshake)),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match std::mem::replace(&mut say, Say::Nothing) {
                        Say::Nothing => {}
                        Say::Data(data) => {
                            outgoing.append(data.len() + OVERHEAD, |room| traffic.encrypt(data, room))?;
                        }
                        Say::Close => {
                            *closed = true;
                            outgoing.append(OVERHEAD, |room| traffic.queue_close_notify(room))?;
                        }
                    }
                    Some(Ok(Standing::Open))
                }
                Ok(ConnectionState::Closed) => Some(Ok(Standing::Over)),
                Ok(_) => return Err(invalid("early data, which was not offered")),
                Err(broken) => Some(Err(broken)),
            };
            incoming.drain(..discard.min(incoming.len()));
            if incoming.is_empty() {
                *incoming = Vec::new();
            }
            match standing {
                None => {}
                Some(Ok(standing)) => return Ok(standing),
                Some(Err(broken)) => {
                    // Not to be asked a third time: it would find the same fault and tell of it again.
                    (*ended, *closed) = (true, true);
                    // Asked again, a session that broke answers first what its peer is to be told of it.
                    if let Ok(ConnectionState::EncodeTlsData(mut alert)) =
                        session.process_tls_records(incoming).state
                    {
                        outgoing.append(0, |room| alert.encode(room))?;
                    }
                    return Err(invalid(broken));
                }
            }
        }
    }

    /// Reads once from the socket.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut room))?;
        if room.filled().is_empty() {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        if self.incoming.len() + room.filled().len() > MOST_INCOMING {
            return Poll::Ready(Err(invalid("a message that is too long")));
        }
        self.incoming.extend_from_slice(room.filled());
        Poll::Ready(Ok(()))
    }

    /// Sends all that is encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.rest().is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.outgoing.rest()))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                sent => self.outgoing.take(sent),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.plain.rest().is_empty() {
            if let Some(broken) = this.broken.take() {
                return Poll::Ready(Err(broken));
            }
            if this.ended {
                break;
            }
            ready!(this.poll_receive(cx))?;
            let advanced = this.advance(Say::Nothing);
            // Answers of TLS itself. A reader neither waits for them nor fails with them: the next write does.
            let _ = this.poll_send(cx);
            this.broken = advanced.err();
        }
        let plain = this.plain.rest();
        let taken = plain.len().min(buf.remaining());
        buf.put_slice(plain.get(..taken).unwrap_or_default());
        this.plain.take(taken);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // One record at a time: a peer that does not read holds up its writer.
        ready!(this.poll_send(cx))?;
        if this.closed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let data = buf.get(..RECORD).unwrap_or(buf);
        if this.advance(Say::Data(data))? != Standing::Open {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        match this.poll_send(cx) {
            Poll::Ready(Err(broken)) => Poll::Ready(Err(broken)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(data.len())),
        }
    }

    /// Puts small pieces into one record; a large first one travels by itself.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let mut pieces = bufs.iter().filter(|piece| !piece.is_empty());
        let Some(first) = pieces.next() else { return Poll::Ready(Ok(0)) };
        let mut joined = Vec::new();
        for piece in pieces.take_while(|_| first.len() < RECORD) {
            if joined.is_empty() {
                joined.extend_from_slice(first);
            }
            let room = RECORD.saturating_sub(joined.len());
            joined.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        self.poll_write(cx, if joined.is_empty() { first } else { &joined })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed {
            this.advance(Say::Close)?;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// Bytes that come in at the end and go out at the front; no memory while there are none.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    gone: usize,
}

impl Buffer {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.gone..).unwrap_or_default()
    }

    fn put(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    fn take(&mut self, count: usize) {
        self.gone += count;
        if self.rest().is_empty() {
            *self = Self::default();
        }
    }

    /// Appends what `write` writes into a room of `guess` bytes, or of as many as it says it needs.
    fn append<E: Need>(
        &mut self,
        guess: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> io::Result<()> {
        let start = self.bytes.len();
        let mut room = guess;
        loop {
            self.bytes.resize(start + room, 0);
            let written = write(self.bytes.get_mut(start..).unwrap_or_default());
            match written.map_err(|error| (error.need().filter(|need| *need > room), error)) {
                Ok(written) => {
                    self.bytes.truncate(start + written);
                    return Ok(());
                }
                Err((Some(need), _)) => room = need,
                Err((None, error)) => {
                    self.bytes.truncate(start);
                    return Err(invalid(error));
                }
            }
        }
    }
}

/// An error that may ask for more room.
trait Need: std::error::Error + Send + Sync + 'static {
    fn need(&self) -> Option<usize>;
}

impl Need for EncodeError {
    fn need(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Need for EncryptError {
    fn need(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, cause)
}

#[cfg(test)]
mod tests;
