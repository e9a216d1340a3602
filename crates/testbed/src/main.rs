//! Entry point.

use clap::Parser as _;
use vworkspace_testbed::{block_on, command::Arguments, install_globals};

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    install_globals("info");
    block_on(arguments.run())
}
