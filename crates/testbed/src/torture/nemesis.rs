//! Kills server and operator as a power cut would, each at moments of its own, and starts them again.

use super::{check::Stored, database, history::History};
use crate::{simulation::dice::Dice, stack::Stack};
use anyhow::Context as _;
use std::{cell::Cell, cell::RefCell, rc::Rc, time::Duration};
use tokio::time::{Instant, sleep};

/// Longest time a killed program is gone.
const GONE: Duration = Duration::from_secs(2);
/// Now and then it is gone for so long: longer than the disconnect window.
const LONG_GONE: Duration = Duration::from_secs(9);
/// One in so many.
const LONG_ONE_IN: u64 = 12;
/// Between two looks whether a program ended by itself.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How much is to be done to one program.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) kills: u32,
    pub(super) ends: Instant,
}

impl Plan {
    /// When the next one strikes, with `left` still to do: at random, so that all fit in.
    fn gap(self, left: u32, dice: &Dice) -> Duration {
        let mean = self.ends.saturating_duration_since(Instant::now()) / left.max(1);
        dice.between(mean / 10, mean * 19 / 10)
    }
}

/// What was done.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) server: Cell<u32>,
    pub(super) operator: Cell<u32>,
    /// How often the operator ended by itself, for example because its lease could not be renewed in time.
    pub(super) gave_up: Cell<u32>,
    /// How often the database was checked.
    pub(super) checked: Cell<u32>,
}

/// Kills the server; its database is checked each time before it is started again.
pub(super) async fn torment_server(
    stack: &Stack,
    plan: Plan,
    dice: &Dice,
    tally: &Tally,
    history: &Rc<RefCell<History>>,
) -> anyhow::Result<()> {
    for left in (1..=plan.kills).rev() {
        sleep(plan.gap(left, dice)).await;
        stack.server.still_runs()?;
        stack.server.kill();
        tally.server.set(tally.server.get() + 1);
        let back = Instant::now() + gone(dice);
        let Stored { damage, repeated_keys, ended_twice, .. } = stored(stack).await?;
        tally.checked.set(tally.checked.get() + 1);
        if !damage.is_empty() || !repeated_keys.is_empty() || ended_twice > 0 {
            let kills = tally.server.get();
            let what =
                format!("after kill {kills} of the server: {damage:?} {repeated_keys:?} {ended_twice}");
            history.borrow_mut().mishaps.push(what);
        }
        tokio::time::sleep_until(back).await;
        stack.server.restart().await?;
    }
    Ok(())
}

/// Kills the operator; one that ends by itself is started again, as a Deployment would.
pub(super) async fn torment_operator(
    stack: &Stack,
    plan: Plan,
    dice: &Dice,
    tally: &Tally,
) -> anyhow::Result<()> {
    for left in (1..=plan.kills).rev() {
        let strikes = Instant::now() + plan.gap(left, dice);
        while Instant::now() < strikes {
            keep_operator(stack, tally)?;
            sleep(LOOK_EVERY.min(strikes.saturating_duration_since(Instant::now()))).await;
        }
        stack.operator.kill();
        tally.operator.set(tally.operator.get() + 1);
        sleep(gone(dice)).await;
        stack.operator.restart()?;
    }
    Ok(())
}

/// Starts the operator again if it ended by itself.
pub(super) fn keep_operator(stack: &Stack, tally: &Tally) -> anyhow::Result<()> {
    if let Err(why) = stack.operator.still_runs() {
        tracing::warn!("{why:#}");
        tally.gave_up.set(tally.gave_up.get() + 1);
        stack.operator.restart()?;
    }
    Ok(())
}

/// What the database holds, while the server is down.
pub(super) async fn stored(stack: &Stack) -> anyhow::Result<Stored> {
    let data = stack.server.data();
    tokio::task::spawn_blocking(move || database::read(&data))
        .await
        .context("the check of the database ended")?
}

fn gone(dice: &Dice) -> Duration {
    let longest = if dice.roll(LONG_ONE_IN) == 0 { LONG_GONE } else { GONE };
    dice.between(Duration::ZERO, longest)
}
