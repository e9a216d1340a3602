//! `cargo xtask torture`: builds what the torture runs and hands over to it.

use crate::{
    step::{bin_dir, cargo, hand_over, run as run_command, step},
    tools,
};
use std::process::Command;

/// Passed through to `vworkspace-torture`.
#[derive(clap::Args)]
pub struct Args {
    /// `--minutes M`, `--kills N`, `--seed S`, `--rate R`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs.
pub fn run(args: &Args) -> anyhow::Result<()> {
    tools::check()?;
    step("build server, operator, vwctl and testbed", || {
        let packages = ["vworkspace-server", "vworkspace-operator", "vworkspace-vwctl", "vworkspace-testbed"];
        run_command(&mut cargo(
            ["build", "--bins"].into_iter().chain(packages.iter().flat_map(|p| ["-p", p])),
        ))
    })?;
    hand_over(built().args(&args.arguments))
}

/// The program, as it was built; without flags it does what a test run asks for.
pub fn built() -> Command {
    Command::new(bin_dir("debug").join("vworkspace-torture"))
}
