//! The OCI registry: a real one, in memory.

use crate::{
    process::{Process, free_ports},
    programs::{Program, Programs},
};
use anyhow::ensure;
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::sleep};

/// It listens within milliseconds.
const WITHIN: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A running registry; it ends with this value.
#[derive(Debug)]
pub(super) struct Registry {
    /// `host:port`.
    pub address: String,
    process: Process,
}

impl Registry {
    /// Starts it and waits until it listens.
    pub async fn start(programs: &Programs, dir: &Path) -> anyhow::Result<Self> {
        let [port] = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(programs.path(Program::Crane));
        command.args(["registry", "serve", "--address", &address]);
        let mut process = Process::start("registry", command, dir)?;
        let start = Instant::now();
        while TcpStream::connect(&address).await.is_err() {
            process.still_runs()?;
            ensure!(start.elapsed() < WITHIN, "the registry does not listen: {}", process.log_tail());
            sleep(PAUSE).await;
        }
        process.still_runs()?;
        Ok(Self { address, process })
    }

    /// Fails with the tail of its log when it has ended.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        self.process.still_runs()
    }
}
