//! One worker per object: never two reconciles of one object at a time, as many objects side by side as there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use kube::{Resource, ResourceExt as _};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Flux;

/// Flux's first wait before a retry; it doubles with each retry in a row (read off the recordings).
const FIRST_RETRY: Duration = Duration::from_millis(750);
/// Flux's longest wait before a retry.
const LONGEST_RETRY: Duration = Duration::from_secs(15 * 60);

/// The kinds that the stand-in serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    HelmRepository,
    HelmChart,
    OCIRepository,
    HelmRelease,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// When to look at an object again. A change of the object always comes first.
pub(super) enum Next {
    /// The object is gone: its worker ends.
    Gone,
    /// Only when it changes.
    Wait,
    /// After a fixed time; the count of retries starts again.
    After(Duration),
    /// After a time that grows with each retry in a row.
    Retry,
}

/// The workers. One entry per object that exists in the cluster; a wake while a worker is busy is kept (once).
#[derive(Default)]
pub(super) struct Queue {
    workers: Mutex<BTreeMap<Key, Arc<Notify>>>,
    stop: CancellationToken,
}

impl Queue {
    /// Stops all workers when it is dropped.
    pub(super) fn stopper(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Notify>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flux {
    /// Has the object looked at soon.
    pub(super) fn wake(self: &Arc<Self>, key: Key) {
        let mut workers = self.queue.workers();
        if let Some(worker) = workers.get(&key) {
            worker.notify_one();
            return;
        }
        let woken = Arc::new(Notify::new());
        workers.insert(key.clone(), Arc::clone(&woken));
        let stop = self.queue.stop.clone();
        let flux = Arc::clone(self);
        tokio::spawn(async move { stop.run_until_cancelled(flux.work(key, &woken)).await });
    }

    async fn work(self: Arc<Self>, key: Key, woken: &Notify) {
        let mut retries = 0;
        loop {
            let next = self.reconcile(&key).await.unwrap_or_else(|error| {
                tracing::warn!(error = format!("{error:#}"), object = ?key, "Flux stand-in: a reconcile failed and is tried again");
                Next::Retry
            });
            let delay = match next {
                Next::Gone => break,
                Next::Wait => None,
                Next::After(delay) => {
                    retries = 0;
                    Some(delay)
                }
                Next::Retry => {
                    retries += 1;
                    Some(retry_delay(retries))
                }
            };
            wait(woken, delay).await;
        }
        self.queue.workers().remove(&key);
        // An object of the same name may have come between the last look and the removal.
        if woken.notified().now_or_never().is_some() {
            self.wake(key);
        }
    }
}

impl Key {
    /// The key of an object of this kind.
    pub(super) fn of<K: Resource>(kind: Kind, object: &K) -> Self {
        Self { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

async fn wait(woken: &Notify, delay: Option<Duration>) {
    match delay {
        Some(delay) => {
            // Either way the object is looked at again.
            let _ = tokio::time::timeout(delay, woken.notified()).await;
        }
        None => woken.notified().await,
    }
}

/// The wait before the given retry, counted from 1.
fn retry_delay(retry: u32) -> Duration {
    let factor = 2_u32.saturating_pow(retry.saturating_sub(1));
    FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_wait_as_long_as_the_recorded_ones() {
        let waits: Vec<_> = (1..=7).map(|n| retry_delay(n).as_millis()).collect();
        assert_eq!(waits, [750, 1500, 3000, 6000, 12_000, 24_000, 48_000]);
        assert_eq!(retry_delay(u32::MAX), LONGEST_RETRY);
    }
}
