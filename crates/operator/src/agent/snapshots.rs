//! Reports the conditions of all owned objects once more: after a cut, before jobs are asked for, and when the control
//! plane holds something else than was reported.

use super::{
    conversation::Conversation,
    events::{Part, Snapshot, Told, Untold},
    follow::Follow,
    links::Links,
    report_check::ReportCheck,
};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use vworkspace_core::{
    agent::{
        divergence::Depth,
        session::{Failure, State},
    },
    backoff::Backoff,
};

/// Objects per part of a snapshot: with a handful of conditions each they fit into the outbox.
const PART: usize = 80;

/// Takes snapshots, one at a time.
pub struct Snapshots {
    follow: Follow,
    parts: mpsc::Sender<Snapshot>,
    check: Arc<ReportCheck>,
    turn: tokio::sync::Mutex<()>,
}

impl Snapshots {
    /// Snapshots of the objects that `follow` shows, told by the loop behind `parts`.
    pub fn new(follow: Follow, parts: mpsc::Sender<Snapshot>, check: Arc<ReportCheck>) -> Self {
        Self { follow, parts, check, turn: tokio::sync::Mutex::default() }
    }

    /// Who is gone, and the conditions of all owned objects, in parts that fit into the outbox. Returns whether there was
    /// anything to tell.
    ///
    /// # Errors
    /// Why the control plane did not accept a part.
    pub async fn take(&self) -> Result<bool, Untold> {
        let _one_at_a_time = self.turn.lock().await;
        let depth = self.check.begin();
        let told = self.tell_all(depth).await;
        self.check.end(told.is_ok());
        told
    }

    /// Takes those snapshots that are due because the control plane holds something else than was reported, for ever.
    pub async fn repair(&self, conversation: &Conversation, links: &Links) {
        let (mut state, mut backoff) = (conversation.watch(), Backoff::default());
        loop {
            self.check.due().await;
            // A snapshot that is due for a cut is as good, and takes its place.
            let is_active = state.wait_for(|state| state.session == State::Active).await.is_ok();
            let Some(connection) = links.connected().await.filter(|_| is_active) else { return };
            if !self.check.is_due() {
                continue;
            }
            match self.take().await {
                Ok(_) => backoff.handle_success(),
                Err(Untold { failure, .. }) => {
                    let delay = backoff.handle_failure(failure.retry_after(), rand::random());
                    tracing::warn!(?failure, ?delay, "snapshot not accepted, retrying");
                    links.pause(&connection, delay).await;
                    if !links.is_current(&connection) {
                        backoff.handle_success();
                    }
                }
            }
        }
    }

    async fn tell_all(&self, depth: Depth) -> Result<bool, Untold> {
        let objects = self.follow.objects();
        tracing::info!(
            objects = objects.len(),
            ?depth,
            "sending the status snapshot before polling for jobs"
        );
        let mut round_trip = false;
        let conditions = objects.chunks(PART).map(|part| Part::Conditions(part.to_vec()));
        for part in std::iter::once(Part::Listed(objects.clone())).chain(conditions) {
            round_trip |= self.tell(part, depth).await? == Told::Taken;
        }
        Ok(round_trip)
    }

    async fn tell(&self, part: Part, depth: Depth) -> Result<Told, Untold> {
        let ends = || Untold {
            failure: Failure::Unavailable { retry_after: None },
            problem: "this operator is shutting down".into(),
        };
        let (done, answer) = oneshot::channel();
        self.parts.send(Snapshot { part, depth, done }).await.map_err(|_| ends())?;
        answer.await.unwrap_or_else(|_| Err(ends()))
    }
}
