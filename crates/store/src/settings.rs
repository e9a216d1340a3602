//! What an installation may tune.

use crate::{Bounds, Retention};
use std::time::Duration;
use vworkspace_core::control::credential::UNUSED_LIFE;

/// Times of the contract (sections 2 and 4) and bounds of the store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a delivered job stays hidden before it is offered again. Default 30 s.
    pub job_lease: Duration,
    /// Silence after which a session counts as broken and what it acked is offered again. Default 10 min.
    pub stale_session: Duration,
    /// Silence after which a cluster is shown as disconnected. Default 60 s.
    pub disconnect_after: Duration,
    /// Life of a bearer credential. Default 90 days.
    pub credential_life: Duration,
    /// How long a credential that rotation gave waits for its first use. Default: [`UNUSED_LIFE`].
    pub unused_life: Duration,
    /// How long what is over is kept.
    pub retention: Retention,
    /// How much an organization may have.
    pub bounds: Bounds,
    /// Most calls that wait for the writer; one more is refused with [`Error::Busy`](crate::Error::Busy).
    /// Default 8,192.
    pub write_queue: usize,
    /// Connections for reading. Default 4.
    pub readers: usize,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Default for Settings {
    fn default() -> Self {
        Self {
            job_lease: Duration::from_secs(30),
            stale_session: Duration::from_secs(600),
            disconnect_after: Duration::from_secs(60),
            credential_life: HOUR * 24 * 90,
            unused_life: UNUSED_LIFE,
            retention: Retention::default(),
            bounds: Bounds::default(),
            write_queue: 8192,
            readers: 4,
        }
    }
}
