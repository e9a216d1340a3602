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
    /// How long each throughput run lasts.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Agents at rest, in the runs about memory and wake-ups.
    #[arg(long, default_value_t = 5000)]
    idle_agents: u32,
}

/// Builds the release programs and runs all benchmarks.
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
    let (agents, seconds, idle) =
        (args.agents.to_string(), args.seconds.to_string(), args.idle_agents.to_string());
    let at_rest = ["--agents", &idle];
    let at_work = ["--agents", &agents, "--seconds", &seconds];
    step("idle agents over TLS", || run_command(bench().arg("idle").args(at_rest)))?;
    step("idle agents over plain HTTP", || {
        run_command(bench().args(["idle", "--plain-http"]).args(at_rest))
    })?;
    step("enqueue → job at an idle agent", || run_command(bench().arg("wake").args(at_rest)))?;
    step("durable events a second", || run_command(bench().arg("events").args(at_work)))?;
    step("durable job lifecycles a second", || run_command(bench().arg("lifecycles").args(at_work)))
}
