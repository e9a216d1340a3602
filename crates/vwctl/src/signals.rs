//! Signals that ask this program to end while it follows a job.

use crate::error::Signal;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP, caught from now on; but those that whoever started this program had it ignore, as `nohup` and
/// shells do for programs in the background.
pub(crate) struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn catch() -> io::Result<Self> {
        let ignored = ignored();
        let all = [("SIGHUP", 1), ("SIGINT", 2), ("SIGTERM", 15)];
        let wanted = all.into_iter().filter(|(_, number)| ignored & (1 << (number - 1)) == 0);
        let caught = wanted.map(|(name, number)| {
            let caught = signal(SignalKind::from_raw(number.into()))?;
            Ok((Signal { name, number }, caught))
        });
        caught.collect::<io::Result<_>>().map(Self)
    }

    /// The first that comes, also one that came since they are caught.
    pub async fn first(&mut self) -> Signal {
        let waits = self.0.iter_mut().map(|(signal, caught)| {
            Box::pin(async move {
                // It never ends while it is waited for.
                caught.recv().await;
                *signal
            })
        });
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(waits).await.0
    }
}

/// The signals that this process ignores, as the kernel writes them: signal N is bit N - 1. Where it does not say, none is.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
