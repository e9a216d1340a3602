//! Entry point: flags, logs, runtime.

use anyhow::Context as _;
use clap::Parser as _;
use vworkspace_operator::{args::Args, cause, logs, run::run};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    logs::init(&args.zap_log_level);
    // Only a second call could fail.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Two threads: the work is waiting, and every thread costs memory in every cluster.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let ended = runtime.block_on(run(args));
    if let Err(error) = &ended {
        tracing::error!(error = cause::chain(error), "vworkspace-operator ends");
    }
    // Tasks that watch for ever are not waited for.
    runtime.shutdown_background();
    ended.map_err(Into::into)
}
