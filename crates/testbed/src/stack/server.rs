//! The control plane as a process.

use super::tls::Tls;
use crate::process::Process;
use anyhow::{Context as _, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use vworkspace_client::Client;
use vworkspace_protocol::Secret;

/// How long the server may take to open its socket.
const LISTEN_WITHIN: Duration = Duration::from_secs(20);

/// A running `vworkspace-server`; ends with this value.
pub struct Server {
    process: Mutex<Process>,
    /// Its base URL.
    pub url: String,
    /// The certificate authority its callers trust.
    pub ca: PathBuf,
    pub(super) admin_token: Secret,
    start: Start,
}

/// How it was started, to start it again.
struct Start {
    program: PathBuf,
    work: PathBuf,
    data: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    flags: Vec<String>,
}

impl Server {
    /// Starts it with these flags besides those it needs, on a free loopback port with a new data folder under `work`.
    pub async fn start(programs: &Path, work: &Path, tls: &Tls, flags: &[String]) -> anyhow::Result<Self> {
        let start = Start {
            program: programs.join("vworkspace-server"),
            work: work.to_path_buf(),
            data: work.join("data"),
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            flags: flags.to_vec(),
        };
        let mut process = start.spawn("127.0.0.1:0")?;
        let url = said(&mut process, "listening: ").await?;
        let token = said(&mut process, "admin token (shown once): ").await?;
        Ok(Self {
            process: Mutex::new(process),
            url,
            ca: tls.ca.clone(),
            admin_token: Secret::new(&token),
            start,
        })
    }

    /// A client with the admin's token.
    pub fn client(&self) -> anyhow::Result<Client> {
        let ca = fs::read(&self.ca)?;
        Ok(Client::new(&self.url, self.admin_token.clone(), Some(&ca))?)
    }

    /// Ends it as a power cut would, keeping its data.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Fails when it has ended by itself.
    pub fn still_runs(&self) -> anyhow::Result<()> {
        self.process().still_runs()
    }

    /// Everything that it printed and logged.
    ///
    /// # Errors
    /// Its log cannot be read.
    pub fn whole_log(&self) -> anyhow::Result<String> {
        Ok(self.process().said()?)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process().id()
    }

    /// How a person starts it again in a shell: same address, same data.
    pub fn line(&self) -> anyhow::Result<String> {
        let command = self.start.command(self.address()?);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        Ok(words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    /// The folder of its database.
    pub fn data(&self) -> PathBuf {
        self.start.data.clone()
    }

    /// Starts it again on the same address with the same data.
    pub async fn restart(&self) -> anyhow::Result<()> {
        let mut process = self.start.spawn(self.address()?)?;
        said(&mut process, "listening: ").await?;
        *self.process() = process;
        Ok(())
    }

    /// Starts it again on the same address with these flags besides its own, this time alone.
    pub async fn restart_with(&self, flags: &[&str]) -> anyhow::Result<()> {
        let mut command = self.start.command(self.address()?);
        command.args(flags);
        let mut process = Process::start("server", command, &self.start.work)?;
        said(&mut process, "listening: ").await?;
        *self.process() = process;
        Ok(())
    }

    /// Ends it and starts another one with its data on a new port, with the certificate of `tls`; `work` takes its log.
    pub async fn moved(&self, work: &Path, tls: &Tls) -> anyhow::Result<Self> {
        self.kill();
        let start = Start {
            program: self.start.program.clone(),
            work: work.to_path_buf(),
            data: self.start.data.clone(),
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            flags: self.start.flags.clone(),
        };
        let mut process = start.spawn("127.0.0.1:0")?;
        let url = said(&mut process, "listening: ").await?;
        let (ca, admin_token) = (tls.ca.clone(), self.admin_token.clone());
        Ok(Self { process: Mutex::new(process), url, ca, admin_token, start })
    }

    fn address(&self) -> anyhow::Result<&str> {
        self.url.split("://").nth(1).context("the URL has no address")
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A process is replaced as a whole.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Start {
    fn spawn(&self, listen: &str) -> anyhow::Result<Process> {
        Process::start("server", self.command(listen), &self.work)
    }

    fn command(&self, listen: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--listen", listen, "--data-dir"]).arg(&self.data).args(&self.flags);
        command.arg("--tls-cert").arg(&self.certificate).arg("--tls-key").arg(&self.key);
        command
    }
}

/// What follows `prefix` on a line the process wrote.
async fn said(process: &mut Process, prefix: &str) -> anyhow::Result<String> {
    let start = Instant::now();
    loop {
        let log = process.said().unwrap_or_default();
        if let Some(rest) = log.lines().find_map(|line| line.strip_prefix(prefix)) {
            return Ok(rest.to_owned());
        }
        process.still_runs()?;
        ensure!(
            start.elapsed() < LISTEN_WITHIN,
            "the server did not say `{prefix}`; its log:\n{}",
            process.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
