//! Running the real `helm` program.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::process::death;

use super::objects::go_duration;
use super::plan::Action;
use super::store::sha256;

/// Helm runs at one time. A run mostly waits for the cluster; more of them queue up.
const RUNS_AT_ONCE: usize = 24;
/// Time beyond Helm's own timeout after which a run is killed.
const GRACE: Duration = Duration::from_secs(30);
/// Time that a question to Helm may take.
const QUESTION: Duration = Duration::from_secs(30);

/// The `helm` program with its settings.
pub(super) struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    /// A chart that prints its values.
    echo: PathBuf,
    permits: Semaphore,
}

/// A release, by where its records are kept and its name.
#[derive(Clone, Copy)]
pub(super) struct ReleaseName<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// Values as Helm takes them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ValuesInput {
    /// A file.
    Document(String),
    /// `--set`.
    Set { path: String, value: String },
    /// `--set-string`.
    SetString { path: String, value: String },
    /// `--set-literal`.
    SetLiteral { path: String, value: String },
}

impl ValuesInput {
    /// Helm applies those of a lower rank first.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Document(_) => 0,
            Self::Set { .. } => 1,
            Self::SetString { .. } => 2,
            Self::SetLiteral { .. } => 3,
        }
    }
}

/// Values on Helm's command line. They may be secret: the files are readable by their owner only, and go with this.
struct ValuesFlags {
    flags: Vec<OsString>,
    _files: Vec<NamedTempFile>,
}

impl ValuesFlags {
    fn write(folder: &Path, inputs: &[ValuesInput]) -> Result<Self, HelmFailure> {
        let failed = |error: std::io::Error| HelmFailure(format!("cannot write values: {error}"));
        let (mut flags, mut files) = (Vec::new(), Vec::new());
        for input in inputs {
            let (flag, value) = match input {
                ValuesInput::Document(text) => {
                    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
                    file.write_all(text.as_bytes()).map_err(failed)?;
                    let path = file.path().as_os_str().to_owned();
                    files.push(file);
                    ("--values", path)
                }
                ValuesInput::Set { path, value } => ("--set", format!("{path}={value}").into()),
                ValuesInput::SetString { path, value } => ("--set-string", format!("{path}={value}").into()),
                ValuesInput::SetLiteral { path, value } => {
                    ("--set-literal", format!("{path}={value}").into())
                }
            };
            flags.extend([flag.into(), value]);
        }
        Ok(Self { flags, _files: files })
    }
}

/// One revision as `helm history` tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Revision {
    pub(super) revision: i64,
    pub(super) updated: Timestamp,
    pub(super) status: String,
    /// Name and version, joined by a dash.
    pub(super) chart: String,
    #[serde(default)]
    pub(super) app_version: Option<String>,
}

impl Revision {
    /// A digest that changes when the revision's record does.
    pub(super) fn digest(&self) -> String {
        sha256(format!("{self:?}").as_bytes())
    }
}

/// What Helm said when it did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct HelmFailure(String);

impl Helm {
    pub(super) fn new(program: PathBuf, kubeconfig: PathBuf, work_dir: &Path) -> anyhow::Result<Self> {
        let home = work_dir.join("helm");
        std::fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        let echo = home.join("echo");
        write_echo(&echo).with_context(|| format!("make {}", echo.display()))?;
        Ok(Self { program, kubeconfig, home, echo, permits: Semaphore::new(RUNS_AT_ONCE) })
    }

    pub(super) async fn version(&self) -> anyhow::Result<String> {
        let mut command = self.command("version");
        command.arg("--short");
        self.run(command, QUESTION)
            .await
            .with_context(|| format!("run {}", self.program.display()))
            .map(|out| out.trim().to_owned())
    }

    /// Installs or upgrades a release and waits until its objects are ready.
    pub(super) async fn act(
        &self,
        action: Action,
        release: ReleaseName<'_>,
        chart: &Path,
        (folder, values): (&Path, &[ValuesInput]),
        timeout: Duration,
    ) -> Result<(), HelmFailure> {
        let values = ValuesFlags::write(folder, values)?;
        let mut command = self.command(action.word());
        command.arg(release.name).arg(chart).arg("--namespace").arg(release.namespace).args(&values.flags);
        command.arg("--hide-notes").arg("--wait").arg("--timeout").arg(go_duration(timeout));
        if action == Action::Upgrade {
            // Without it Helm takes the former values where there are none now; Flux does not.
            command.arg("--reset-values");
        }
        self.run(command, timeout + GRACE).await.map(|_| ())
    }

    /// What Helm makes of these values. `folder` is for its passing files.
    pub(super) async fn values(
        &self,
        folder: &Path,
        values: &[ValuesInput],
    ) -> Result<Map<String, Value>, HelmFailure> {
        let values = ValuesFlags::write(folder, values)?;
        let mut command = self.command("template");
        command.arg("values").arg(&self.echo).args(&values.flags);
        let printed = self.run(command, QUESTION).await?;
        let line = printed.lines().find_map(|line| line.strip_prefix(ECHO_PREFIX)).unwrap_or_default();
        serde_json::from_str(line).map_err(|error| HelmFailure(format!("cannot read values: {error}")))
    }

    /// Removes a release and waits until its objects are gone.
    pub(super) async fn uninstall(
        &self,
        release: ReleaseName<'_>,
        timeout: Duration,
    ) -> Result<(), HelmFailure> {
        let mut command = self.command("uninstall");
        command.arg(release.name).arg("--namespace").arg(release.namespace);
        command.arg("--ignore-not-found").arg("--wait").arg("--timeout").arg(go_duration(timeout));
        self.run(command, timeout + GRACE).await.map(|_| ())
    }

    /// The revisions of a release, oldest first; at most ten, which is what Helm keeps.
    pub(super) async fn history(&self, release: ReleaseName<'_>) -> anyhow::Result<Vec<Revision>> {
        let mut command = self.command("history");
        command.arg(release.name).arg("--namespace").arg(release.namespace).arg("--output").arg("json");
        let out = self.run(command, QUESTION).await.context("helm history")?;
        serde_json::from_str(&out).context("read helm history")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        // Nothing of the user's own Helm (plugins, repositories, driver) may leak in.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, folder) in [
            ("HOME", ""),
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(name, self.home.join(folder));
        }
        command.env("KUBECONFIG", &self.kubeconfig).env("HELM_DRIVER", "secret");
        command.arg(verb).stdin(Stdio::null()).kill_on_drop(true);
        // Not even when we are killed may it go on.
        death::follows_ours(command.as_std_mut());
        command
    }

    async fn run(&self, mut command: Command, limit: Duration) -> Result<String, HelmFailure> {
        let _permit = self.permits.acquire().await.map_err(|closed| HelmFailure(closed.to_string()))?;
        let output = match tokio::time::timeout(limit, command.output()).await {
            Ok(output) => output.map_err(|error| HelmFailure(format!("cannot run helm: {error}")))?,
            Err(_) => return Err(HelmFailure(format!("helm did not end within {}", go_duration(limit)))),
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(HelmFailure(complaint(&String::from_utf8_lossy(&output.stderr))))
    }
}

/// Begins the line on which the chart prints its values as JSON.
const ECHO_PREFIX: &str = "# values ";

fn write_echo(folder: &Path) -> std::io::Result<()> {
    let templates = folder.join("templates");
    std::fs::create_dir_all(&templates)?;
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: echo\nversion: 1.0.0\n")?;
    std::fs::write(templates.join("values.yaml"), format!("{ECHO_PREFIX}{{{{ toJson .Values }}}}\n"))
}

/// Helm's own sentence without its log lines and headings.
fn complaint(stderr: &str) -> String {
    let lines = stderr.lines().filter(|line| !line.starts_with("level="));
    let text = lines.collect::<Vec<_>>().join(" ");
    let text = text.trim().trim_start_matches("Error: ");
    let text = text.trim_start_matches("INSTALLATION FAILED: ").trim_start_matches("UPGRADE FAILED: ");
    if text.is_empty() { "helm failed without a word".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_helms_own_sentence() {
        let stderr = "level=WARN msg=\"upgrade failed\" name=app\nError: UPGRADE FAILED: resource not ready\ncontext deadline exceeded\n";
        assert_eq!(complaint(stderr), "resource not ready context deadline exceeded");
        assert_eq!(complaint(""), "helm failed without a word");
    }
}
