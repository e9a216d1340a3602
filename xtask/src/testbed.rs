//! The real cluster by itself: `cargo xtask testbed up|build|clean`.

use crate::{
    step::{bin_dir, cargo, hand_over, run as run_command, step},
    tools,
};
use std::process::Command;

/// Passed through to `vworkspace-testbed`.
#[derive(clap::Args)]
pub struct Args {
    /// `up`, `build` or `clean`, and their flags.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, default_value = "up")]
    arguments: Vec<String>,
}

/// Builds the program and runs it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    tools::check()?;
    step("build vworkspace-testbed", || run_command(&mut cargo(["build", "-p", "vworkspace-testbed"])))?;
    hand_over(Command::new(bin_dir("debug").join("vworkspace-testbed")).args(&args.arguments))
}
