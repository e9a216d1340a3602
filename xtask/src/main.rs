//! The project's own commands: `cargo xtask demo`, `cargo xtask test` and their parts.
#![allow(clippy::print_stdout, reason = "a command line talks on standard output")]

mod bench;
mod codegen;
mod demo;
mod layers;
mod simulate;
mod sizes;
mod step;
mod test;
mod testbed;
mod tools;
mod torture;

use clap::{Parser, Subcommand};

/// The project's own commands. Each does all of its own set-up.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the product: a real cluster, the control plane, the operator, applications deployed through Pull mode.
    Demo(demo::Args),
    /// Run everything that must hold: format, lints, layers, sizes, drift, planted bugs, simulation, unit, conformance
    /// and integration tests, torture.
    Test(test::Args),
    /// Write the generated files (CRDs, OpenAPI document).
    Codegen,
    /// Print the benchmarks: memory of agents at rest, delivery latency, events and durable job lifecycles a second.
    Bench(bench::Args),
    /// Play the whole system in virtual time by seed: agents, control plane, network and clusters, with everything going
    /// wrong that may.
    Simulate(simulate::Args),
    /// Show that the simulation finds each of the planted bugs.
    Mutants(simulate::MutantsArgs),
    /// Kill the real server and operator with -9 at random under load, and check that nothing was lost or doubled.
    Torture(torture::Args),
    /// Check that crates depend only on the layers above them.
    Layers,
    /// Print sizes of files and functions, and fail where one is over its cap without a reason.
    Sizes,
    /// Build, start or clean the real cluster's programs.
    Testbed(testbed::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Codegen => codegen::run(),
        Command::Bench(args) => bench::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Mutants(args) => simulate::mutants(&args),
        Command::Torture(args) => torture::run(&args),
        Command::Layers => layers::run(),
        Command::Sizes => sizes::run(),
        Command::Testbed(args) => testbed::run(&args),
    }
}
