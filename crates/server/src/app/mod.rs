//! Use-cases: one function behind each route, the only code that opens the store.
//!
//! A use-case turns the caller into an authorised handle first, asks `core` to judge the input, lets the store do
//! the one transaction, and after the commit wakes whoever waits for it.

pub mod access;
pub mod agent;
pub mod archive;
pub mod clusters;
mod error;
pub mod identity;
pub mod jobs;
pub mod organizations;
pub mod page;
mod pause;
pub mod readiness;
pub mod reports;
pub mod restore;
mod rules;
pub mod tokens;

pub use agent::AgentPort;
pub use error::{Error, not_found};

use self::readiness::Readiness;
use crate::{
    address::Network,
    args::Serve,
    clock::{Clock, SystemClock},
    metrics::{Metrics, Now},
    wake::Waiters,
};
use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use vworkspace_protocol::{ClusterId, JobId, Secret};
use vworkspace_store::{self as store, Bounds, Retention, Settings, Store};

/// Open polls of one cluster; one more ends the oldest.
const POLLS_PER_CLUSTER: usize = 4;
/// Open watches of one job; one more ends the oldest.
const WATCHES_PER_JOB: usize = 16;

/// Longest time the read of a readiness check may take: probes of Kubernetes give up after a second.
const READ_WITHIN: Duration = Duration::from_millis(500);

/// What all use-cases share.
pub struct App {
    /// The database.
    pub store: Store,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// Agents that wait for jobs.
    pub polls: Waiters<ClusterId>,
    /// People and programs that wait for news of a job.
    pub watches: Waiters<JobId>,
    /// Places for requests; waiting ones keep theirs.
    pub room: Arc<Semaphore>,
    /// Proxies whose word about where a request comes from is believed.
    pub trusted_proxies: Vec<Network>,
    /// Ends everything that waits.
    pub stop: CancellationToken,
}

impl App {
    /// Opens the store in the data folder, made when absent. Answers the first admin token on the very first start.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open(settings: &Serve) -> Result<(Self, Option<Secret>), store::Error> {
        let path = settings.data_dir.join("vworkspace.db");
        let tuning = Settings {
            job_lease: settings.job_lease,
            stale_session: settings.stale_session,
            disconnect_after: settings.disconnect_after,
            retention: retention(settings),
            bounds: Bounds {
                clusters: settings.max_clusters_per_organization,
                registration_tokens: settings.max_registration_tokens_per_organization,
                api_tokens: settings.max_api_tokens_per_organization,
            },
            ..Settings::default()
        };
        let opened = tokio::task::spawn_blocking(move || {
            private_folder(path.parent().unwrap_or(Path::new(".")))
                .map_err(|source| store::Error::Open { path: path.clone(), source })?;
            Store::open(&path, &tuning)
        });
        let store = opened.await.unwrap_or(Err(store::Error::Stopped))?;
        let mut app = Self::over(store, Arc::new(SystemClock), settings.max_requests);
        app.trusted_proxies.clone_from(&settings.trusted_proxies);
        if settings.restored {
            let held = app.store.hold_open_jobs(app.clock.now()).await?;
            tracing::warn!(
                held,
                "started as restored: every open job is held until it is released or cancelled"
            );
        }
        let first_admin_token = app.store.bootstrap_admin(app.clock.now()).await?;
        Ok((app, first_admin_token))
    }

    /// The use-cases over a store; at most `max_requests` wait at the same time.
    pub fn over(store: Store, clock: Arc<dyn Clock>, max_requests: usize) -> Self {
        Self {
            store,
            clock,
            metrics: Metrics::default(),
            polls: Waiters::new(POLLS_PER_CLUSTER, max_requests),
            watches: Waiters::new(WATCHES_PER_JOB, max_requests),
            room: Arc::new(Semaphore::new(max_requests.min(Semaphore::MAX_PERMITS))),
            trusted_proxies: Vec::new(),
            stop: CancellationToken::new(),
        }
    }

    /// What the agent transport talks to.
    pub fn agent_port(self: &Arc<Self>) -> AgentPort {
        AgentPort::new(self.clone())
    }

    /// Checks whether this server should be given requests. Writes nothing: how the last writes went decides, and a
    /// background task probes while they fail.
    pub async fn readiness(&self) -> Readiness {
        let read = tokio::time::timeout(READ_WITHIN, self.store.probe_read()).await;
        Readiness::new(self.stop.is_cancelled(), matches!(read, Ok(Ok(()))), self.store.write_state())
    }

    /// What a scraper reads.
    ///
    /// # Errors
    /// Those of the formatter.
    pub fn metrics_text(&self) -> Result<String, std::fmt::Error> {
        self.metrics.encode(&Now {
            long_polls: self.polls.taken() + self.watches.taken(),
            writer_queue: self.store.write_queue_length(),
            tally: self.store.tally(),
            writes: readiness::of_writes(self.store.write_state()),
            conflicts: self.store.identity_conflicts(),
        })
    }
}

fn retention(settings: &Serve) -> Retention {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 3600);
    Retention {
        jobs: days(settings.keep_jobs_days),
        events: days(settings.keep_events_days),
        audit: days(settings.keep_audit_days),
        tokens: days(settings.keep_tokens_days),
    }
}

fn private_folder(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
