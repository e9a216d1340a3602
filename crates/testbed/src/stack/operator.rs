//! The operator as a process, under its own ServiceAccount.

use crate::process::Process;
use anyhow::Context as _;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};
use vworkspace_crds::key::DEFAULT_NAMESPACE;

/// A running `vworkspace-operator`; ends with this value.
pub struct Operator {
    process: Mutex<Process>,
    start: Start,
}

/// How it was started, to start it again.
struct Start {
    program: PathBuf,
    work: PathBuf,
    kubeconfig: PathBuf,
    flags: Vec<String>,
}

/// Memory of a process.
pub struct Memory {
    /// Everything of it that is in memory (`VmRSS`), MiB.
    pub resident_mib: f64,
    /// Of that, what is not backed by a file (`RssAnon`), MiB.
    pub anonymous_mib: f64,
    /// Of that, pages of files, most of them the program's own (`RssFile`), MiB: the kernel may drop them.
    pub file_mib: f64,
}

impl Operator {
    /// Starts it with leader election, as the shipped Deployment would, and with these flags.
    pub fn start(programs: &Path, work: &Path, kubeconfig: &Path, flags: &[String]) -> anyhow::Result<Self> {
        let start = Start {
            program: programs.join("vworkspace-operator"),
            work: work.to_path_buf(),
            kubeconfig: kubeconfig.to_path_buf(),
            flags: flags.to_vec(),
        };
        Ok(Self { process: Mutex::new(start.spawn()?), start })
    }

    /// Ends it as a node failure would.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Fails when it has ended by itself.
    pub fn still_runs(&self) -> anyhow::Result<()> {
        self.process().still_runs()
    }

    /// Starts it again.
    pub fn restart(&self) -> anyhow::Result<()> {
        *self.process() = self.start.spawn()?;
        Ok(())
    }

    /// Everything that it logged.
    ///
    /// # Errors
    /// Its log cannot be read.
    pub fn whole_log(&self) -> anyhow::Result<String> {
        Ok(self.process().said()?)
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.process().log_tail()
    }

    /// How much memory it takes now.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process().id())).context("it does not run")?;
        let mib = |field: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
            let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?;
            Ok(kib / 1024.0)
        };
        Ok(Memory { resident_mib: mib("VmRSS")?, anonymous_mib: mib("RssAnon")?, file_mib: mib("RssFile")? })
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A process is replaced as a whole.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Start {
    fn spawn(&self) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.program);
        command
            .args(["--leader-elect=true", "--health-probe-bind-address=127.0.0.1:0"])
            .args(&self.flags)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("POD_NAMESPACE", DEFAULT_NAMESPACE);
        Process::start("operator", command, &self.work)
    }
}
