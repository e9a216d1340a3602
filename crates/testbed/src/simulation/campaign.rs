//! Many seeds, on several threads, until one breaks a promise or the time is over.

use super::{Played, play};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Which seeds are played, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed; the others follow it.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// No seed is begun later.
    pub most: Duration,
    /// Threads; each plays seeds of its own.
    pub threads: u64,
}

/// What the seeds added up to.
#[derive(Default)]
pub struct Sum {
    /// Seeds played to their end.
    pub played: u64,
    /// Jobs handed in.
    pub jobs: u64,
    /// Things noted.
    pub steps: u64,
    /// Time that passed in the worlds.
    pub simulated: Duration,
    /// Time that passed here.
    pub took: Duration,
    /// How often each fault struck.
    pub fired: BTreeMap<&'static str, u64>,
    /// A seed that broke a promise.
    pub broken: Option<Played>,
}

impl Campaign {
    /// Plays them.
    pub fn run(self) -> Sum {
        let started = Instant::now();
        let (next, stop, sum) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Sum::default()));
        let work = || {
            while !stop.load(Ordering::Relaxed) && started.elapsed() < self.most {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= self.seeds {
                    return;
                }
                let played = play(self.first.wrapping_add(n));
                let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                sum.add(played);
                stop.fetch_or(sum.broken.is_some(), Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| (0..self.threads.max(1)).for_each(|_| drop(scope.spawn(work))));
        let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        Sum { took: started.elapsed(), ..sum }
    }
}

impl Sum {
    /// How many times faster than the worlds' own time.
    pub fn speed(&self) -> f64 {
        self.simulated.as_secs_f64() / self.took.as_secs_f64().max(0.001)
    }

    fn add(&mut self, played: Played) {
        self.played += 1;
        self.jobs += played.jobs;
        self.steps += played.steps;
        self.simulated += played.simulated;
        for (fault, times) in &played.fired {
            *self.fired.entry(fault).or_default() += times;
        }
        if played.broken.is_some() && self.broken.as_ref().is_none_or(|known| played.seed < known.seed) {
            self.broken = Some(played);
        }
    }
}
