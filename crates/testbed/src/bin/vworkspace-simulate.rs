//! Plays seeds of the simulation: many fresh ones, one with its whole history, or with planted bugs.
#![allow(clippy::print_stdout, reason = "a command line talks on standard output")]

use clap::Parser;
use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};
use vworkspace_core::planted::{Bug, plant};
use vworkspace_testbed::simulation::{Campaign, Sum, bugs, play};

/// Plays the whole system in virtual time, by seed, with everything going wrong that may.
#[derive(Parser)]
struct Args {
    /// How many fresh seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Stop after so many minutes, however many seeds were played.
    #[arg(long, default_value_t = 8.0)]
    minutes: f64,
    /// The first seed; absent: taken from the clock, and printed.
    #[arg(long)]
    first: Option<u64>,
    /// Play this one seed twice and print what happened.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; each plays seeds of its own.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Plant this bug first.
    #[arg(long, value_parser = parse_bug)]
    bug: Option<Bug>,
    /// Find every planted bug instead, each on its recorded seed or within 500 fresh ones.
    /// With `--bug`: only that one.
    #[arg(long, conflicts_with = "seed")]
    bugs: bool,
    /// With `--bugs`: write the table of seeds to this file.
    #[arg(long, requires = "bugs")]
    record: Option<std::path::PathBuf>,
}

fn parse_bug(name: &str) -> Result<Bug, String> {
    let known = || Bug::ALL.map(Bug::name).join(", ");
    Bug::named(name).ok_or_else(|| format!("known are: {}", known()))
}

fn main() -> ExitCode {
    let args = Args::parse();
    plant(args.bug);
    match args.seed {
        _ if args.bugs => find_bugs(&args),
        Some(seed) => one(seed),
        None => many(&args),
    }
}

fn one(seed: u64) -> ExitCode {
    let (first, second) = (play(seed), play(seed));
    print!("{}", first.history);
    println!("seed {seed}: {} steps, hash {:016x}, again {:016x}", first.steps, first.hash, second.hash);
    if first.hash != second.hash {
        println!("the two plays differ: something is decided by chance, first here:");
        let mut lines = first.history.lines().zip(second.history.lines());
        if let Some((one, other)) = lines.find(|(one, other)| one != other) {
            println!("  {one}\n  {other}");
        }
        return ExitCode::FAILURE;
    }
    match first.broken {
        Some(broken) => {
            println!("broken: {broken}");
            ExitCode::FAILURE
        }
        None => {
            println!("every promise was kept");
            ExitCode::SUCCESS
        }
    }
}

fn many(args: &Args) -> ExitCode {
    let clock = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() * 1_000_000);
    let first = args.first.unwrap_or(clock);
    let most = Duration::from_secs_f64(args.minutes.clamp(0.0, 1e6) * 60.0);
    let sum = Campaign { first, seeds: args.seeds, most, threads: args.threads }.run();
    tell(first, &sum);
    let Some(broken) = sum.broken else {
        println!("every promise was kept");
        return ExitCode::SUCCESS;
    };
    println!("seed {} broke {}", broken.seed, broken.broken.unwrap_or_default());
    println!("see it: cargo xtask simulate --seed {}", broken.seed);
    ExitCode::FAILURE
}

fn tell(first: u64, sum: &Sum) {
    println!(
        "{} seeds from {first} in {:.1} s: {:.1} simulated hours, {:.0} times real time, {} jobs, {} steps",
        sum.played,
        sum.took.as_secs_f64(),
        sum.simulated.as_secs_f64() / 3600.0,
        sum.speed(),
        sum.jobs,
        sum.steps
    );
    for (fault, times) in &sum.fired {
        println!("  {times:>9}  {fault}");
    }
}

fn find_bugs(args: &Args) -> ExitCode {
    let mut found = Vec::new();
    for bug in Bug::ALL.into_iter().filter(|bug| args.bug.is_none_or(|only| only == *bug)) {
        let one = bugs::find(bug, args.first.unwrap_or(1), args.threads);
        let how = match (one.seed, one.is_recorded) {
            (Some(seed), true) => format!("found by its recorded seed {seed}"),
            (Some(seed), false) => format!("found by seed {seed}, after {} seeds", one.played),
            (None, _) => format!("NOT FOUND in {} seeds", one.played),
        };
        println!("{:<30} {how}: {}", one.bug, one.promise);
        found.push(one);
    }
    let missed = found.iter().filter(|one| one.seed.is_none()).count();
    println!("{} of {} planted bugs found", found.len() - missed, found.len());
    if let Some(file) = &args.record
        && let Err(error) = std::fs::write(file, bugs::table(&found))
    {
        println!("{} cannot be written: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
