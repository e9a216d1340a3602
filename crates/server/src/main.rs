//! Entry point: process globals, arguments, the library.

use clap::Parser;
use jiff::Timestamp;
use std::io::Write;
use vworkspace_server::{api, args, certificate, logs, serve};

fn main() -> anyhow::Result<()> {
    // Fails only where a provider is installed already, and then there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match args::Arguments::parse().command {
        args::Command::Openapi => {
            std::io::stdout().write_all(api::openapi::text().as_bytes())?;
            Ok(())
        }
        args::Command::Certificate(wanted) => {
            let made = certificate::make(&wanted, Timestamp::now())?;
            Ok(tell(&made)?)
        }
        args::Command::Serve(settings) => {
            logs::start(&settings.log)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(serve::until_signalled(settings))?;
            Ok(())
        }
    }
}

fn tell(made: &certificate::Made) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let whether = if made.is_new_authority { "new; give it to every client" } else { "as before" };
    writeln!(stdout, "authority:   {} ({whether})", made.authority.display())?;
    writeln!(stdout, "certificate: {}, valid until {}", made.cert.display(), made.expires_at)?;
    writeln!(stdout, "key:         {}", made.key.display())
}
