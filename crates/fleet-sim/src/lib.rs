//! Not shipped to clusters: simulated agents that load a control plane, and the benchmarks.
//!
//! ```text
//!   ServerProcess (release binary, TLS) ◄── crates/client: enqueue ── idle | wake | …
//!            ▲                                                              │
//!            └────────── crates/transport HttpLink × N (fleet) ◄────────────┘
//! ```
//!
//! A benchmark drives the real programs over real sockets. The agents hold no cluster: they lease, ack and report
//! as an operator does, but apply nothing.

pub mod args;
mod baseline;
mod certificate;
mod events;
mod fleet;
mod idle;
mod latency;
mod lifecycles;
mod metrics;
mod polling;
mod process;
mod profile;
mod report;
mod server;
mod usage;
mod wake;

use anyhow::Context as _;
use args::{Arguments, Bench, Command};
use server::ServerProcess;
use tokio::signal::{
    self,
    unix::{SignalKind, signal},
};

/// Runs one command; answers what to print.
///
/// # Errors
/// The server does not start, or anything was not answered as it must: a benchmark with one error has no result.
pub async fn run(arguments: &Arguments) -> anyhow::Result<String> {
    let Command::Bench { bench } = &arguments.command;
    tokio::select! {
        // First, so that the handlers are there before the server that they make sure is stopped.
        biased;
        stopped = stop_signal() => stopped.and_then(|()| anyhow::bail!("stopped by a signal")),
        done = run_bench(bench) => done,
    }
}

async fn run_bench(bench: &Bench) -> anyhow::Result<String> {
    let server = ServerProcess::start(bench.setup())?;
    let done = match bench {
        Bench::Idle(args) => idle::run(&server, args).await,
        Bench::Wake(args) => wake::run(&server, args).await,
        Bench::Events(args) => events::run(&server, args).await,
        Bench::Lifecycles(args) => lifecycles::run(&server, args).await,
    };
    done.with_context(|| {
        format!("benchmark failed; the server's last log lines:\n{}", server.last_log_lines())
    })
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        ctrl_c = signal::ctrl_c() => Ok(ctrl_c?),
    }
}
