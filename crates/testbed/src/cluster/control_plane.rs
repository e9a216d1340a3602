//! etcd and the API server.

use super::credentials::Credentials;
use crate::{
    process::{Process, free_ports},
    programs::{Program, Programs},
};
use std::{
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

/// Folder of etcd's data.
pub(super) const STORE: &str = "etcd";

/// Both, started. The API server is first: fields end in their order, and without its store it lingers.
#[derive(Debug)]
pub(super) struct ControlPlane {
    api_server: Process,
    store: Process,
    /// How the API server is started, for its next start.
    program: OsString,
    arguments: Vec<OsString>,
    dir: PathBuf,
    /// Where the API server listens.
    pub url: String,
    /// The same as an address.
    pub address: SocketAddr,
}

impl ControlPlane {
    /// Starts both without waiting: the API server waits for its store by itself.
    pub fn spawn(programs: &Programs, dir: &Path, credentials: &Credentials) -> anyhow::Result<Self> {
        let [clients, peers, api] = free_ports()?;
        let store = Process::start("etcd", etcd(programs, dir, clients, peers), dir)?;
        let api_server = kube_apiserver(programs, dir, credentials, clients, api);
        let program = api_server.get_program().to_owned();
        let arguments = api_server.get_args().map(OsStr::to_owned).collect();
        let api_server = Process::start("kube-apiserver", api_server, dir)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, api));
        let url = format!("https://{address}");
        Ok(Self { api_server, store, program, arguments, dir: dir.to_owned(), url, address })
    }

    /// Ends the API server and starts it again on its port and store, without waiting.
    pub fn restart_api_server(&mut self) -> anyhow::Result<()> {
        self.api_server.kill();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        self.api_server = Process::start("kube-apiserver", command, &self.dir)?;
        Ok(())
    }

    /// Fails with the tail of the log of the one that ended. The store is looked at first: the other ends with it.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        self.store.still_runs()?;
        self.api_server.still_runs()
    }

    /// Whether one ended because its port was taken.
    pub fn missed_its_port(&mut self) -> bool {
        [&mut self.store, &mut self.api_server]
            .into_iter()
            .any(|process| process.ended().is_some() && process.log_tail().contains("address already in use"))
    }
}

fn etcd(programs: &Programs, dir: &Path, clients: u16, peers: u16) -> Command {
    let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    let mut command = Command::new(programs.path(Program::Etcd));
    command
        .arg(format!("--data-dir={}", dir.join(STORE).display()))
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--listen-peer-urls={peers}"))
        .arg(format!("--initial-advertise-peer-urls={peers}"))
        .arg(format!("--initial-cluster=default={peers}"))
        // Nothing here must survive a power cut.
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    command
}

fn kube_apiserver(
    programs: &Programs,
    dir: &Path,
    credentials: &Credentials,
    store: u16,
    port: u16,
) -> Command {
    let files = credentials;
    let mut command = Command::new(programs.path(Program::KubeApiserver));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{store}"))
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ])
        .arg(format!("--secure-port={port}"))
        .arg(format!("--cert-dir={}", dir.display()))
        .arg(format!("--tls-cert-file={}", files.certificate.display()))
        .arg(format!("--tls-private-key-file={}", files.key.display()))
        .arg(format!("--token-auth-file={}", files.tokens.display()))
        .arg("--authorization-mode=RBAC")
        .arg(format!("--service-account-key-file={}", files.checking_key.display()))
        .arg(format!("--service-account-signing-key-file={}", files.signing_key.display()))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg("--service-cluster-ip-range=10.0.0.0/24")
        .args(["--profiling=false", "--v=0"]);
    command
}
