//! The command line.

use clap::{Args, Parser, Subcommand, value_parser};
use std::path::PathBuf;

/// Loads a control plane with simulated agents.
#[derive(Parser, Debug)]
#[command(name = "vworkspace-fleet-sim", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start the server that lies next to this program, measure it, and stop it.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        bench: Bench,
    },
}

/// What can be measured.
#[derive(Subcommand, Debug)]
pub enum Bench {
    /// What agents whose polls wait cost the server in memory and CPU.
    Idle(IdleArgs),
    /// Time from sending an enqueue to the job at an agent whose poll waits.
    Wake(WakeArgs),
    /// Durable events a second, in batches, some of them repeated.
    Events(EventsArgs),
    /// Durable enqueue, lease, ack, result chains a second.
    Lifecycles(LifecyclesArgs),
}

impl Bench {
    /// What every benchmark is set up with.
    pub fn setup(&self) -> &Setup {
        match self {
            Self::Idle(IdleArgs { setup, .. })
            | Self::Wake(WakeArgs { setup, .. })
            | Self::Events(EventsArgs { setup, .. })
            | Self::Lifecycles(LifecyclesArgs { setup, .. }) => setup,
        }
    }
}

/// Flags of every benchmark.
#[derive(Args, Debug)]
pub struct Setup {
    /// Agents, each with a cluster, a credential and a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=9_000))]
    pub agents: u32,
    /// How long is measured.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Folder in which the server's temporary data folder is made; its file system is part of the result.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub dir: PathBuf,
    /// Plain HTTP on loopback instead of TLS, to tell what TLS costs.
    #[arg(long)]
    pub plain_http: bool,
}

/// Flags of `idle`.
#[derive(Args, Debug)]
pub struct IdleArgs {
    /// What is set up.
    #[command(flatten)]
    pub setup: Setup,
    /// Seconds an agent's poll waits before it asks again; an operator's default is 30.
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(1..=300))]
    pub wait: u32,
}

/// Flags of `wake`.
#[derive(Args, Debug)]
pub struct WakeArgs {
    /// What is set up.
    #[command(flatten)]
    pub setup: Setup,
    /// Seconds an agent's poll waits before it asks again; an operator's default is 30.
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(1..=300))]
    pub wait: u32,
}

/// Flags of `events`.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// What is set up.
    #[command(flatten)]
    pub setup: Setup,
    /// How many in a hundred events are sent once more.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(0..=90))]
    pub replays: u32,
}

/// Flags of `lifecycles`.
#[derive(Args, Debug)]
pub struct LifecyclesArgs {
    /// What is set up.
    #[command(flatten)]
    pub setup: Setup,
    /// Jobs each agent has open at most: 2 keep its queue from running empty.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..=50))]
    pub open_jobs: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
