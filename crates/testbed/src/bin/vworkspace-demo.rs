//! `vworkspace-demo`: what `cargo xtask demo` runs once everything is built.

use clap::Parser;
use std::path::PathBuf;
use vworkspace_testbed::demo;

/// Real cluster, control plane, operator, applications: the product's main job, step by step.
#[derive(Parser)]
struct Args {
    /// End after the tour; non-zero when anything failed.
    #[arg(long)]
    once: bool,
    /// Use this cluster instead of starting one.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { once, kubeconfig } = Args::parse();
    vworkspace_testbed::install_globals("warn");
    demo::run(&demo::Options { once, kubeconfig }).await
}
