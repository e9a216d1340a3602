//! Those who use the control plane: they hand jobs in, withdraw some, wish for rotations; and a thief who holds one
//! cluster's credential.

use super::{
    agent::Site,
    api::{API_VERSION, KIND, NAMESPACE, PROBE},
    checks,
    control::Control,
    world::World,
};
use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};
use vworkspace_protocol::{
    ClusterId, JobId, WaitFor,
    admin::EnqueueJob,
    credential::RegisterRequest,
    outcome::{Outcome, StatusUpdate, phase},
};
use vworkspace_server::app;
use vworkspace_transport::{AgentCall, AgentLink as _, LinkError};

/// Objects of each cluster.
const OBJECTS: u64 = 4;
/// For how long a job is tried whose people name no other time.
const DEADLINE_SECONDS: u32 = 20;
/// What the tests of a thief take for an answer that tells nothing.
const CALL: Duration = Duration::from_secs(30);

/// What one cluster's people asked for.
pub struct Wishes {
    /// The cluster.
    pub cluster: ClusterId,
    /// Jobs that were taken (2xx), with the number of their change.
    pub taken: RefCell<BTreeMap<JobId, Wish>>,
    /// Jobs that were taken and that a control plane may not know any more that was set back to a backup.
    pub lost: RefCell<BTreeSet<JobId>>,
    /// Jobs that they wanted to withdraw, answered or not.
    pub withdrawn: RefCell<BTreeSet<JobId>>,
    /// Numbers of such jobs whose keys are to be given once more.
    keys: RefCell<Vec<u64>>,
    next: Cell<u64>,
}

/// A job as its people know it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Rises with each job of the cluster.
    pub n: u64,
    /// What it is about.
    pub object: String,
    /// It deletes.
    pub deletes: bool,
    /// It succeeds as soon as the API server takes it.
    pub at_once: bool,
    /// It is about no object: it has the credential rotated.
    pub rotates: bool,
    /// For how long it is tried, and waits for its goal.
    pub deadline_seconds: u32,
    /// Its people gave its key once more after the control plane was set back: the job that they gave first may have had
    /// the effect, and that job is unknown now.
    pub was_asked_before: bool,
}

impl Wishes {
    /// Nothing asked for yet.
    pub fn new(cluster: ClusterId) -> Rc<Self> {
        let (taken, lost, withdrawn) = (RefCell::default(), RefCell::default(), RefCell::default());
        let (keys, next) = (RefCell::default(), Cell::new(1));
        Rc::new(Self { cluster, taken, lost, withdrawn, keys, next })
    }

    /// The control plane may not know these jobs any more: it was set back to a backup. Whoever makes keys by what it knows
    /// gives theirs once more, to other work.
    pub fn handle_lost(&self, jobs: impl Iterator<Item = JobId>) {
        let (taken, mut lost, mut keys) =
            (self.taken.borrow(), self.lost.borrow_mut(), self.keys.borrow_mut());
        for job in jobs {
            keys.extend(taken.get(&job).map(|wish| wish.n));
            lost.insert(job);
        }
    }

    /// Asks for something every now and then, until the faults end.
    pub async fn live(self: Rc<Self>, world: World, control: Rc<Control>, site: Rc<Site>) {
        let pace = Duration::from_millis(world.dice.pick(&[300, 1_500, 6_000]).copied().unwrap_or(1_500));
        while !world.weather.is_healed() {
            world.sleep_between(Duration::from_millis(5), pace).await;
            match world.dice.roll(100) {
                0..=5 => self.cancel_one(&world, &control).await,
                6..=9 => site.api.edit(|state| {
                    state.generation += 1;
                    state.wish = Some(state.generation);
                }),
                10..=12 => self.meddle(&world, &site),
                13..=14 => self.rotate(&world, &control, &site).await,
                _ => self.enqueue(&world, &control, &site).await,
            }
        }
    }

    /// Asks for something once in several minutes.
    pub async fn linger(self: Rc<Self>, world: World, control: Rc<Control>, site: Rc<Site>) {
        loop {
            world.sleep_between(Duration::from_secs(20), Duration::from_secs(600)).await;
            if !site.is_deleted() {
                self.enqueue(&world, &control, &site).await;
            }
        }
    }

    /// Hands in one job; without an answer it may have been taken, and is asked for again where that is safe.
    async fn enqueue(&self, world: &World, control: &Rc<Control>, site: &Site) {
        let dice = &world.dice;
        let n = self.number();
        let object = format!("app-{}", dice.roll(OBJECTS));
        let deletes = dice.happens(180);
        let mut job = job(n, &object, deletes);
        let deadline_seconds = 10 + u32::try_from(dice.roll(20)).unwrap_or(0);
        job.deadline_seconds = Some(deadline_seconds);
        if dice.happens(100) {
            job.wait_for = Some(WaitFor::Accepted).filter(|_| !deletes);
        }
        if dice.happens(120) {
            let life = jiff::SignedDuration::from_millis(500 + i64::try_from(dice.roll(20_000)).unwrap_or(0));
            job.expires_at = control.now().checked_add(life).ok();
        }
        job.idempotency_key =
            dice.happens(400).then(|| format!("key-{}", self.keys.borrow_mut().pop().unwrap_or(n)));
        let at_once = job.wait_for == Some(WaitFor::Accepted);
        let set_backs = site.seen.borrow().set_backs;
        let mut wish =
            Wish { n, object, deletes, at_once, rotates: false, deadline_seconds, was_asked_before: false };
        loop {
            let again = job.idempotency_key.is_some();
            if let Some(id) = self.hand_in(world, control, job.clone()).await {
                wish.was_asked_before = site.seen.borrow().set_backs != set_backs;
                world
                    .history
                    .note(&site.name, &format!("{} is handed in: {wish:?}", world.history.name(&id)));
                self.taken.borrow_mut().insert(id, wish);
                return;
            }
            if !again || world.weather.is_healed() {
                return;
            }
            world.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Hands in one job that has the credential rotated.
    async fn rotate(&self, world: &World, control: &Rc<Control>, site: &Site) {
        let n = self.number();
        let payload = json!({"intent": "rotate-operator-credentials"});
        if let Some(id) = self.hand_in(world, control, job_of("intent", payload)).await {
            world.history.note(&site.name, &format!("{} is handed in: a rotation", world.history.name(&id)));
            let wish = Wish {
                n,
                object: String::new(),
                deletes: false,
                at_once: true,
                rotates: true,
                deadline_seconds: DEADLINE_SECONDS,
                was_asked_before: false,
            };
            self.taken.borrow_mut().insert(id, wish);
        }
    }

    /// Hands in two jobs for an object of its own, one right after the other, mostly while the first is on its way: what
    /// a cluster must do at once when nothing is wrong. The first alone would never end: it is the second that ends it.
    pub async fn probe(&self, world: &World, control: &Rc<Control>, site: &Rc<Site>) -> Option<()> {
        site.api.edit(|state| state.hopeless.extend([self.next.get()]));
        self.probe_once(world, control).await?;
        world.sleep_between(Duration::from_millis(1), Duration::from_millis(30)).await;
        self.probe_once(world, control).await.map(drop)
    }

    /// Hands in one job for an object of its own.
    pub async fn try_out(&self, world: &World, control: &Rc<Control>, object: &str) -> Option<JobId> {
        self.hand_in(world, control, job(self.number(), object, false)).await
    }

    async fn probe_once(&self, world: &World, control: &Rc<Control>) -> Option<JobId> {
        let n = self.number();
        let id = self.hand_in(world, control, job(n, PROBE, false)).await?;
        let wish = Wish {
            n,
            object: PROBE.to_owned(),
            deletes: false,
            at_once: false,
            rotates: false,
            deadline_seconds: DEADLINE_SECONDS,
            was_asked_before: false,
        };
        self.taken.borrow_mut().insert(id.clone(), wish);
        Some(id)
    }

    async fn hand_in(&self, world: &World, control: &Rc<Control>, job: EnqueueJob) -> Option<JobId> {
        let cluster = self.cluster.clone();
        let done = control.as_admin(move |app, by| async move {
            app::jobs::enqueue(&app, &by, &cluster, job).await.ok().map(|enqueued| enqueued.job.id)
        });
        let taken = done.await?;
        taken.filter(|_| !world.strikes("answer to people lost", world.weather.lose))
    }

    /// Goes through the jobs that a restored control plane holds: releases those that nothing newer is known of, and cancels
    /// the rest.
    pub async fn release(&self, world: &World, control: &Rc<Control>) {
        world.sleep_between(Duration::ZERO, Duration::from_secs(40)).await;
        loop {
            let held = checks::ask(control, self.cluster.clone()).await.map(|central| central.held());
            if held.as_ref().is_some_and(Vec::is_empty) {
                return;
            }
            for job in held.into_iter().flatten() {
                self.release_one(world, control, job).await;
            }
            world.sleep(Duration::from_secs(1)).await;
        }
    }

    async fn release_one(&self, world: &World, control: &Rc<Control>, job: JobId) {
        let releases = self.is_newest(&job);
        let verb = if releases { "releases" } else { "cancels" };
        world.history.note("admin", &format!("{verb} {}, which is held", world.history.name(&job)));
        if !releases {
            self.withdrawn.borrow_mut().insert(job.clone());
        }
        let done = control.as_admin(move |app, by| async move {
            if releases {
                app::restore::release_job(&app, &by, &job).await.is_ok()
            } else {
                app::jobs::cancel(&app, &by, &job).await.is_ok()
            }
        });
        // Looked at again if it was not done.
        let _ = done.await;
    }

    /// Whether nothing was asked for later that concerns the same object.
    fn is_newest(&self, id: &JobId) -> bool {
        let taken = self.taken.borrow();
        taken.get(id).is_some_and(|wish| {
            let mut later = taken.values().filter(|other| other.object == wish.object && other.n > wish.n);
            later.next().is_none()
        })
    }

    async fn cancel_one(&self, world: &World, control: &Rc<Control>) {
        let Some(id) = self.any(world) else { return };
        world.history.note("admin", &format!("withdraws {}", world.history.name(&id)));
        self.withdrawn.borrow_mut().insert(id.clone());
        // It may be over; then nothing is done.
        let _ = control
            .as_admin(move |app, by| async move { app::jobs::cancel(&app, &by, &id).await.is_ok() })
            .await;
    }

    /// One of the jobs that were taken, whichever; ids are random, so they are chosen by number.
    fn any(&self, world: &World) -> Option<JobId> {
        let taken = self.taken.borrow();
        let by_number: BTreeMap<u64, &JobId> = taken.iter().map(|(id, wish)| (wish.n, id)).collect();
        let known: Vec<&JobId> = by_number.into_values().collect();
        world.dice.pick(&known).map(|id| (*id).clone())
    }

    /// Somebody in the cluster takes a field over, or gives it back.
    fn meddle(&self, world: &World, site: &Site) {
        let name = format!("app-{}", world.dice.roll(OBJECTS));
        site.api.edit(|state| {
            if let Some(foreign) = state.meddle(&name) {
                world.history.note(&site.name, &format!("{name} is owned by others: {foreign}"));
            }
        });
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }
}

/// Every third job is an intent, as `vwctl` sends them: the rules know objects, not kinds of jobs.
fn job(n: u64, object: &str, deletes: bool) -> EnqueueJob {
    let is_intent = n.is_multiple_of(3);
    let instance = || {
        json!({"apiVersion": API_VERSION, "kind": KIND,
            "metadata": {"namespace": NAMESPACE, "name": object}, "spec": {"n": n}})
    };
    let (kind, payload) = match (deletes, is_intent) {
        (false, false) => ("apply", instance()),
        (false, true) => {
            ("intent", json!({"intent": "ensure-application-instance", "applicationInstance": instance()}))
        }
        (true, false) => (
            "delete",
            json!({"apiVersion": API_VERSION, "kind": KIND, "namespace": NAMESPACE, "name": object, "n": n}),
        ),
        (true, true) => {
            let intent = "delete-application-instance";
            ("intent", json!({"intent": intent, "namespace": NAMESPACE, "name": object, "n": n}))
        }
    };
    job_of(kind, payload)
}

fn job_of(kind: &str, payload: Value) -> EnqueueJob {
    EnqueueJob { deadline_seconds: Some(DEADLINE_SECONDS), ..EnqueueJob::new(kind, payload) }
}

/// Holds the credential of `own` and tries it on everything of `other`, and the registration token that `victim` has used.
pub async fn steal(world: World, own: Rc<Site>, other: Rc<Wishes>, victim: Rc<Site>) {
    while !world.weather.is_healed() {
        world.sleep_between(Duration::from_millis(100), Duration::from_secs(10)).await;
        if world.dice.happens(250) {
            register_again(&world, &own, &victim).await;
            continue;
        }
        let bearer = own.api.state().credential.as_ref().map(|held| held.token.clone());
        let Some(job) = other.any(&world) else { continue };
        let session = None;
        let caller = AgentCall {
            bearer,
            session,
            capabilities: Vec::new(),
            user_agent: "thief".to_owned(),
            address: None,
        };
        let (cluster, tried) = (other.cluster.clone(), world.dice.roll(4));
        let told = own.wire.call_past_strangers(&caller, CALL, move |link| {
            let (job, cluster) = (job.clone(), cluster.clone());
            async move {
                match tried {
                    0 => link.ack(&job).await,
                    1 => link.status(&job, &progress()).await,
                    2 => link.result(&job, &Outcome::Succeeded.into()).await,
                    _ => link.jobs(&cluster, Duration::ZERO).await.map(drop),
                }
            }
        });
        let told = told.await;
        let silent = match &told {
            None
            | Some(Err(
                LinkError::Unexpected { .. } | LinkError::Unreachable { .. } | LinkError::Malformed { .. },
            )) => true,
            Some(Ok(())) => false,
            Some(Err(LinkError::Refused { status, .. })) => matches!(*status, 401 | 403 | 404 | 429 | 500..),
        };
        world.history.holds("I6 isolation", silent, || format!("another cluster's credential got {told:?}"));
    }
}

fn progress() -> StatusUpdate {
    StatusUpdate {
        phase: phase::APPLYING.to_owned(),
        conditions: Vec::new(),
        message: String::new(),
        timestamp: None,
    }
}

/// A token that was exchanged is worth nothing to anybody else (I8).
async fn register_again(world: &World, own: &Rc<Site>, victim: &Rc<Site>) {
    let used = victim.registration_token.borrow().clone();
    let Some(token) = used.filter(|_| victim.api.state().credential.is_some()) else { return };
    let request = RegisterRequest {
        registration_token: token,
        cluster_id: None,
        display_name: "thief".to_owned(),
        registration_id: format!("thief-{}", world.dice.roll(1 << 30)),
    };
    let caller = AgentCall {
        bearer: None,
        session: None,
        capabilities: Vec::new(),
        user_agent: "thief".to_owned(),
        address: None,
    };
    let told = own.wire.call_past_strangers(&caller, CALL, move |link| {
        let request = request.clone();
        async move { link.register(&request).await.map(drop) }
    });
    let told = told.await;
    world.history.holds("I8 fencing", !matches!(told, Some(Ok(()))), || {
        format!("the token that {} has used brings a thief its identity", victim.name)
    });
}
