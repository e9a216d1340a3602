//! The one source of chance: a seed names a whole history.

use std::{cell::Cell, time::Duration};

/// A seeded generator (xorshift64*: good enough to choose with).
#[derive(Debug)]
pub struct Dice(Cell<u64>);

impl Dice {
    /// Equal seeds roll equally.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds start far apart; zero would stay zero.
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(Cell::new((mixed ^ (mixed >> 31)) | 1))
    }

    /// A number below `sides`, which is at least 1.
    pub fn roll(&self, sides: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides.max(1)
    }

    /// Whether it happens this time, `per_thousand` of all times.
    pub fn happens(&self, per_thousand: u64) -> bool {
        self.roll(1_000) < per_thousand
    }

    /// Uniform in 0..1.
    pub fn fraction(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "20 bits fit")]
        let fraction = self.roll(1 << 20) as f64 / f64::from(1 << 20);
        fraction
    }

    /// A time between the two, in whole microseconds.
    pub fn between(&self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.roll(span.saturating_add(1)))
    }

    /// One of them.
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(usize::try_from(self.roll(choices.len() as u64)).unwrap_or(0))
    }
}
