//! Not shipped: a real Kubernetes on loopback for tests and the demo, a stand-in for Flux's controllers, and the
//! simulation of the whole system ([`simulation`]).
//!
//! ```text
//!   programs   real programs, built once from pinned Go modules into a cache
//!      │
//!   process    started, logged, ended with us ── work_dir: one temporary folder a run
//!      │
//!   cluster    etcd → API server → controllers, scheduler, kwok → definitions, roles, operator's account
//!   charts     sample charts: classic repository and OCI registry
//!   flux       the stand-in
//!      │
//!   Testbed    all of it, started once per process by [`shared`]
//! ```

mod charts;
pub mod cluster;
pub mod command;
pub mod demo;
pub mod flux;
mod flux_controllers;
mod namespace;
pub mod process;
pub mod programs;
pub mod simulation;
pub mod stack;
mod stop;
mod testbed;
mod timeline;
pub mod torture;
mod view;
mod work_dir;

pub use charts::{GivenCharts, PrivateCharts};
pub use stop::block_on;
pub use testbed::{Options, Testbed};

use tokio::sync::OnceCell;

/// The testbed of this process: the cluster of `VWORKSPACE_TEST_KUBECONFIG`, else one of its own, started by the first
/// call. It ends with the process.
///
/// # Errors
/// As [`Testbed::start`]; the next call tries again.
pub async fn shared() -> anyhow::Result<&'static Testbed> {
    static SHARED: OnceCell<Testbed> = OnceCell::const_new();
    SHARED.get_or_try_init(|| Testbed::start(None)).await
}

/// What a program installs before anything else: the log on stderr, by `RUST_LOG` (default `level`), and the
/// cryptography of TLS. A second call changes nothing.
pub fn install_globals(level: &str) {
    // Failed requests come back as errors; the client would log each once more.
    let default = || format!("{level},kube_client::client::builder=off").into();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let cryptography = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if log.is_err() || cryptography.is_err() {
        tracing::debug!("the log or the cryptography was installed before");
    }
}
