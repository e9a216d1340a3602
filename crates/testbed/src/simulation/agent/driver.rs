//! Which credential is used, when is polled, what goes first.

use super::{Agent, events::Told};
use std::{rc::Rc, time::Duration};
use vworkspace_core::agent::{
    credentials::Held,
    session::{DISCONNECT_AFTER, Failure, State, Step, pause_after_poll, poll_wait},
};
use vworkspace_protocol::Job;
use vworkspace_transport::{AgentLink as _, EchoMark};

/// What a poll may take beyond the wait it asked for, as in the HTTP link.
const POLL_MARGIN: Duration = Duration::from_secs(10);
/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Time to the next one while it decides whether the control plane holds what was reported.
const IN_DOUBT: Duration = Duration::from_secs(10);

impl Agent {
    /// Uses the credential that is to be presented, of those the Secret holds.
    pub(super) async fn keep_credential(self: Rc<Self>) {
        let mut changed = self.site.api.watch();
        loop {
            changed.borrow_and_update();
            let stored = self.site.api.state().credential.clone();
            if *self.held.borrow() != stored {
                self.handle_written(stored.as_ref());
            }
            *self.held.borrow_mut() = stored;
            self.connect();
            if changed.changed().await.is_err() {
                return;
            }
            // The watch is late.
            self.site.world.sleep_between(Duration::from_micros(100), Duration::from_millis(200)).await;
        }
    }

    /// The credentials Secret was written.
    fn handle_written(&self, stored: Option<&Held>) {
        if self.mark.get() == EchoMark::Unset {
            self.mark.set(EchoMark::stored(stored.is_some_and(Held::echoes)));
        }
        let is_news = match (stored, &*self.held.borrow()) {
            (Some(now), Some(before)) => now.is_news(before),
            (now, before) => now.is_some() != before.is_some(),
        };
        if is_news {
            self.verdicts.borrow_mut().handle_change();
            self.session().handle_change();
            self.heard.notify_one();
        }
    }

    /// Makes another connection where another credential is to be presented. Answers whether one was made.
    fn connect(&self) -> bool {
        let verdicts = self.verdicts.borrow().clone();
        let wanted = self.held.borrow().as_ref().map(|held| held.presented(&verdicts).clone());
        if wanted == *self.credential.borrow() {
            return false;
        }
        let present = wanted.is_some();
        *self.credential.borrow_mut() = wanted;
        self.session().handle_credential(present, self.now());
        self.divergence.borrow_mut().handle_another_link();
        self.work().handle_link(false);
        self.quiet_until.set(Duration::ZERO);
        self.note("another credential is in use");
        self.link.send_modify(|link| *link += 1);
        self.answered.notify_one();
        true
    }

    pub(super) async fn poll_for_ever(self: Rc<Self>) {
        loop {
            let step = self.session().poll_step(self.now());
            match step {
                Step::Halt => self.another_link().await,
                Step::Reopen => {
                    self.verdicts.borrow_mut().handle_change();
                    self.connect();
                }
                Step::Wait(at) => tokio::select! {
                    biased;
                    () = self.another_link() => {}
                    () = self.heard.notified() => {}
                    () = self.until(at) => {}
                },
                Step::Resync => self.resync().await,
                Step::Poll => {
                    self.room().await;
                    self.poll().await;
                }
            }
            // What the poll loop decided is news for the jobs: the link is up or down.
            self.answered.notify_one();
        }
    }

    async fn resync(&self) {
        self.check_quiet();
        let link = *self.link.borrow();
        match self.tell_everything().await {
            Ok(told) => {
                self.told_first.set(true);
                self.cut.set(0);
                self.session().handle_resynced(told == Told::Taken, self.now());
            }
            // What another credential met says nothing about the one in use.
            Err(_) if link != *self.link.borrow() => {}
            Err(failure) => self.failed(failure),
        }
    }

    async fn room(&self) {
        while !self.work().has_room() {
            self.room.notified().await;
        }
    }

    async fn poll(self: &Rc<Self>) {
        let (Some(caller), Some(cluster)) = (self.caller(), self.cluster()) else { return };
        self.site.world.history.holds("status first", self.told_first.get(), || {
            format!("{} asked for jobs before it told its objects' conditions", self.site.name)
        });
        // One that is lost alone is no cut.
        self.site.world.history.holds("status first", self.cut.get() < 2, || {
            format!("{} asked for jobs after a cut before it told its objects' conditions", self.site.name)
        });
        self.check_quiet();
        let wanted = Duration::from_secs(5 + self.site.world.dice.roll(26));
        let wait = poll_wait(wanted, DISCONNECT_AFTER);
        let asked_at = self.site.seen.borrow().set_backs;
        let started = self.site.world.executor.now();
        let answer = tokio::select! {
            biased;
            () = self.another_link() => return,
            answer = self.ask(&caller, wait + POLL_MARGIN, move |link| {
                let cluster = cluster.clone();
                async move { link.jobs(&cluster, wait).await }
            }) => answer,
        };
        match answer {
            Ok(mut jobs) => {
                self.handle_late_offer(&jobs, asked_at);
                self.accepted(&caller);
                self.bare.borrow_mut().handle_poll();
                self.cut.set(0);
                self.session().handle_polled(self.now());
                self.site.seen.borrow_mut().delivered.extend(jobs.iter().cloned());
                jobs.extend(self.forgotten());
                let new = self.take(jobs);
                let took = self.site.world.executor.now().saturating_sub(started);
                self.site.world.sleep(pause_after_poll(new, took)).await;
            }
            Err(failure) => self.failed(failure),
        }
    }

    /// A process that stood still reads the answer when it goes on: the control plane may know none of the jobs any more.
    fn handle_late_offer(&self, jobs: &[Job], asked_at: u32) {
        let seen = &mut *self.site.seen.borrow_mut();
        if seen.set_backs != asked_at {
            seen.done_before.extend(jobs.iter().map(|job| job.id.clone()));
        }
    }

    /// A job that is over, from a control plane that was set back to a backup, or that never cared.
    fn forgotten(&self) -> Option<Job> {
        let world = &self.site.world;
        if !world.strikes("job offered again though it is over", world.weather.forget) {
            return None;
        }
        let mut seen = self.site.seen.borrow_mut();
        let over: Vec<&Job> =
            seen.delivered.iter().filter(|job| seen.taken_results.contains_key(&job.id)).collect();
        let job = world.dice.pick(&over).map(|job| (*job).clone())?;
        seen.repeated.insert(job.id.clone());
        Some(job)
    }

    fn take(&self, jobs: Vec<Job>) -> usize {
        let mut new = 0;
        for job in jobs {
            let name = self.site.world.history.name(&job.id);
            self.site.seen.borrow_mut().offered.insert(job.id.clone());
            let plan = super::jobs::plan_of(&job);
            let is_new = self.work().handle_offered(job, plan, self.now());
            self.note(&format!("is offered {name}{}", if is_new { "" } else { " again" }));
            new += usize::from(is_new);
        }
        self.answered.notify_one();
        new
    }

    /// What is rejected is compared with the Secret first; if it was a next credential, the one before still works.
    fn failed(&self, failure: Failure) {
        if failure.is_rejection() {
            let stored = self.site.api.state().credential.clone();
            if let (Some(stored), Some(used)) = (&stored, self.credential.borrow().as_ref()) {
                self.verdicts.borrow_mut().handle_refused(used, stored);
            }
            *self.held.borrow_mut() = stored;
            if self.connect() {
                return;
            }
        }
        self.note(&format!("fails to talk: {failure:?}"));
        self.cut.set(self.cut.get() + 1);
        if failure == (Failure::Unavailable { retry_after: None }) {
            self.divergence.borrow_mut().handle_connection_lost();
            self.repair.notify_one();
        }
        if let Some(asked) = failure.retry_after() {
            self.quiet_until.set(self.site.world.executor.now() + asked);
        }
        self.session().handle_failure(failure, self.now(), self.random());
        let state = self.session().state();
        if matches!(state, State::Rejected(_)) {
            self.is_accepted.set(false);
        }
        let weather = &self.site.world.weather;
        let may_be_refused = self.site.is_deleted()
            || self.site.has_twin()
            || weather.upheaval().is_some()
            || weather.strict_rotation;
        let is_good = !matches!(state, State::Rejected(_)) || may_be_refused;
        self.site.world.history.holds("I11 rotation", is_good, || {
            format!("{} was rejected with the credential it holds: {state:?}", self.site.name)
        });
    }

    /// `Retry-After` is kept exactly.
    fn check_quiet(&self) {
        let (now, until) = (self.site.world.executor.now(), self.quiet_until.get());
        self.site.world.history.holds("Retry-After", now >= until, || {
            format!("{} comes back at {now:?}, and was asked to at {until:?}", self.site.name)
        });
    }

    fn cluster(&self) -> Option<vworkspace_protocol::ClusterId> {
        self.held.borrow().as_ref().map(|held| held.cluster.clone())
    }

    /// Signs of life while the conversation is active.
    pub(super) async fn beat(self: Rc<Self>) {
        loop {
            if self.session().state() == State::Active
                && let Some(caller) = self.caller()
            {
                let (settled, link) = (self.settled(), *self.link.borrow());
                if let Ok(answer) = self.post_heartbeat(&caller).await {
                    self.good(&caller);
                    if link == *self.link.borrow() {
                        self.compare(settled, &answer);
                    }
                }
            }
            let in_doubt = self.divergence.borrow().is_in_doubt();
            self.site.world.sleep(if in_doubt { IN_DOUBT } else { HEARTBEAT }).await;
        }
    }
}
