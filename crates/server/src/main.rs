//! Entry point: process globals, arguments, the library.

use clap::Parser;
use std::io::Write;
use vworkspace_server::{api, args, logs, serve};

fn main() -> anyhow::Result<()> {
    // Fails only where a provider is installed already, and then there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match args::Arguments::parse().command {
        args::Command::Openapi => {
            std::io::stdout().write_all(api::openapi::text().as_bytes())?;
            Ok(())
        }
        args::Command::Serve(settings) => {
            logs::start(&settings.log)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve::until_signalled(settings))?;
            Ok(())
        }
    }
}
