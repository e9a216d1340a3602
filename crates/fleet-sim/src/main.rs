//! Entry point: process globals, arguments, the library.

use clap::Parser;
use std::io::Write;
use vworkspace_fleet_sim::{args::Arguments, run};

fn main() -> anyhow::Result<()> {
    // Fails only where a provider is installed already, and then there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(run(&arguments))?;
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}
