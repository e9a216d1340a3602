//! `vwctl` as its user runs it: logged in once, with a configuration file of its own.

use super::Server;
use anyhow::{Context as _, ensure};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A logged-in `vwctl`.
pub struct Vwctl {
    program: PathBuf,
    /// Where its login is stored.
    pub config: PathBuf,
}

impl Vwctl {
    /// Logs the admin of `server` in; the login is stored in `work`.
    pub fn login(programs: &Path, work: &Path, server: &Server) -> anyhow::Result<Self> {
        let vwctl = Self { program: programs.join("vwctl"), config: work.join("vwctl.yaml") };
        let mut login = vwctl.command();
        login.args(["--server", &server.url, "--ca"]).arg(&server.ca).args(["login", "--token-stdin"]);
        login.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = login.spawn().with_context(|| format!("cannot run {}", vwctl.program.display()))?;
        let mut stdin = child.stdin.take().context("vwctl has no standard input")?;
        stdin.write_all(server.admin_token.expose().as_bytes())?;
        drop(stdin);
        let ended = child.wait_with_output()?;
        ensure!(ended.status.success(), "vwctl login: {}", String::from_utf8_lossy(&ended.stderr));
        Ok(vwctl)
    }

    /// A command that knows its login and nothing else of our environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("VWCTL_CONFIG", &self.config).stdin(Stdio::null());
        command
    }

    /// How a person starts it in a shell.
    pub fn line(&self) -> String {
        format!("VWCTL_CONFIG={} {}", self.config.display(), self.program.display())
    }
}
