//! Watches how writes to the database go: one log line for each change, and a probe while they fail.

use crate::app::App;
use std::{sync::Arc, time::Duration};
use vworkspace_store::WriteState;

/// Time between two probes of a database that accepts no write. A healthy one is never probed.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How often the state is looked at; that reads a few bytes of memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Writes one row if nothing was written since the last failure: the outcome moves the state.
pub(super) async fn probe(app: Arc<App>) {
    if app.store.needs_probe()
        && let Err(error) = app.store.probe_write().await
    {
        tracing::debug!(%error, "probe write failed");
    }
}

/// Logs every change of the state until the server stops.
pub(super) async fn report(app: Arc<App>) {
    let mut known = WriteState::Good;
    while app.stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let state = app.store.write_state();
        if state != known {
            log(state);
            known = state;
        }
    }
}

fn log(state: WriteState) {
    match state {
        WriteState::Good => tracing::info!("database writes succeed again"),
        WriteState::Degraded(fault) => {
            tracing::warn!(
                cause = fault.text(),
                "database writes fail; requests that need them are answered 503"
            );
        }
        WriteState::Failed(fault) => {
            tracing::error!(cause = fault.text(), "no database write succeeds; /readyz answers 503");
        }
    }
}
