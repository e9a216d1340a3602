//! The operator's process: the pure machines of `core/agent`, driven as the real driver drives them.
//!
//! Each loop has its counterpart in `crates/operator/src/agent`: `driver` here is `driver.rs` there, `events` is
//! `events.rs`, `jobs` is `jobs/`, `registrar` is `controllers/cluster/{apply,rotate,settle}.rs`, `leave` their neighbour
//! of that name.

mod answers;
mod clock;
mod driver;
mod events;
mod jobs;
mod leader;
mod leave;
mod registrar;
mod shards;

use super::{
    api::{Api, Object},
    executor::Group,
    nemesis::Pods,
    wire::Wire,
    world::{World, time_of_day},
};
pub use clock::ControlClock;
use events::Outbox;
pub use events::body_of;
use jiff::{SignedDuration, Timestamp};
pub use jobs::REFUSED;
use std::{
    cell::{Cell, RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};
use tokio::sync::{Notify, watch};
use vworkspace_core::agent::{
    bare_answers::BareAnswers,
    credentials::{Held, Verdicts},
    divergence::Divergence,
    session::{DISCONNECT_AFTER, Session},
    work::Work,
};
use vworkspace_protocol::{Job, JobId, Secret, id::SessionId};
use vworkspace_transport::{AgentCall, EchoMark};

/// Bound of a call that does not wait for jobs, as in the HTTP link.
const CALL: Duration = Duration::from_secs(30);

/// What outlives a process: the cluster it runs in, its line and what is known of both.
pub struct Site {
    /// Shared by all.
    pub world: World,
    /// For the record.
    pub name: String,
    /// The API server.
    pub api: Rc<Api>,
    /// The line.
    pub wire: Rc<Wire>,
    /// As handed over by whoever installed the operator.
    pub registration_token: RefCell<Option<Secret>>,
    /// The control plane's clock, as this cluster reads it off answers.
    pub clock: ControlClock,
    /// What the checks at the end compare with.
    pub seen: RefCell<Seen>,
    /// Another cluster has the same credential.
    pub is_twin: Cell<bool>,
    /// That cluster, of the one that was there first.
    pub twin: RefCell<Option<Rc<Pods>>>,
}

impl Site {
    /// Whether another cluster has the same credential: then nobody can say which of the two does what.
    pub fn has_twin(&self) -> bool {
        self.is_twin.get()
    }

    /// Whether the control plane was set back to a backup, and nobody said so to it: it hands out what was queued then,
    /// also what a later job had taken the place of.
    pub fn was_set_back_in_silence(&self) -> bool {
        !self.world.weather.says_restored && self.seen.borrow().set_backs > 0
    }

    /// Whether its Cluster object was deleted: it leaves, or has left.
    pub fn is_deleted(&self) -> bool {
        self.api.state().deleted_at.is_some()
    }
}

/// What an observer beside the process wrote down.
#[derive(Default)]
pub struct Seen {
    /// Jobs offered to this cluster.
    pub offered: BTreeSet<JobId>,
    /// Jobs that were delivered, as they were.
    pub delivered: Vec<Job>,
    /// Jobs that the agent called expired.
    pub expired: BTreeSet<JobId>,
    /// Jobs that were offered again although their result had been taken.
    pub repeated: BTreeSet<JobId>,
    /// How often the control plane was set back to a backup: what it answered before counts no more.
    pub set_backs: u32,
    /// Jobs that were offered before the control plane was set back to a backup: what became of them then it may not know.
    pub done_before: BTreeSet<JobId>,
    /// What each key of an event stood for when it was first told.
    pub told_events: BTreeMap<String, String>,
    /// Keys of events that the control plane took.
    pub taken_events: BTreeSet<String>,
    /// Results that the control plane took, as text.
    pub taken_results: BTreeMap<JobId, String>,
    /// Most events that ever waited.
    pub most_waiting: usize,
    /// Processes started.
    pub starts: u64,
    /// How often it registered again since a credential was last accepted.
    pub registered_again: u32,
}

/// One run of the operator.
pub struct Agent {
    site: Rc<Site>,
    group: Group,
    /// Which process of the cluster it is.
    replica: u64,
    /// It ended by itself.
    is_over: Cell<bool>,
    session_id: SessionId,
    skew: SignedDuration,
    session: RefCell<Session>,
    work: RefCell<Work>,
    outbox: RefCell<Outbox>,
    /// Whether the control plane holds what was reported.
    divergence: RefCell<Divergence>,
    /// Told when everything may have to be reported once more.
    repair: Notify,
    /// Held while a snapshot is under way.
    snapshot: tokio::sync::Mutex<()>,
    /// The objects as its watch shows them.
    view: RefCell<BTreeMap<String, Object>>,
    /// The credentials Secret as its watch shows it.
    held: RefCell<Option<Held>>,
    /// What was answered to which credential.
    verdicts: RefCell<Verdicts>,
    /// Whether a call was answered well since the last rejection: for the checks alone.
    is_accepted: Cell<bool>,
    /// Whether the control plane proves that an answer is its own.
    mark: Cell<EchoMark>,
    /// What a plain v1 control plane answered out of form.
    bare: RefCell<BareAnswers>,
    /// The job that waits for a rotation.
    ordered: RefCell<Option<JobId>>,
    /// The credential in use.
    credential: RefCell<Option<Secret>>,
    /// Rises with every new credential.
    link: watch::Sender<u64>,
    /// Told when an answer may have made something about jobs due.
    answered: Notify,
    /// Told when there may be room for the jobs of another poll.
    room: Notify,
    /// Told at every good round trip but those of the poll loop itself.
    heard: Notify,
    /// Told when events are to go out at once, or a snapshot waits.
    flush: Notify,
    /// Polls and snapshots in a row that did not get through.
    cut: Cell<u32>,
    /// The control plane asked for no poll and no snapshot before this time.
    quiet_until: Cell<Duration>,
    /// When progress was last told of a job.
    told_progress: RefCell<BTreeMap<JobId, Duration>>,
    /// Whether everything there was at the start was told: status goes first.
    told_first: Cell<bool>,
}

impl Agent {
    /// Starts a process in the cluster.
    pub fn start(site: &Rc<Site>) -> Rc<Self> {
        let world = &site.world;
        let number = {
            let mut seen = site.seen.borrow_mut();
            seen.starts += 1;
            seen.starts
        };
        let most = i64::try_from(world.weather.clock_error.as_millis()).unwrap_or(0);
        let error = i64::try_from(world.dice.roll(2 * most.unsigned_abs() + 1)).unwrap_or(0) - most;
        let agent = Rc::new(Self {
            site: site.clone(),
            group: world.executor.group(),
            replica: number,
            is_over: Cell::new(false),
            session_id: SessionId::new(format!("{}-{number}", site.name)),
            skew: SignedDuration::from_millis(error),
            session: RefCell::new(Session::new(DISCONNECT_AFTER)),
            work: RefCell::default(),
            outbox: RefCell::default(),
            divergence: RefCell::default(),
            repair: Notify::new(),
            snapshot: tokio::sync::Mutex::default(),
            view: RefCell::default(),
            held: RefCell::default(),
            verdicts: RefCell::default(),
            is_accepted: Cell::default(),
            mark: Cell::default(),
            bare: RefCell::default(),
            ordered: RefCell::default(),
            credential: RefCell::default(),
            link: watch::Sender::new(0),
            answered: Notify::new(),
            room: Notify::new(),
            heard: Notify::new(),
            flush: Notify::new(),
            cut: Cell::new(0),
            quiet_until: Cell::new(Duration::ZERO),
            told_progress: RefCell::default(),
            told_first: Cell::new(false),
        });
        world.history.note(&site.name, &format!("operator {number} starts"));
        world.executor.spawn(agent.group, agent.clone().boot());
        agent
    }

    /// Kills the process where it stands.
    pub fn kill(&self) {
        self.site.world.history.note(&self.site.name, "operator is killed");
        self.site.world.executor.kill(self.group);
    }

    /// Lets the process stand still.
    pub fn pause(&self) {
        self.note(&format!("operator {} stands still", self.replica));
        self.site.world.executor.pause(self.group);
    }

    /// Lets the process go on where it stopped, if it did.
    pub fn resume(&self) {
        self.note(&format!("operator {} goes on", self.replica));
        self.site.world.executor.resume(self.group);
    }

    /// Whether it ended by itself.
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Whether it does more than wait for its turn to lead.
    pub fn is_leading(&self) -> bool {
        self.told_first.get()
    }

    /// Whether nothing is open and nothing waits to be told.
    pub fn is_idle(&self) -> bool {
        self.work.borrow().is_empty() && self.outbox.borrow().is_empty()
    }

    async fn boot(self: Rc<Self>) {
        if self.site.world.weather.replicas > 1 {
            self.lead().await;
            self.site.world.executor.spawn(self.group, self.clone().keep_leading());
        }
        self.load().await;
        self.list().await;
        let spawn = |work: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
            self.site.world.executor.spawn(self.group, work);
        };
        spawn(Box::pin(self.clone().keep_credential()));
        spawn(Box::pin(self.clone().keep_identity()));
        spawn(Box::pin(self.clone().poll_for_ever()));
        spawn(Box::pin(self.clone().run_jobs()));
        spawn(Box::pin(self.clone().run_events()));
        spawn(Box::pin(self.clone().observe()));
        spawn(Box::pin(self.clone().beat()));
        spawn(Box::pin(self.clone().repair()));
    }

    /// The first list of the watch: nothing is told before it is there.
    async fn list(&self) {
        loop {
            if let Ok(objects) = self.site.api.call(|state| state.objects.clone()).await {
                *self.view.borrow_mut() = objects;
                return;
            }
            self.site.world.sleep(Duration::from_secs(1)).await;
        }
    }

    /// The time of day by this process' clock.
    fn now(&self) -> Timestamp {
        time_of_day(self.site.world.executor.now(), self.skew)
    }

    fn random(&self) -> f64 {
        self.site.world.dice.fraction()
    }

    fn note(&self, what: &str) {
        self.site.world.history.note(&self.site.name, what);
    }

    fn session(&self) -> RefMut<'_, Session> {
        self.session.borrow_mut()
    }

    /// A call of any kind but a poll succeeded: the next one may be due sooner.
    fn good(&self, caller: &AgentCall) {
        self.accepted(caller);
        self.session().handle_good(self.now());
        self.heard.notify_one();
    }

    /// A call was answered well: the credential it was made with works.
    fn accepted(&self, caller: &AgentCall) {
        if let Some(token) = &caller.bearer {
            self.verdicts.borrow_mut().handle_accepted(token);
            self.is_accepted.set(true);
            self.site.seen.borrow_mut().registered_again = 0;
        }
    }

    fn work(&self) -> RefMut<'_, Work> {
        self.work.borrow_mut()
    }

    /// Who this process calls as; `None` without a credential.
    pub fn caller(&self) -> Option<AgentCall> {
        let credential = self.credential.borrow().clone();
        credential.map(|token| self.caller_with(Some(token)))
    }

    fn caller_with(&self, bearer: Option<Secret>) -> AgentCall {
        AgentCall {
            bearer,
            // A control plane that never offers a job again is one that knows no sessions.
            session: Some(self.session_id.clone()).filter(|_| !self.site.world.weather.never_offers_again),
            capabilities: Vec::new(),
            user_agent: "vworkspace-operator/simulated".to_owned(),
            address: None,
        }
    }

    /// Waits until `due` by this process' clock.
    async fn until(&self, due: Timestamp) {
        let rest = Duration::try_from(due.duration_since(self.now())).unwrap_or(Duration::ZERO);
        self.site.world.sleep(rest).await;
    }

    async fn until_some(&self, due: Option<Timestamp>) {
        match due {
            Some(due) => self.until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Waits for another credential than the one in use when called.
    async fn another_link(&self) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.link.subscribe().changed().await;
    }
}
