//! Log lines as a test reads them.

use std::{
    io::Write,
    sync::{Arc, LazyLock, Mutex},
};
use tracing::Dispatch;

/// Wants every line, for as long as the tests run.
///
/// While there is one subscriber only, `tracing` asks that of the thread which comes first to a log statement whether
/// anybody wants it, and keeps the answer for all threads. Another test may be first, and has none.
static ALL: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

/// What was logged; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// All of it.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps the lines of this thread, filtered as the program filters them, until the guard is dropped.
pub(crate) fn recording(lines: &Lines, directives: &str) -> tracing::subscriber::DefaultGuard {
    LazyLock::force(&ALL);
    let lines = lines.clone();
    let log = tracing_subscriber::fmt().with_env_filter(crate::logs::filter(directives));
    let log = log.json().flatten_event(true).with_writer(move || crate::logs::Redacting(lines.clone()));
    tracing::subscriber::set_default(log.finish())
}
