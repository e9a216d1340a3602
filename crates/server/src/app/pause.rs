use super::App;
use crate::wake::{Seat, Woken};
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Shortest sleep before looking again for something that is due: a clock that jumps must not make a busy loop.
const SHORTEST: Duration = Duration::from_millis(5);

/// What to do after a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Look again.
    Again,
    /// Answer with what there is.
    Over,
}

/// Sleeps until there may be news for `seat`, something is due, the deadline has come or the server stops.
pub async fn pause<K: Ord>(app: &App, seat: &Seat<K>, deadline: Instant, due: Option<Timestamp>) -> Pause {
    let due = due.map_or(deadline, |due| Instant::now() + until(due, Timestamp::now()).max(SHORTEST));
    tokio::select! {
        biased;
        () = app.stop.cancelled() => Pause::Over,
        woken = seat.woken() => match woken {
            Woken::Hint => Pause::Again,
            Woken::Displaced => Pause::Over,
        },
        () = sleep_until(due.min(deadline)) => if due < deadline { Pause::Again } else { Pause::Over },
    }
}

fn until(due: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or_default()
}
