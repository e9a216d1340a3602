//! What everybody in a simulated world shares: time, chance, faults and the record of what happened.

use super::{
    dice::Dice,
    executor::{Executor, Sleep},
    history::History,
    weather::Weather,
};
use jiff::{SignedDuration, Timestamp};
use std::{rc::Rc, time::Duration};

/// Seconds since 1970 at which every simulated world begins.
const BEGINNING: i64 = 1_800_000_000;

/// The shared parts; clones share them.
#[derive(Clone)]
pub struct World {
    /// Runs everything.
    pub executor: Executor,
    /// Decides everything.
    pub dice: Rc<Dice>,
    /// What goes wrong, and how often.
    pub weather: Rc<Weather>,
    /// What happened.
    pub history: Rc<History>,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let dice = Rc::new(Dice::new(seed));
        let executor = Executor::new(dice.clone());
        let weather = Rc::new(Weather::draw(&dice));
        let history = Rc::new(History::new(executor.timers()));
        Self { executor, dice, weather, history }
    }

    /// Waits that long.
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.executor.sleep(time)
    }

    /// Waits some time between the two.
    pub async fn sleep_between(&self, least: Duration, most: Duration) {
        self.sleep(self.dice.between(least, most)).await;
    }

    /// Whether this fault strikes now, `per_thousand` of all times; never once the faults have ended.
    pub fn strikes(&self, fault: &'static str, per_thousand: u64) -> bool {
        self.weather.strikes(&self.dice, fault, per_thousand)
    }
}

/// The time of day at `since` the beginning, on a clock that is off by `skew`.
pub fn time_of_day(since: Duration, skew: SignedDuration) -> Timestamp {
    let since = SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX);
    let beginning = Timestamp::from_second(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH);
    beginning.saturating_add(since.saturating_add(skew)).unwrap_or(Timestamp::MAX)
}
