//! How the cluster gets its first credential, and its next.

use super::{Agent, CALL};
use crate::simulation::api::ApiError;
use jiff::{SignedDuration, Timestamp};
use std::{rc::Rc, time::Duration};
use vworkspace_core::agent::{
    credentials::{Fetched, Held, Settled},
    rotation::{Cause, Life, Rotation, rotation, rotation_by_job},
    session::rejection_delay,
    spacing::Spacing,
};
use vworkspace_protocol::{JobId, ObjectRef, Secret, credential::RegisterRequest};
use vworkspace_transport::{AgentLink as _, EchoMark};

/// How often in a row the control plane refused the registration token, and when it is asked again.
#[derive(Default)]
struct Rejected {
    count: u32,
    not_before: Option<Timestamp>,
}

impl Rejected {
    fn handle(&mut self, now: Timestamp, random: f64) {
        let delay = SignedDuration::try_from(rejection_delay(self.count, random));
        self.count += 1;
        self.not_before = now.checked_add(delay.unwrap_or(SignedDuration::MAX)).ok();
    }
}

impl Agent {
    pub(super) async fn keep_registered(self: Rc<Self>) {
        let (mut rotating, mut rejected) = (Spacing::default(), Rejected::default());
        loop {
            let stored = self.site.api.state().credential.clone();
            let done = match stored {
                None => self.register(&mut rejected).await,
                Some(held) => self.settle(held, &mut rotating).await,
            };
            let pause = if done.is_some() { 1_000 } else { 1_000 + self.site.world.dice.roll(2_000) };
            self.site.world.sleep(Duration::from_millis(pause)).await;
        }
    }

    /// The id is stored before the first try, so that a repeated exchange is the same one.
    async fn register(&self, rejected: &mut Rejected) -> Option<()> {
        if rejected.not_before.is_some_and(|at| self.now() < at) {
            return Some(());
        }
        let token = self.site.registration_token.borrow().clone()?;
        let api = &self.site.api;
        let fresh = format!("{}-registration-{}", self.site.name, self.site.world.dice.roll(1 << 30));
        let id = api.call(|state| state.registration_id.get_or_insert(fresh).clone()).await.ok()?;
        let request = RegisterRequest {
            registration_token: token,
            cluster_id: None,
            display_name: self.site.name.clone(),
            registration_id: id,
        };
        let caller = self.caller_with(None);
        let answer = self.ask(&caller, CALL, move |link| {
            let request = request.clone();
            async move { link.register(&request).await }
        });
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(failure) => {
                self.note(&format!("is not registered: {failure:?}"));
                if failure.is_rejection() {
                    rejected.handle(self.now(), self.random());
                }
                return None;
            }
        };
        self.note("is registered");
        let issued_at = self.now();
        let life = answer.expires_at.map(|expires_at| Life { issued_at, expires_at });
        let held = Held::new(answer.cluster_id, answer.token, life);
        self.store(None, held.with_echo(self.mark.get().is_set())).await
    }

    /// Stores how a rotation ended, or begins one where none is under way.
    async fn settle(&self, held: Held, rotating: &mut Spacing<Secret>) -> Option<()> {
        let echoes = match self.mark.get() {
            EchoMark::Unset => held.echoes(),
            mark => mark.is_set(),
        };
        if echoes != held.echoes() {
            return self.store(Some(held.clone()), held.with_echo(echoes)).await;
        }
        let settled = held.settled(&self.verdicts.borrow(), self.now());
        match settled {
            Some(Settled::Promoted(now)) => {
                self.store(Some(held), now).await?;
                self.note("has one credential: the new one");
                rotating.handle_success();
                Some(())
            }
            Some(Settled::Dropped(now)) => {
                let token = now.token.clone();
                self.store(Some(held), now).await?;
                self.note("has one credential: the old one");
                self.site.world.weather.count("new credential dropped");
                rotating.handle_failure(token, None, self.now(), self.random());
                Some(())
            }
            Some(Settled::CameBack(now)) => {
                self.store(Some(held), now).await?;
                self.note("goes on with a credential that it had before");
                self.site.world.weather.count("former credential accepted");
                Some(())
            }
            None if held.next().is_some() => Some(()),
            None if rotating.not_before(&held.token, self.now()).is_some() => Some(()),
            None => self.rotate_if_due(held).await,
        }
    }

    /// Has the credential rotated for a job: `keep_registered` does it, as it does all rotations. Absent: not yet.
    pub(super) async fn rotate_for(&self, job: &JobId) -> Option<ObjectRef> {
        *self.ordered.borrow_mut() = Some(job.clone());
        let mut changed = self.site.api.watch();
        let is_rotated = || {
            let state = self.site.api.state();
            state.credential.as_ref().is_some_and(|held| held.fulfilled.job.as_ref() == Some(job))
        };
        let rotated = async {
            while !is_rotated() {
                changed.changed().await.ok()?;
            }
            Some(ObjectRef { kind: "Cluster".to_owned(), ..ObjectRef::default() })
        };
        let rotated = tokio::select! {
            biased;
            rotated = rotated => rotated,
            () = self.site.world.sleep(CALL) => None,
        };
        *self.ordered.borrow_mut() = None;
        rotated
    }

    /// Both credentials work until the new one is used, which is after it is stored.
    async fn rotate_if_due(&self, held: Held) -> Option<()> {
        if held.came_back() {
            return self.rotate(held, Cause::CameBack).await;
        }
        let ordered = self.ordered.borrow().clone();
        if let Some(job) = ordered
            && rotation_by_job(&job, held.fulfilled.job.as_ref()) == Rotation::Due
        {
            return self.rotate(held, Cause::Job(job)).await;
        }
        let wish = self.site.api.state().wish;
        match rotation(held.life, wish, held.fulfilled.wish, self.now()) {
            Rotation::No => Some(()),
            Rotation::Fulfilled => {
                let taken_back: Result<(), ApiError> = self.site.api.call(|state| state.wish = None).await;
                taken_back.ok()
            }
            Rotation::Due => self.rotate(held, wish.map_or(Cause::Age, Cause::Wish)).await,
        }
    }

    async fn rotate(&self, held: Held, cause: Cause) -> Option<()> {
        let caller = self.caller_with(Some(held.token.clone()));
        let answer = self.ask(&caller, CALL, |link| async move { link.rotate().await });
        let answer = answer.await.ok()?;
        self.note("has a new credential beside the current one");
        let issued_at = self.now();
        let life = answer.expires_at.map(|expires_at| Life { issued_at, expires_at });
        let rotation = format!("{}-rotation-{}", self.site.name, self.site.world.dice.roll(1 << 30));
        let both = held.fetched(Fetched { token: answer.token, life, rotation }, &cause);
        self.store(Some(held), both).await
    }

    /// Writes the Secret over what was read of it.
    async fn store(&self, read: Option<Held>, held: Held) -> Option<()> {
        let written =
            self.site.api.call_on_condition(move |state| state.write_credential(read.as_ref(), held)).await;
        written.ok().filter(|written| *written).map(drop)
    }
}
