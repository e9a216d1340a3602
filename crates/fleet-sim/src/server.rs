//! The server under test: one process, killed when dropped.

use crate::{args::Setup, certificate::Certificate};
use anyhow::{Context as _, bail};
use std::{
    env, fs,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};
use tempfile::TempDir;
use vworkspace_client::Client;
use vworkspace_protocol::Secret;

/// Bound of clusters and of open tokens, beyond the most agents that a benchmark has.
const MOST_AGENTS: &str = "10000";
/// How long a start may take: opening a fresh database and binding a socket.
const START: Duration = Duration::from_secs(30);
/// Log lines shown when a benchmark fails.
const LAST_LINES: usize = 10;

/// A running `vworkspace-server` with its temporary data folder.
pub struct ServerProcess {
    child: Child,
    folder: TempDir,
    greeting: Greeting,
    ca_pem: Option<Vec<u8>>,
}

/// What a first start prints.
struct Greeting {
    admin_token: Secret,
    /// Where its metrics listener is.
    metrics: String,
    url: String,
}

impl ServerProcess {
    /// Starts the server next to this program on a free loopback port with an empty database.
    pub fn start(setup: &Setup) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("vworkspace-bench-")
            .tempdir_in(&setup.dir)
            .context("cannot make a temporary folder")?;
        let certificate = if setup.plain_http { None } else { Some(Certificate::write_into(folder.path())?) };
        let child = spawn(folder.path(), certificate.as_ref())?;
        // From here on the guard kills it, whatever fails.
        let mut server = Self {
            child,
            folder,
            greeting: Greeting { admin_token: Secret::new(""), metrics: String::new(), url: String::new() },
            ca_pem: certificate.map(|made| made.ca_pem),
        };
        let stdout = server.child.stdout.take().context("the server has no stdout")?;
        server.greeting = greeting(stdout)
            .with_context(|| format!("the server did not start:\n{}", server.last_log_lines()))?;
        Ok(server)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.greeting.url
    }

    /// The authority to trust, with TLS.
    pub fn ca_pem(&self) -> Option<&[u8]> {
        self.ca_pem.as_deref()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder whose file system holds the database.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client with the admin's bearer.
    pub fn admin(&self) -> anyhow::Result<Client> {
        let token = Secret::new(self.greeting.admin_token.expose());
        Ok(Client::new(self.url(), token, self.ca_pem())?)
    }

    /// A client of its metrics listener, which is plain HTTP on loopback and asks for no bearer.
    pub fn scraper(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.greeting.metrics, Secret::new("none"), None)?)
    }

    /// The file of its database.
    pub fn database(&self) -> PathBuf {
        self.folder().join("data").join("vworkspace.db")
    }

    /// The end of its log.
    pub fn last_log_lines(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every setting but the addresses and the bounds of an organization, which holds the whole fleet, is the default, the
/// log level too: writing it is part of the work.
fn spawn(folder: &Path, certificate: Option<&Certificate>) -> anyhow::Result<Child> {
    let program = env::current_exe()?.with_file_name("vworkspace-server");
    let mut command = Command::new(&program);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"));
    for bound in ["--max-clusters-per-organization", "--max-registration-tokens-per-organization"] {
        command.args([bound, MOST_AGENTS]);
    }
    if let Some(Certificate { cert, key, .. }) = certificate {
        command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(folder.join("server.log"))?)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// Reads on a thread of its own, so that a server that says nothing does not hang the benchmark.
fn greeting(stdout: ChildStdout) -> anyhow::Result<Greeting> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || sender.send(read_greeting(BufReader::new(stdout))));
    receiver.recv_timeout(START).context("nothing heard of it")?
}

fn read_greeting(stdout: impl BufRead) -> anyhow::Result<Greeting> {
    let (mut admin_token, mut metrics) = (None, None);
    for line in stdout.lines() {
        let line = line?;
        if let Some(token) = line.strip_prefix("admin token (shown once): ") {
            admin_token = Some(Secret::new(token));
        } else if let Some(url) = line.strip_prefix("metrics: ") {
            metrics = url.strip_suffix("/metrics").map(str::to_owned);
        } else if let Some(url) = line.strip_prefix("listening: ") {
            let admin_token = admin_token.context("no admin token was printed")?;
            let metrics = metrics.context("no metrics listener was printed")?;
            return Ok(Greeting { admin_token, metrics, url: url.to_owned() });
        }
    }
    bail!("it ended without listening")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeting_is_the_token_the_metrics_and_the_address() {
        let said = "admin token (shown once): vwksp-adm-1\nmetrics: http://127.0.0.1:8/metrics\n\
                    listening: https://127.0.0.1:7\n";
        let Greeting { admin_token, metrics, url } = read_greeting(said.as_bytes()).unwrap();
        assert_eq!(
            (admin_token.expose(), metrics.as_str(), url.as_str()),
            ("vwksp-adm-1", "http://127.0.0.1:8", "https://127.0.0.1:7")
        );
        let silent = "admin token (shown once): x\nlistening: https://127.0.0.1:7\n";
        assert!(read_greeting(silent.as_bytes()).is_err());
        assert!(read_greeting("admin token (shown once): x\n".as_bytes()).is_err());
        assert!(read_greeting("listening: https://127.0.0.1:7\n".as_bytes()).is_err());
    }
}
