//! What server and generator have used up, and what between two moments.

use crate::{metrics::Reading, process, server::ServerProcess};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use vworkspace_client::Client;

/// Counters at one moment.
pub struct Usage {
    at: Instant,
    server_cpu: Duration,
    generator_cpu: Duration,
    machine_cpu: Duration,
    server_threads: BTreeMap<String, Duration>,
    written: u64,
    /// The server's own counters.
    pub metrics: Reading,
}

/// What was used between two moments.
pub struct Spent {
    /// By the clock on the wall.
    pub wall: Duration,
    /// CPU time of the server.
    pub server_cpu: Duration,
    /// CPU time of this program.
    pub generator_cpu: Duration,
    /// CPU time of everything else on the machine: what disturbed the measurement.
    pub others_cpu: Duration,
    /// CPU time of the server by thread name.
    pub server_threads: BTreeMap<String, Duration>,
    /// Bytes the server had written to storage.
    pub written: u64,
    /// Growth of the server's counters.
    pub counters: Reading,
}

impl Usage {
    /// Reads everything once.
    pub async fn now(server: &ServerProcess, scraper: &Client) -> anyhow::Result<Self> {
        let pid = server.pid();
        Ok(Self {
            at: Instant::now(),
            server_cpu: process::cpu(pid)?,
            generator_cpu: process::cpu(std::process::id())?,
            machine_cpu: process::machine_cpu()?,
            server_threads: process::cpu_by_thread(pid)?,
            written: process::written_bytes(pid)?,
            metrics: Reading::parse(&scraper.metrics().await?),
        })
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Spent {
        let by = |(name, now): (&String, &Duration)| {
            let then = earlier.server_threads.get(name).copied().unwrap_or_default();
            (name.clone(), now.saturating_sub(then))
        };
        let server_cpu = self.server_cpu.saturating_sub(earlier.server_cpu);
        let generator_cpu = self.generator_cpu.saturating_sub(earlier.generator_cpu);
        let machine_cpu = self.machine_cpu.saturating_sub(earlier.machine_cpu);
        Spent {
            wall: self.at - earlier.at,
            server_cpu,
            generator_cpu,
            others_cpu: machine_cpu.saturating_sub(server_cpu + generator_cpu),
            server_threads: self.server_threads.iter().map(by).collect(),
            written: self.written.saturating_sub(earlier.written),
            counters: self.metrics.growth(&earlier.metrics),
        }
    }
}
