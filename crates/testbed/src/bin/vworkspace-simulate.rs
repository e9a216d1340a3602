//! Plays seeds of the simulation: many fresh ones, or one with its whole history.
#![allow(clippy::print_stdout, reason = "a command line talks on standard output")]

use clap::Parser;
use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use vworkspace_testbed::simulation::{Played, play};

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
}

/// What the threads share.
struct Campaign {
    first: u64,
    seeds: u64,
    ends: Instant,
    next: AtomicU64,
    stop: AtomicBool,
    sum: Mutex<Sum>,
}

#[derive(Default)]
struct Sum {
    played: u64,
    jobs: u64,
    steps: u64,
    simulated: Duration,
    fired: BTreeMap<&'static str, u64>,
    broken: Option<Played>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
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
    let started = Instant::now();
    let campaign = Campaign {
        first: args.first.unwrap_or(clock),
        seeds: args.seeds,
        ends: started + Duration::from_secs_f64(args.minutes.clamp(0.0, 1e6) * 60.0),
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        sum: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| campaign.work());
        }
    });
    campaign.tell(started.elapsed())
}

impl Campaign {
    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) && Instant::now() < self.ends {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= self.seeds {
                return;
            }
            let played = play(self.first.wrapping_add(n));
            let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.add(played);
            self.stop.fetch_or(sum.broken.is_some(), Ordering::Relaxed);
        }
    }

    fn tell(self, took: Duration) -> ExitCode {
        let sum = self.sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        let faster = sum.simulated.as_secs_f64() / took.as_secs_f64().max(0.001);
        println!(
            "{} seeds from {} in {:.1} s: {:.0} simulated hours, {faster:.0} times real time, {} jobs, {} steps",
            sum.played,
            self.first,
            took.as_secs_f64(),
            sum.simulated.as_secs_f64() / 3600.0,
            sum.jobs,
            sum.steps
        );
        for (fault, times) in &sum.fired {
            println!("  {times:>9}  {fault}");
        }
        let Some(broken) = sum.broken else {
            println!("every promise was kept");
            return ExitCode::SUCCESS;
        };
        println!("seed {} broke {}", broken.seed, broken.broken.unwrap_or_default());
        println!("see it: cargo xtask simulate --seed {}", broken.seed);
        ExitCode::FAILURE
    }
}

impl Sum {
    fn add(&mut self, played: Played) {
        self.played += 1;
        self.jobs += played.jobs;
        self.steps += played.steps;
        self.simulated += played.simulated;
        for (fault, times) in &played.fired {
            *self.fired.entry(fault).or_default() += times;
        }
        if played.broken.is_some() && self.broken.is_none() {
            self.broken = Some(played);
        }
    }
}
