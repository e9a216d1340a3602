//! What time it is, and how to wait: the one thing a use-case needs that a simulation must own.

use futures::future::BoxFuture;
use jiff::Timestamp;
use std::time::Duration;

/// The clock of a server.
pub trait Clock: Send + Sync + 'static {
    /// The time of day. It may jump, so nothing is timed with it.
    fn now(&self) -> Timestamp;

    /// Waits that long, whatever the time of day does meanwhile.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}
