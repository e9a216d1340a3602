//! Watches that back off. Every watch of the operator runs through [`steady`].
//!
//! `kube`'s own back-off starts again at every item of the stream, also at the [`Event::Init`] that precedes each list.
//! A watch that may not list then asks twice a second for as long as it runs. Here only what a list or a watch brought
//! resets the back-off: the delays grow to a minute, with full jitter, and an overloaded API server gets its rest.

use crate::cause::{answer, chain};
use futures::{Stream, StreamExt as _, stream};
use kube::{
    core::Status,
    runtime::watcher::{self, Event},
};
use std::{pin::Pin, time::Duration};
use tokio::time::sleep;
use vworkspace_core::watch_pace::{Pause, WatchPace};

/// An item of a watch's stream.
pub trait Progress {
    /// Whether a list or a watch brought it.
    fn is_progress(&self) -> bool;
}

impl<K> Progress for Event<K> {
    fn is_progress(&self) -> bool {
        !matches!(self, Self::Init)
    }
}

/// Of `watcher::watch_object`, which keeps the markers for itself.
impl<K> Progress for Option<K> {
    fn is_progress(&self) -> bool {
        true
    }
}

/// Adds the back-off to a stream of `watcher` or `watch_object`, which must not have one yet. `watch` names it in the
/// log, for example `Clusters`.
///
/// A failure is logged once, and again when its kind changes; so is the recovery. The caller gets all failures and need
/// not log them.
pub fn steady<S, T>(watch: &str, events: S) -> impl Stream<Item = watcher::Result<T>> + Send + use<S, T>
where
    S: Stream<Item = watcher::Result<T>> + Send,
    T: Progress + Send,
{
    steady_unless(watch, events, |_| false)
}

/// As [`steady`], for a caller that logs some of the failures itself: those are logged here at debug level only.
pub fn steady_unless<S, T>(
    watch: &str,
    events: S,
    caller_logs: fn(&watcher::Error) -> bool,
) -> impl Stream<Item = watcher::Result<T>> + Send + use<S, T>
where
    S: Stream<Item = watcher::Result<T>> + Send,
    T: Progress + Send,
{
    let start = Steady {
        events: Box::pin(events),
        log: WatchLog { watch: watch.to_owned(), caller_logs, is_told: false },
        pace: WatchPace::default(),
        rest: None,
    };
    stream::unfold(start, |mut steady| async move {
        let item = steady.next().await?;
        Some((item, steady))
    })
}

struct Steady<S> {
    events: Pin<Box<S>>,
    log: WatchLog,
    pace: WatchPace<String>,
    /// Before the next try.
    rest: Option<Duration>,
}

impl<S, T> Steady<S>
where
    S: Stream<Item = watcher::Result<T>>,
    T: Progress,
{
    async fn next(&mut self) -> Option<watcher::Result<T>> {
        if let Some(rest) = self.rest.take() {
            sleep(rest).await;
        }
        let item = self.events.next().await?;
        match &item {
            Ok(item) => {
                if item.is_progress() && self.pace.handle_progress() {
                    self.log.restored();
                }
            }
            Err(error) => {
                let pause = self.pace.handle_failure(kind(error), retry_after(error), rand::random());
                self.rest = Some(pause.delay);
                self.log.failed(error, pause);
            }
        }
        Some(item)
    }
}

struct WatchLog {
    watch: String,
    caller_logs: fn(&watcher::Error) -> bool,
    /// Whether the present failure was logged above debug.
    is_told: bool,
}

impl WatchLog {
    fn failed(&mut self, error: &watcher::Error, pause: Pause) {
        let is_told = pause.is_news && !(self.caller_logs)(error);
        let (watch, error) = (&self.watch, text(error));
        let retry_in_ms = u64::try_from(pause.delay.as_millis()).unwrap_or(u64::MAX);
        if is_told {
            self.is_told = true;
            tracing::warn!(watch, error, retry_in_ms, "watch failed; retrying with back-off");
        } else {
            tracing::debug!(watch, error, retry_in_ms, "watch failed; retrying with back-off");
        }
    }

    fn restored(&mut self) {
        let watch = &self.watch;
        if std::mem::take(&mut self.is_told) {
            tracing::info!(watch, "watch works again");
        } else {
            tracing::debug!(watch, "watch works again");
        }
    }
}

/// Whether the operator may not list or watch there.
pub fn is_forbidden(error: &watcher::Error) -> bool {
    status_of(error).is_some_and(|status| status.code == 403)
}

/// The kind of a failure: the status, or all causes. Two texts that differ in numbers only are one kind.
fn kind(error: &watcher::Error) -> String {
    match status_of(error) {
        Some(status) => format!("{} {}", status.code, status.reason),
        None => text(error).chars().filter(|char| !char.is_ascii_digit()).collect(),
    }
}

fn retry_after(error: &watcher::Error) -> Option<Duration> {
    let seconds = status_of(error)?.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

fn status_of(error: &watcher::Error) -> Option<&Status> {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => {
            Some(status)
        }
        WatchFailed(kube::Error::Api(status)) | WatchError(status) => Some(status),
        InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => None,
    }
}

/// What the API server answered, or why it was not reached.
pub fn text(error: &watcher::Error) -> String {
    status_of(error).map_or_else(|| chain(error), answer)
}

#[cfg(test)]
mod tests;
