//! `cargo xtask torture`: builds what the torture runs and hands over to it.

use crate::{
    step::{bin_dir, cargo, run as run_command, step},
    tools,
};
use std::process::Command;

/// Flags of the torture.
#[derive(clap::Args)]
pub struct Args {
    /// How long the kills go on.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// How many kills in all; half of them the server's.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Decides what is asked for, who is killed and when; absent: taken from the clock, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Jobs handed in each second, about.
    #[arg(long, default_value_t = 10)]
    rate: u32,
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
    let mut torture = built();
    torture.args(["--minutes", &args.minutes.to_string(), "--kills", &args.kills.to_string()]);
    torture.args(["--rate", &args.rate.to_string()]);
    if let Some(seed) = args.seed {
        torture.args(["--seed", &seed.to_string()]);
    }
    run_command(&mut torture)
}

/// The program, as it was built; without flags it does what a test run asks for.
pub fn built() -> Command {
    Command::new(bin_dir("debug").join("vworkspace-torture"))
}
