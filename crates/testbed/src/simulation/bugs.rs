//! The net catches fish: each planted bug, the seed that finds it, and the promise it breaks.

use super::{campaign::Campaign, play};
use std::{fmt::Write as _, time::Duration};
use vworkspace_core::planted::{Bug, plant};

/// Within so many seeds each bug is found.
pub const MOST_SEEDS: u64 = 500;
/// The table that is committed: bug, seed, promise.
const RECORDED: &str = include_str!("../../planted-bugs.txt");

/// What became of the search for one bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The bug's name.
    pub bug: String,
    /// The seed that found it; `None`: not one did.
    pub seed: Option<u64>,
    /// Whether that is the recorded one.
    pub is_recorded: bool,
    /// Seeds played.
    pub played: u64,
    /// The promise that was broken.
    pub promise: String,
}

/// Looks for a bug on its recorded seed and, where that does not find it any more, on fresh ones from `first`.
pub fn find(bug: Bug, first: u64, threads: u64) -> Found {
    plant(Some(bug));
    let found = on_recorded(bug).unwrap_or_else(|| search(bug, first, threads));
    plant(None);
    found
}

fn on_recorded(bug: Bug) -> Option<Found> {
    let seed = recorded(RECORDED, &bug.name())?;
    let promise = promise(&play(seed).broken?);
    Some(Found { bug: bug.name(), seed: Some(seed), is_recorded: true, played: 1, promise })
}

fn search(bug: Bug, first: u64, threads: u64) -> Found {
    let campaign = Campaign { first, seeds: MOST_SEEDS, most: Duration::MAX, threads };
    let sum = campaign.run();
    let (seed, broken) = sum.broken.map_or((None, None), |played| (Some(played.seed), played.broken));
    let promise = promise(broken.as_deref().unwrap_or_default());
    Found { bug: bug.name(), seed, is_recorded: false, played: sum.played, promise }
}

/// The table for the file.
pub fn table(found: &[Found]) -> String {
    let mut text =
        String::from("# bug, the seed that finds it, the promise it breaks: cargo xtask mutants --record\n");
    for found in found {
        let seed = found.seed.map_or_else(|| "-".to_owned(), |seed| seed.to_string());
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{:<30} {seed:<8} {}", found.bug, found.promise);
    }
    text
}

fn recorded(table: &str, bug: &str) -> Option<u64> {
    let lines = table.lines().map(str::split_whitespace);
    let mut found =
        lines.filter_map(|mut words| (words.next() == Some(bug)).then(|| words.next()?.parse().ok()));
    found.next().flatten()
}

/// The name of the promise, without what happened.
fn promise(broken: &str) -> String {
    broken.split(": ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_recorded_seed() {
        for bug in Bug::ALL {
            assert!(recorded(RECORDED, &bug.name()).is_some(), "{}", bug.name());
        }
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let found = Found {
            bug: "a-bug".to_owned(),
            seed: Some(17),
            is_recorded: false,
            played: 3,
            promise: "I1 durable ack".to_owned(),
        };
        assert_eq!(recorded(&table(&[found]), "a-bug"), Some(17));
    }
}
