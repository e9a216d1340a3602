//! `cargo xtask bench`: prints the benchmarks against a release server on this machine.

use crate::{
    step::{bin_dir, cargo, run as run_command, step},
    tools,
};
use std::process::Command;

/// Flags of the benchmarks.
#[derive(clap::Args)]
pub struct Args {
    /// Agents that work at the same time.
    #[arg(long, default_value_t = 64)]
    agents: u32,
    /// How long the throughput run lasts.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

/// Builds the release programs and runs both benchmarks.
pub fn run(args: &Args) -> anyhow::Result<()> {
    tools::check()?;
    step("build server and fleet-sim (release)", || {
        run_command(&mut cargo([
            "build",
            "--release",
            "--bins",
            "-p",
            "vworkspace-server",
            "-p",
            "vworkspace-fleet-sim",
        ]))
    })?;
    let bench = || {
        let mut command = Command::new(bin_dir("release").join("vworkspace-fleet-sim"));
        command.arg("bench");
        command
    };
    step("enqueue → job at an idle agent", || run_command(bench().arg("wake")))?;
    step("durable job lifecycles a second", || {
        run_command(bench().args([
            "lifecycles",
            "--agents",
            &args.agents.to_string(),
            "--seconds",
            &args.seconds.to_string(),
        ]))
    })
}
