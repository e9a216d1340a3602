//! The session as all loops of the agent share it, and what it looks like from outside.

use crate::{agent::problem::Problem, clock, metrics::LinkGauges};
use jiff::Timestamp;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};
use vworkspace_core::agent::{
    bare_answers::{BareAnswers, Message},
    credentials::{Held, Verdicts},
    session::{Failure, Rejected, Session, State, Step},
};
use vworkspace_protocol::{JobId, Secret};
use vworkspace_transport::EchoMark;

/// How the link is, for the Cluster's status, its credentials and the metrics.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkState {
    /// Where the conversation stands.
    pub session: State,
    /// The rejections since the last good answer.
    pub rejected: Option<Rejected>,
    /// What is known of the control plane's echo; `None` before it has answered.
    pub echo: Option<Echo>,
    /// No good round trip within the window.
    pub disconnected: bool,
    /// Whether there was a good round trip with the current credential.
    pub reached: bool,
    /// What was answered to which credential.
    pub verdicts: Verdicts,
    /// When a heartbeat was last taken.
    pub last_heartbeat: Option<Timestamp>,
    /// What went wrong last; empty while all is well.
    pub problem: Problem,
    /// Events dropped because the buffer was full, ever.
    pub dropped_events: u64,
    /// Whether events were dropped since the outbox was last empty.
    pub overflowing: bool,
    /// Whether the control plane holds something else than was reported to it.
    pub report_diverged: bool,
}

impl Default for LinkState {
    fn default() -> Self {
        Self {
            session: State::Unregistered,
            rejected: None,
            echo: None,
            disconnected: false,
            reached: false,
            verdicts: Verdicts::default(),
            last_heartbeat: None,
            problem: Problem::default(),
            dropped_events: 0,
            overflowing: false,
            report_diverged: false,
        }
    }
}

/// What is known of the echo of one control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Names the control plane, see [`target`](crate::agent::credentials::target).
    pub target: String,
    /// What is known.
    pub mark: EchoMark,
}

/// The one session of this process. Every method is short and takes the clock itself.
pub struct Conversation {
    session: Mutex<Session>,
    bare: Mutex<BareAnswers>,
    state: watch::Sender<LinkState>,
    gauges: LinkGauges,
    /// Told at every good round trip but those of the poll loop itself.
    heard: Notify,
    /// Events dropped before the last whole snapshot began: it told what they would have.
    made_up_for: AtomicU64,
    /// Whether there was a poll since: a snapshot that drops events itself, again and again, leaves time for jobs.
    polled_since: AtomicBool,
}

impl Conversation {
    /// A conversation that has not begun; `state` is told every change.
    pub fn new(disconnect_after: Duration, state: watch::Sender<LinkState>, gauges: LinkGauges) -> Self {
        let session = Mutex::new(Session::new(disconnect_after));
        let (made_up_for, polled_since) = (AtomicU64::new(0), AtomicBool::new(false));
        let bare = Mutex::default();
        Self { session, bare, state, gauges, heard: Notify::new(), made_up_for, polled_since }
    }

    /// Another connection is made, with another credential, URL or CA, or there is none any more; `problem` says why none
    /// can be used.
    pub fn credential(&self, present: bool, problem: &str) {
        self.session().handle_credential(present, clock::now());
        self.publish(|state| {
            state.reached = false;
            // While another of the credentials held is tried, the last rejection is what there is to say.
            if !present || !problem.is_empty() || state.rejected.is_none() {
                state.problem = problem.into();
            }
        });
    }

    /// It is with another control plane from now on, by URL, CA or cluster.
    pub fn another_target(&self) {
        self.bare().handle_another_target();
    }

    /// What is known of the control plane's echo.
    pub fn echo(&self, echo: Echo) {
        self.publish(|state| state.echo = Some(echo));
    }

    /// A call of any kind succeeded with this credential.
    pub fn good(&self, token: &Secret) {
        self.session().handle_good(clock::now());
        self.publish(|state| state.reached_now(token));
        self.heard.notify_one();
    }

    /// The control plane took a heartbeat.
    pub fn heartbeat(&self, token: &Secret) {
        let now = clock::now();
        self.session().handle_good(now);
        self.publish(|state| {
            state.reached_now(token);
            state.last_heartbeat = Some(now);
        });
        self.heard.notify_one();
    }

    /// There is nothing left to tell; without `round_trip` there was nothing at all. Whose credential the last batch
    /// went with was told when it was taken. `dropped` events had been dropped when the snapshot began.
    pub fn resynced(&self, round_trip: bool, dropped: u64) {
        self.made_up_for.store(dropped, Ordering::Relaxed);
        self.polled_since.store(false, Ordering::Relaxed);
        self.session().handle_resynced(round_trip, clock::now());
        self.publish(|state| {
            if round_trip {
                state.reached = true;
                state.problem = Problem::default();
            }
        });
    }

    /// A poll was answered.
    pub fn polled(&self, token: &Secret) {
        self.bare().handle_poll();
        self.polled_since.store(true, Ordering::Relaxed);
        self.session().handle_polled(clock::now());
        self.publish(|state| state.reached_now(token));
    }

    /// What a foreign answer to a message about a job means where the control plane proves nothing, once it is believed.
    pub fn bare_answer(&self, job: &JobId, message: Message, status: u16) -> Option<Failure> {
        self.bare().handle_bare(job, message, status, clock::now())
    }

    /// A message about a job was answered in form, or not at all.
    pub fn other_answer(&self, job: &JobId, message: Message) {
        self.bare().handle_other(job, message);
    }

    /// A call with this credential was refused with 401 or 403; `held` is what there is. Another one may be due now.
    pub fn refused(&self, token: &Secret, held: &Held) {
        self.publish(|state| state.verdicts.handle_refused(token, held));
    }

    /// Somebody changed the credentials or the Cluster: whatever was refused is tried again at once.
    pub fn identity_changed(&self) {
        self.session().handle_change();
        self.publish(|state| state.verdicts.handle_change());
        self.heard.notify_one();
    }

    /// The wait after a rejection is over: whatever was refused is tried again.
    pub fn reopen(&self) {
        self.publish(|state| state.verdicts.handle_change());
    }

    /// What was answered to which credential.
    pub fn verdicts(&self) -> Verdicts {
        self.state.borrow().verdicts.clone()
    }

    /// A poll or a snapshot failed.
    pub fn failed(&self, failure: Failure, problem: Problem) {
        self.session().handle_failure(failure, clock::now(), rand::random());
        self.publish(|state| problem.replace(&mut state.problem));
    }

    /// How the outbox is.
    pub fn outbox(&self, waiting: usize, dropped: u64, overflowing: bool) {
        self.gauges.event_buffer(waiting);
        self.publish(|state| (state.dropped_events, state.overflowing) = (dropped, overflowing));
    }

    /// Whether the control plane holds something else than was reported to it.
    pub fn report_diverged(&self, is_diverged: bool) {
        self.publish(|state| state.report_diverged = is_diverged);
    }

    /// Whether the control plane may be told anything: not with a credential that it rejected.
    pub fn may_talk(&self) -> bool {
        !matches!(self.session().state(), State::Rejected(_))
    }

    /// Waits until it may.
    pub async fn talkable(&self) {
        let rejected = |state: &LinkState| matches!(state.session, State::Rejected(_));
        // The sender lives in `self`: waiting cannot fail.
        let mut state = self.watch();
        let _never_fails = state.wait_for(|state| !rejected(state)).await;
    }

    /// Events dropped so far for want of room.
    pub fn dropped(&self) -> u64 {
        self.state.borrow().dropped_events
    }

    /// What the poll loop does next. Once there is room again after events were dropped, status goes first as after a
    /// cut: nothing else tells what they would have. Jobs are asked for in between.
    pub fn step(&self) -> Step {
        let step = self.session().poll_step(clock::now());
        self.publish(|_| {});
        let state = self.state.borrow();
        let is_due = state.dropped_events > self.made_up_for.load(Ordering::Relaxed)
            && self.polled_since.load(Ordering::Relaxed)
            && !state.overflowing;
        if step == Step::Poll && is_due { Step::Resync } else { step }
    }

    /// Waits for a good round trip, or gives back at once when there was one since this was last waited for: what comes
    /// next may be due sooner. For one waiting task, the poll loop.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Publishes the moment the window passes, for ever: drop it to end it.
    pub async fn watch_silence(&self) {
        loop {
            let now = clock::now();
            let due = self.session().disconnects_at().filter(|due| *due > now);
            let delay = due.map_or(Duration::from_secs(1), |due| until(due, now));
            tokio::time::sleep(delay).await;
            self.publish(|_| {});
        }
    }

    /// The link's state now and at every change.
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    fn publish(&self, edit: impl FnOnce(&mut LinkState)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            edit(state);
            // Read and shown here, where one writer at a time is: neither what is published nor what is shown goes back to
            // how the session was before.
            let session = self.session();
            (state.session, state.rejected) = (session.state(), session.rejected());
            state.disconnected = session.is_disconnected(clock::now());
            drop(session);
            self.gauges.show(state);
            *state != before
        });
    }

    fn bare(&self) -> MutexGuard<'_, BareAnswers> {
        // Every change is one call: it is whole even after a panic.
        self.bare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        // Every change of the session is one call: it is whole even after a panic.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkState {
    fn reached_now(&mut self, token: &Secret) {
        self.verdicts.handle_accepted(token);
        self.reached = true;
        self.problem = Problem::default();
    }
}

/// From `now` to `due`; nothing when it has passed.
pub fn until(due: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn conversation() -> Conversation {
        Conversation::new(Duration::from_secs(60), watch::Sender::default(), Metrics::new().1.link)
    }

    #[test]
    fn what_was_dropped_is_made_up_for_by_a_snapshot_once_there_is_room() {
        let conversation = conversation();
        conversation.credential(true, "");
        conversation.resynced(true, conversation.dropped());
        assert_eq!(conversation.step(), Step::Poll);
        conversation.polled(&Secret::new("t"));
        conversation.outbox(1_000, 3, true);
        assert_eq!(conversation.step(), Step::Poll, "a snapshot would be dropped, too");
        conversation.outbox(0, 3, false);
        assert_eq!(conversation.step(), Step::Resync);
        let dropped = conversation.dropped();
        conversation.outbox(0, 4, false);
        conversation.resynced(true, dropped);
        conversation.polled(&Secret::new("t"));
        assert_eq!(conversation.step(), Step::Resync, "one more since it began");
        conversation.resynced(true, conversation.dropped());
        assert_eq!(conversation.step(), Step::Poll);
    }

    #[test]
    fn jobs_are_asked_for_between_two_snapshots_whatever_each_of_them_drops() {
        let conversation = conversation();
        conversation.credential(true, "");
        conversation.outbox(0, 1, false);
        conversation.resynced(true, 0);
        assert_eq!(conversation.step(), Step::Poll);
        conversation.polled(&Secret::new("t"));
        assert_eq!(conversation.step(), Step::Resync);
    }

    #[test]
    fn what_is_published_is_the_session_as_it_is_then() {
        let conversation = conversation();
        let meanwhile = |session: &mut Session| session.handle_credential(true, clock::now());
        conversation.publish(|_| meanwhile(&mut conversation.session()));
        assert!(conversation.watch().borrow().session == State::Resyncing);
    }
}
