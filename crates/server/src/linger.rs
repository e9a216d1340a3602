//! Closes a connection without cutting off the last answer.
//!
//! A server that answers before it has read the whole request, and then closes, leaves unread bytes in the socket. The
//! kernel answers these with a reset, and the reset can overtake the answer: the client sees a broken connection
//! instead of the 413 or 401. So the write side is closed first, and what the peer still sends is read and thrown away
//! until it closes too, within bounds.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Most bytes read after the answer. A peer that sends more sees a reset.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Longest time spent on one connection after the answer.
const TOTAL_TIME: Duration = Duration::from_secs(30);
/// Longest time without a byte from the peer.
const SILENCE: Duration = Duration::from_secs(2);
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;
/// Reads in one turn, so that a fast peer does not keep a thread to itself.
const READS_PER_TURN: usize = 16;

/// A stream whose shutdown waits for the peer's end.
pub struct Lingering<IO> {
    io: IO,
    /// Set while closing. Boxed, because thousands of connections wait and few of them are closing.
    closing: Option<Box<Closing>>,
}

struct Closing {
    ends_at: Instant,
    silence: Pin<Box<Sleep>>,
    left: usize,
    buffer: Vec<u8>,
}

impl<IO> Lingering<IO> {
    /// The stream as it is until its shutdown.
    pub fn new(io: IO) -> Self {
        Self { io, closing: None }
    }
}

impl Closing {
    fn new() -> Self {
        let ends_at = Instant::now() + TOTAL_TIME;
        Self { ends_at, silence: Box::pin(sleep(SILENCE)), left: MOST_BYTES, buffer: vec![0; CHUNK] }
    }

    /// Reads until the peer has closed, a bound is reached or the connection fails.
    fn poll_drain<IO: AsyncRead + Unpin>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut *io).poll_read(cx, &mut buffer) {
                Poll::Pending => return self.silence.as_mut().poll(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            let read = buffer.filled().len();
            let now = Instant::now();
            if read == 0 || read >= self.left || now >= self.ends_at {
                return Poll::Ready(());
            }
            self.left -= read;
            self.silence.as_mut().reset(self.ends_at.min(now + SILENCE));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Lingering<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    /// Tells the peer that nothing more comes, then reads what it still sends.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let closing = this.closing.get_or_insert_with(|| Box::new(Closing::new()));
        closing.poll_drain(&mut this.io, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[tokio::test]
    async fn shutdown_reads_what_the_peer_still_sends() {
        let (io, mut peer) = duplex(64);
        let mut stream = Lingering::new(io);
        stream.write_all(b"413").await.unwrap();
        let closing = tokio::spawn(async move { stream.shutdown().await });
        peer.write_all(&[0; 100_000]).await.unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "413");
        drop(peer);
        closing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silent_peer_is_left_after_two_seconds() {
        let (io, peer) = duplex(64);
        let before = Instant::now();
        Lingering::new(io).shutdown().await.unwrap();
        assert_eq!(before.elapsed().as_secs(), SILENCE.as_secs());
        drop(peer);
    }

    #[tokio::test(start_paused = true)]
    async fn endless_trickle_is_left_after_thirty_seconds() {
        let (io, mut peer) = duplex(64);
        let before = Instant::now();
        let trickle = async {
            while peer.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let mut stream = Lingering::new(io);
        tokio::select! {
            ended = stream.shutdown() => ended.unwrap(),
            () = trickle => panic!("the stream ended first"),
        }
        assert_eq!(before.elapsed().as_secs(), TOTAL_TIME.as_secs());
    }

    #[tokio::test]
    async fn endless_flood_is_left_after_the_bound_in_bytes() {
        let (io, mut peer) = duplex(1024 * 1024);
        let flood = tokio::spawn(async move {
            let mut sent = 0_usize;
            while peer.write_all(&[0; CHUNK]).await.is_ok() {
                sent += CHUNK;
            }
            sent
        });
        let mut stream = Lingering::new(io);
        stream.shutdown().await.unwrap();
        drop(stream);
        assert!(flood.await.unwrap() >= MOST_BYTES - CHUNK);
    }
}
