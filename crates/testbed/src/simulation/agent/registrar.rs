//! How the cluster gets its first credential, and its next.

use super::{Agent, CALL, answers::failure_of};
use crate::simulation::{api::ApiError, wire::refused};
use jiff::{SignedDuration, Timestamp};
use std::{cell::Cell, rc::Rc, time::Duration};
use vworkspace_core::{
    agent::{
        credentials::{Fetched, Held, Settled},
        identity_step::{IdentityStep, Known, Token, next_step, withheld},
        rotation::{Cause, Life, Rotation, rotation_by_job},
        session::{Failure, rejection_delay},
        spacing::Spacing,
    },
    planted::{Bug, planted},
};
use vworkspace_protocol::{
    ClusterId, JobId, ObjectRef, Secret,
    credential::{RegisterRequest, RegisterResponse},
};
use vworkspace_transport::{AgentLink as _, EchoMark, LinkError};

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
                Some(held) => self.settle(held, &mut rotating, &mut rejected).await,
            };
            let pause = if done.is_some() { 1_000 } else { 1_000 + self.site.world.dice.roll(2_000) };
            self.site.world.sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn register(&self, rejected: &mut Rejected) -> Option<()> {
        if rejected.not_before.is_some_and(|at| self.now() < at) {
            return Some(());
        }
        let answer = match self.exchange(None).await? {
            Ok(answer) => answer,
            Err(failure) => {
                if failure.is_rejection() {
                    self.site.world.weather.handle_token_refused();
                    rejected.handle(self.now(), self.random());
                }
                return None;
            }
        };
        self.note("is registered");
        let held = Held::new(answer.cluster_id, answer.token, self.life(answer.expires_at));
        self.store(None, held.with_echo(self.mark.get().is_set())).await
    }

    /// Exchanges the token. The id is stored before the first try, so that a repeated exchange is the same one. Absent: there
    /// is no token, or no id yet.
    async fn exchange(&self, cluster_id: Option<ClusterId>) -> Option<Result<RegisterResponse, Failure>> {
        let token = self.site.registration_token.borrow().clone()?;
        let api = &self.site.api;
        let fresh = format!("{}-registration-{}", self.site.name, self.site.world.dice.roll(1 << 30));
        let id = api.call(|state| state.registration_id.get_or_insert(fresh).clone()).await.ok()?;
        let request = RegisterRequest {
            registration_token: token,
            cluster_id,
            display_name: self.site.name.clone(),
            registration_id: id,
        };
        let caller = self.caller_with(None);
        let answer = self.answer_to(&caller, CALL, move |link| {
            let request = request.clone();
            async move { link.register(&request).await }
        });
        Some(answer.await.map_err(|error| {
            self.note(&format!("is not registered: {error}"));
            match error {
                LinkError::Unexpected { status: 401, .. } if planted(Bug::SpendToken) => {
                    *self.site.registration_token.borrow_mut() = None;
                    Failure::Unauthorized
                }
                error => failure_of(&error),
            }
        }))
    }

    /// Registers under the identity that is held: the answer to a rotation was lost, and every credential is rejected.
    async fn register_again(&self, held: Held, rejected: &mut Rejected) -> Option<()> {
        if rejected.not_before.is_some_and(|at| self.now() < at) {
            return Some(());
        }
        let answer = self.exchange(Some(held.cluster.clone())).await?.map(|answer| {
            let life = self.life(answer.expires_at);
            let rotation = format!("{}-again-{}", self.site.name, self.site.world.dice.roll(1 << 30));
            (answer.cluster_id, Fetched { token: answer.token, life, rotation })
        });
        if matches!(answer, Err(failure) if failure.is_rejection()) {
            rejected.handle(self.now(), self.random());
        }
        let again = held.registered_again(answer)?;
        if again.lost_rotation().is_none() {
            self.site.world.weather.count("registered again after a lost rotation");
        }
        self.store(Some(held), again).await?;
        let times = self.site.seen.borrow().registered_again + 1;
        self.site.seen.borrow_mut().registered_again = times;
        self.site.world.history.holds("I11 rotation", times == 1, || {
            format!(
                "{} registered again {times} times, and no credential was accepted between",
                self.site.name
            )
        });
        Some(())
    }

    fn life(&self, expires_at: Option<Timestamp>) -> Option<Life> {
        let issued_at = self.now();
        expires_at.map(|expires_at| Life { issued_at, expires_at })
    }

    /// Stores how a rotation ended, or begins one where none is under way.
    async fn settle(
        &self,
        held: Held,
        rotating: &mut Spacing<Secret>,
        rejected: &mut Rejected,
    ) -> Option<()> {
        let settled = held.settled(&self.verdicts.borrow(), self.now());
        let kept = settled.as_ref().map_or(&held, Settled::held).clone();
        let kept = match self.mark.get() {
            EchoMark::Unset => kept,
            mark => kept.with_echo(mark.is_set()),
        };
        if kept != held {
            self.store(Some(held.clone()), kept.clone()).await?;
        }
        match settled {
            Some(Settled::Promoted(_)) => {
                self.note("has one credential: the new one");
                rotating.handle_success();
            }
            Some(Settled::Dropped(_)) => {
                self.note("has one credential: the old one");
                self.site.world.weather.count("new credential dropped");
                rotating.handle_failure(kept.token, None, self.now(), self.random());
            }
            Some(Settled::CameBack(_)) => {
                self.note("goes on with a credential that it had before");
                self.site.world.weather.count("former credential accepted");
            }
            None => return self.next_step(kept, rotating, rejected).await,
        }
        Some(())
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

    /// Does what is next about the identity, for a job or by the step that is due.
    async fn next_step(
        &self,
        held: Held,
        rotating: &mut Spacing<Secret>,
        rejected: &mut Rejected,
    ) -> Option<()> {
        let (ordered, verdicts) = (self.ordered.borrow().clone(), self.verdicts.borrow().clone());
        if let Some(job) = ordered
            && rotation_by_job(&job, held.fulfilled.job.as_ref()) == Rotation::Due
            && withheld(&held, &verdicts).is_none()
        {
            return self.rotate(held, Cause::Job(job), rotating).await;
        }
        let is_there = self.site.registration_token.borrow().is_some();
        let step = next_step(&Known {
            held: Some(&held),
            verdicts: &verdicts,
            token: if is_there { Token::Used } else { Token::None },
            is_recorded: true,
            wish: self.site.api.state().wish,
            now: self.now(),
        });
        match step {
            IdentityStep::RegisterAgain => self.register_again(held, rejected).await,
            IdentityStep::Rotate(cause) => self.rotate(held, cause, rotating).await,
            IdentityStep::TakeBackWish => {
                let taken_back: Result<(), ApiError> = self.site.api.call(|state| state.wish = None).await;
                taken_back.ok()
            }
            IdentityStep::Wait | IdentityStep::Register | IdentityStep::Adopt | IdentityStep::Keep => {
                Some(())
            }
        }
    }

    /// Both credentials work until the new one is used, which is after it is stored.
    ///
    /// That a rotation is asked for is stored before it is: a plain v1 control plane ends the old credential at once, and the
    /// answer may be lost.
    async fn rotate(&self, held: Held, cause: Cause, rotating: &mut Spacing<Secret>) -> Option<()> {
        if rotating.not_before(&held.token, self.now()).is_some() {
            return Some(());
        }
        self.site.world.history.holds("I11 rotation", self.is_accepted.get(), || {
            format!("{} rotates a credential that was not accepted since the last rejection", self.site.name)
        });
        let marked = held.asking_for_rotation();
        if let Some(asking) = &marked {
            self.store(Some(held.clone()), asking.clone()).await?;
        }
        let asked = marked.as_ref().unwrap_or(&held);
        let caller = self.caller_with(Some(asked.token.clone()));
        let (wire, strict) = (self.site.wire.clone(), self.site.world.weather.strict_rotation);
        let is_dead = Rc::new(Cell::new(false));
        let answer = self.ask(&caller, CALL, move |link| {
            let (wire, is_dead) = (wire.clone(), is_dead.clone());
            async move {
                if strict && is_dead.replace(true) {
                    return Err(refused(401, "unauthenticated", None));
                }
                let answer = link.rotate().await;
                if let Ok(answer) = &answer
                    && strict
                {
                    wire.use_at_once(answer.token.clone()).await;
                }
                answer
            }
        });
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(failure) => {
                self.note(&format!("its credential is not rotated: {failure:?}"));
                rotating.handle_answer(held.token.clone(), Some(failure), self.now(), self.random());
                // An earlier request may have rotated it.
                if failure.is_final() && marked.is_some() {
                    self.store(marked, held).await?;
                }
                return None;
            }
        };
        self.note("has a new credential beside the current one");
        let rotation = format!("{}-rotation-{}", self.site.name, self.site.world.dice.roll(1 << 30));
        let fetched = Fetched { token: answer.token, life: self.life(answer.expires_at), rotation };
        let both = asked.fetched(fetched, &cause);
        self.store(Some(asked.clone()), both).await
    }

    /// Writes the Secret over what was read of it.
    async fn store(&self, read: Option<Held>, held: Held) -> Option<()> {
        let written =
            self.site.api.call_on_condition(move |state| state.write_credential(read.as_ref(), held)).await;
        written.ok().filter(|written| *written).map(drop)
    }
}
