//! `vworkspace-demo`: what `cargo xtask demo` runs once everything is built.

use clap::Parser;
use std::{path::PathBuf, time::Duration};
use vworkspace_testbed::{block_on, demo, install_globals};

/// Real cluster, control plane, operator, applications: the product's main job, step by step.
#[derive(Parser)]
struct Args {
    /// End after the tour; non-zero when anything failed.
    #[arg(long)]
    once: bool,
    /// Use this cluster instead of starting one.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// After so many seconds of silence each side calls the other disconnected; the programs' own default is 60.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    disconnect_after: u64,
}

fn main() -> anyhow::Result<()> {
    let Args { once, kubeconfig, disconnect_after } = Args::parse();
    install_globals("warn");
    let disconnect_after = Duration::from_secs(disconnect_after);
    block_on(demo::run(&demo::Options { once, kubeconfig, disconnect_after }))
}
