//! Durations of many equal calls, and their percentiles.

use std::time::Duration;

/// Every duration measured; a run is bounded in time, hence so is this.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

/// What is told of many durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many were measured.
    pub samples: usize,
    /// Half took at most this long.
    pub p50: Duration,
    /// Nine in ten took at most this long.
    pub p90: Duration,
    /// Ninety-nine in a hundred took at most this long.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The percentiles; zeros when nothing was measured.
    pub fn summary(&self) -> Summary {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        Summary {
            samples: sorted.len(),
            p50: percentile(&sorted, 50),
            p90: percentile(&sorted, 90),
            p99: percentile(&sorted, 99),
            max: percentile(&sorted, 100),
        }
    }
}

/// Nearest rank: the smallest measured duration that at least `percent` of all do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(milliseconds: impl IntoIterator<Item = u64>) -> Summary {
        Latencies(milliseconds.into_iter().map(Duration::from_millis).collect()).summary()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn percentiles_are_measured_values_of_the_nearest_rank() {
        let summary = of((1..=100).rev());
        assert_eq!(summary, Summary { samples: 100, p50: ms(50), p90: ms(90), p99: ms(99), max: ms(100) });
        let three = of([30, 10, 20]);
        assert_eq!((three.p50, three.p90, three.p99, three.max), (ms(20), ms(30), ms(30), ms(30)));
    }

    #[test]
    fn few_samples_do_not_hide_the_worst() {
        assert_eq!(of([5]), Summary { samples: 1, p50: ms(5), p90: ms(5), p99: ms(5), max: ms(5) });
        assert_eq!(of(std::iter::repeat_n(1, 98).chain([7, 9])).p99, ms(7));
        assert_eq!(of([]), Summary::default());
    }

    #[test]
    fn parts_add_up() {
        let mut all = Latencies::default();
        all.add(ms(1));
        let mut more = Latencies::default();
        more.add(ms(3));
        all.extend(more);
        assert_eq!((all.summary().samples, all.summary().max), (2, ms(3)));
    }
}
