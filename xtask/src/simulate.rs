//! `cargo xtask simulate` and `cargo xtask mutants`: the whole system in virtual time, as it is and with planted bugs.

use crate::{
    step::{bin_dir, cargo, hand_over, output, root, run as run_command, step},
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
    hand_over(built().args(&args.arguments))
}

/// Builds and looks for every planted bug.
pub fn mutants(args: &MutantsArgs) -> anyhow::Result<()> {
    build()?;
    let mut command = built();
    command.arg("--bugs");
    if args.record {
        command.arg("--record").arg(root().join(RECORDED));
    }
    hand_over(&mut command)
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
    step("simulation", || {
        let mut command = built();
        if let Some(first) = seed_of_commit() {
            command.args(["--first", &first.to_string()]);
        }
        run_command(&mut command)
    })
}

/// Where a commit's seeds begin: fresh ones for each, and the same ones for whoever tests it, so that a test run that
/// failed fails again. Without a repository the clock decides.
fn seed_of_commit() -> Option<u64> {
    let commit =
        output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(root())).ok()?;
    u64::from_str_radix(commit.trim().get(..12)?, 16).ok()
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
