//! What happens without a request: each task on its own timer, each turn bounded, all ending when the server stops.
//!
//! Leases that run out need no task: an open poll knows when that will be, and any later poll sees it.

mod writes;

use crate::app::{App, archive};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use vworkspace_protocol::admin::JobState;
use vworkspace_store::{self as store, Pass, Pruned};

/// How often jobs are looked for whose time passed.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// How often last-seen is written. A crash loses what was noted in between, nothing else.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// How often what is over is looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// Between two batches of what is deleted, so that requests have the database most of the time.
const PRUNE_PAUSE: Duration = Duration::from_millis(20);

/// Starts all tasks.
pub fn spawn(tasks: &mut JoinSet<()>, app: &Arc<App>) {
    tasks.spawn(every(EXPIRE_EVERY, app.clone(), expire_jobs));
    tasks.spawn(every(EXPIRE_EVERY, app.clone(), cancel_archived));
    tasks.spawn(every(FLUSH_EVERY, app.clone(), flush_sightings));
    tasks.spawn(every(PRUNE_EVERY, app.clone(), prune));
    tasks.spawn(every(writes::PROBE_EVERY, app.clone(), writes::probe));
    tasks.spawn(writes::report(app.clone()));
}

/// Writes when clusters were last seen.
pub async fn flush_sightings(app: Arc<App>) {
    if let Err(error) = app.store.flush_presence().await {
        log_failure(&error, "last-seen not written; the next turn tries again");
    }
}

/// Ends jobs whose time passed, also of clusters that never ask, and wakes who watches them.
pub async fn expire_jobs(app: Arc<App>) {
    match app.store.expire_due(app.clock.now()).await {
        Ok(expired) => {
            app.metrics.transition(JobState::Expired, expired.len());
            expired.iter().for_each(|job| app.watches.wake(job));
        }
        Err(error) => log_failure(&error, "jobs not expired; the next turn tries again"),
    }
}

/// Cancels the next open jobs of archived clusters that the request to archive left open.
pub async fn cancel_archived(app: Arc<App>) {
    if let Err(error) = archive::cancel_jobs(&app, 1).await {
        log_failure(&error, "cannot cancel the jobs of archived clusters; retrying");
    }
}

/// Deletes what has been over for longer than the settings say, batch by batch.
pub async fn prune(app: Arc<App>) {
    let (mut pass, mut all) = (Pass::default(), Pruned::default());
    while !all.finished {
        match app.store.prune(&mut pass, app.clock.now()).await {
            Ok(Pruned { jobs, events, audit, tokens, finished }) => {
                all.jobs += jobs;
                all.events += events;
                all.audit += audit;
                all.tokens += tokens;
                all.finished = finished;
            }
            Err(error) => {
                log_failure(&error, "records not pruned; the next turn tries again");
                break;
            }
        }
        if app.stop.run_until_cancelled(app.clock.sleep(PRUNE_PAUSE)).await.is_none() {
            break;
        }
    }
    let Pruned { jobs, events, audit, tokens, finished: _ } = all;
    if jobs + events + audit + tokens > 0 {
        tracing::info!(jobs, events, audit, tokens, "deleted what was over for long enough");
    }
}

/// A database that fails is logged when that changes, not by every turn of every task.
fn log_failure(error: &store::Error, what: &'static str) {
    if matches!(error, store::Error::Unavailable(_) | store::Error::Busy) {
        tracing::debug!(%error, "{what}");
    } else {
        tracing::warn!(%error, "{what}");
    }
}

async fn every<F: Future<Output = ()>>(period: Duration, app: Arc<App>, task: fn(Arc<App>) -> F) {
    let mut timer = interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while app.stop.run_until_cancelled(timer.tick()).await.is_some() {
        task(app.clone()).await;
    }
}
