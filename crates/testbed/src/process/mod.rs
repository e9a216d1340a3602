//! Programs that run beside us and never outlive us.
//!
//! A [`Process`] writes to a log file under its name, behind what an earlier run left there, and ends with the value. When we are killed so hard that no destructor
//! runs, the kernel ends it ([`death`]).

pub mod death;
mod port;
mod spawner;

pub use port::free_ports;

use anyhow::Context as _;
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// How much of a log an error carries, in bytes from its end.
const TAIL_BYTES: u64 = 4096;

/// A running program; killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where its own part of the log begins.
    begins: u64,
}

impl Process {
    /// Starts `command` with its output at the end of `dir/<name>.log`. It gets a process group of its own, so that Ctrl-C in a
    /// terminal reaches only us and we decide the order of the end.
    ///
    /// # Errors
    /// The log cannot be made, or the program cannot be started.
    pub fn start(name: &str, mut command: Command, dir: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let log = dir.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        let begins = output.metadata().with_context(|| format!("cannot read {}", log.display()))?.len();
        let errors = output.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        death::follows_ours(&mut command);
        let child = spawner::spawn(command).with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log, begins })
    }

    /// Its name, as in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines it wrote, at most 4 KiB.
    pub fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
    }

    /// What it wrote since it was started.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn said(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.begins))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Fails with the tail of the log when it has ended.
    ///
    /// # Errors
    /// It is not running any more.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!("{} ended early ({status}); its log ends with:\n{}", self.name, self.log_tail())
            }
        }
    }

    /// Ends it at once and waits until it is gone.
    pub fn kill(&mut self) {
        if self.ended().is_none()
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            tracing::warn!(program = self.name, %error, "cannot end {}", self.name);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a short program to its end and returns what it said on stdout.
///
/// # Errors
/// It cannot be started, or ends with a failure: the error then carries its stderr.
pub async fn output(command: Command) -> anyhow::Result<String> {
    let mut command = tokio::process::Command::from(command);
    death::follows_ours(command.as_std_mut());
    let said = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let command = command.as_std();
    let said = said.with_context(|| format!("cannot run {}", command.get_program().display()))?;
    anyhow::ensure!(
        said.status.success(),
        "{} {} failed ({}): {}",
        command.get_program().display(),
        command.get_args().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" "),
        said.status,
        String::from_utf8_lossy(&said.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

fn tail(log: &Path) -> std::io::Result<String> {
    let length = fs::metadata(log)?.len();
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
