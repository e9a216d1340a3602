use super::App;
use crate::wake::{Seat, Woken};
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::{future::pending, time::Duration};

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

/// The rest of a caller's patience: ends once, for good.
pub type Patience = BoxFuture<'static, ()>;

/// Sleeps until there may be news for `seat`, something is due, the caller's patience is over or the server stops.
pub async fn pause<K: Ord>(
    app: &App,
    seat: &Seat<K>,
    patience: &mut Patience,
    due: Option<Timestamp>,
) -> Pause {
    let comes_due = async {
        match due {
            Some(due) => app.clock.sleep(until(due, app.clock.now()).max(SHORTEST)).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        () = app.stop.cancelled() => Pause::Over,
        woken = seat.woken() => match woken {
            Woken::Hint => Pause::Again,
            Woken::Displaced => Pause::Over,
        },
        () = patience => Pause::Over,
        () = comes_due => Pause::Again,
    }
}

fn until(due: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or_default()
}
