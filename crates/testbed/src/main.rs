//! Entry point.

use clap::Parser as _;
use vworkspace_testbed::{command::Arguments, install_globals};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    install_globals("info");
    arguments.run().await
}
