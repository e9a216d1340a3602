//! `vworkspace-torture`: what `cargo xtask torture` runs once everything is built.

use clap::Parser;
use std::time::{Duration, SystemTime};
use vworkspace_testbed::torture;

/// The real server and operator under load, either killed with -9 at random; then I1 to I5 are checked.
#[derive(Parser)]
struct Args {
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { minutes, kills, seed, rate } = Args::parse();
    vworkspace_testbed::install_globals("error");
    let clock = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let time = Duration::from_secs_f64(minutes.clamp(0.1, 1e5) * 60.0);
    torture::run(torture::Options { time, kills, seed: seed.unwrap_or(clock), rate }).await
}
