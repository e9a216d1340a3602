//! `cargo xtask simulate` and `cargo xtask mutants`: the whole system in virtual time, as it is and with planted bugs.

use crate::{
    step::{bin_dir, cargo, root, run as run_command, step},
    tools,
};
use std::process::Command;

/// Where the seeds that find the planted bugs are recorded.
const RECORDED: &str = "crates/testbed/planted-bugs.txt";

/// Passed through to `vworkspace-simulate`.
#[derive(clap::Args)]
pub struct Args {
    /// `--seeds N`, `--minutes M`, `--first SEED`, `--threads T`; or `--seed S` for one with its history, and `--bug
    /// NAME` to plant one.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Flags of the search for planted bugs.
#[derive(clap::Args)]
pub struct MutantsArgs {
    /// Write down which seeds found them.
    #[arg(long)]
    record: bool,
}

/// Builds and plays seeds.
pub fn run(args: &Args) -> anyhow::Result<()> {
    build()?;
    run_command(built().args(&args.arguments))
}

/// Builds and looks for every planted bug.
pub fn mutants(args: &MutantsArgs) -> anyhow::Result<()> {
    build()?;
    let mut command = built();
    command.arg("--bugs");
    if args.record {
        command.arg("--record").arg(root().join(RECORDED));
    }
    run_command(&mut command)
}

/// What a test run asks for: each planted bug on its recorded seed, then fresh seeds without any.
pub fn test() -> anyhow::Result<()> {
    build()?;
    step("table of planted bugs", || {
        run_command(&mut cargo([
            "test",
            "-p",
            "vworkspace-testbed",
            "--features",
            "planted-bugs",
            "--lib",
            "simulation::",
        ]))
    })?;
    step("planted bugs", || run_command(built().arg("--bugs")))?;
    step("simulation", || run_command(&mut built()))
}

fn build() -> anyhow::Result<()> {
    tools::check()?;
    step("build the simulation", || {
        run_command(&mut cargo([
            "build",
            "-p",
            "vworkspace-testbed",
            "--features",
            "planted-bugs",
            "--bin",
            "vworkspace-simulate",
        ]))
    })
}

fn built() -> Command {
    Command::new(bin_dir("debug").join("vworkspace-simulate"))
}
