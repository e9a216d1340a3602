//! The control plane's process: the real use-cases over the real store in memory, which can be killed at any step.

use super::{
    executor::{Group, Timers},
    world::{World, time_of_day},
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;
use vworkspace_protocol::Secret;
use vworkspace_server::{
    app::{App, access::Person, access::authenticate_person},
    background,
    clock::Clock,
};
use vworkspace_store::{Committer, Memory, Settings, Store};

/// Most requests that wait at the same time.
const MOST_REQUESTS: usize = 1_000;
/// How often jobs are looked for whose time passed, as in the real one.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// How often is looked for what is over for long enough to be deleted, which nothing here is.
const PRUNE_EVERY: Duration = Duration::from_secs(20);
/// How often last-seen is written, as in the real one.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// The control plane and its disk.
pub struct Control {
    world: World,
    /// The disk.
    memory: RefCell<Memory>,
    settings: Settings,
    clock: Arc<SimulatedClock>,
    running: RefCell<Option<Running>>,
    admin: RefCell<Option<Secret>>,
    /// It is to hold what is open when it starts, since it was set back to a backup.
    is_restored: Cell<bool>,
}

/// The process, while it runs.
#[derive(Clone)]
struct Running {
    app: Arc<App>,
    group: Group,
    /// Whether it answers.
    is_ready: Rc<Cell<bool>>,
}

struct SimulatedClock {
    timers: Timers,
    skew_millis: AtomicI64,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let skew = SignedDuration::from_millis(self.skew_millis.load(Ordering::Relaxed));
        time_of_day(self.timers.now(), skew)
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.timers.sleep(time))
    }
}

impl Control {
    /// A control plane with an empty disk, not started.
    ///
    /// # Errors
    /// Those of the store.
    pub fn new(world: &World) -> Result<Self, vworkspace_store::Error> {
        let weather = &world.weather;
        let lease = Duration::from_secs(3 + world.dice.roll(10));
        let stale = Duration::from_secs(if weather.never_offers_again { 100_000_000 } else { 600 });
        let settings = Settings {
            job_lease: lease,
            stale_session: stale,
            unused_life: weather.unused_life,
            ..Settings::default()
        };
        let clock = SimulatedClock { timers: world.executor.timers(), skew_millis: AtomicI64::new(0) };
        Ok(Self {
            world: world.clone(),
            memory: RefCell::new(Memory::new()?),
            settings,
            clock: Arc::new(clock),
            running: RefCell::default(),
            admin: RefCell::default(),
            is_restored: Cell::default(),
        })
    }

    /// For how long a job that was handed out is offered to nobody.
    pub fn lease(&self) -> Duration {
        self.settings.job_lease
    }

    /// The control plane's time of day.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Starts the process on what the disk holds, unless it runs.
    ///
    /// # Errors
    /// Those of the store.
    pub fn start(self: &Rc<Self>) -> Result<(), vworkspace_store::Error> {
        if self.is_running() {
            return Ok(());
        }
        let (store, committer) = Store::open_in(&self.memory.borrow(), &self.settings)?;
        let clock: Arc<dyn Clock> = self.clock.clone();
        let app = Arc::new(App::over(store, clock, MOST_REQUESTS));
        let group = self.world.executor.group();
        self.world.executor.spawn(group, self.clone().commit(committer));
        let every = |period: Duration, task: fn(Arc<App>) -> BoxFuture<'static, ()>| {
            let (world, app) = (self.world.clone(), app.clone());
            self.world.executor.spawn(group, async move {
                loop {
                    world.sleep(period).await;
                    task(app.clone()).await;
                }
            });
        };
        every(EXPIRE_EVERY, |app| Box::pin(background::expire_jobs(app)));
        every(PRUNE_EVERY, |app| Box::pin(background::prune(app)));
        every(FLUSH_EVERY, |app| Box::pin(background::flush_sightings(app)));
        self.world.history.note("control", "starts");
        let is_ready = Rc::new(Cell::new(!self.is_restored.get()));
        *self.running.borrow_mut() = Some(Running { app: app.clone(), group, is_ready: is_ready.clone() });
        if self.is_restored.get() {
            self.world.executor.spawn(group, self.clone().hold(app, is_ready));
        }
        Ok(())
    }

    /// Holds what is open before anything is answered.
    async fn hold(self: Rc<Self>, app: Arc<App>, is_ready: Rc<Cell<bool>>) {
        match app.store.hold_open_jobs(app.clock.now()).await {
            Ok(held) => {
                self.world.history.note("control", &format!("holds {held} jobs"));
                self.is_restored.set(false);
                is_ready.set(true);
            }
            Err(error) => {
                self.world.history.broke("the world itself", &format!("nothing can be held: {error}"));
            }
        }
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.running.borrow().is_some()
    }

    /// Kills the process where it stands; its clock may be another at the next start.
    pub fn kill(&self) {
        let Some(running) = self.running.borrow_mut().take() else { return };
        self.world.history.note("control", "is killed");
        self.world.executor.kill(running.group);
        drop(running);
        self.turn_clock();
    }

    /// A copy of what the disk holds.
    ///
    /// # Errors
    /// Those of the store.
    pub fn backup(&self) -> Result<Memory, vworkspace_store::Error> {
        self.memory.borrow().copy()
    }

    /// Kills the process and puts another disk in the place of its own, which is given back.
    pub fn change_disk(&self, memory: Memory) -> Memory {
        self.kill();
        self.memory.replace(memory)
    }

    /// Says to it that it was restored from a backup.
    pub fn say_restored(&self) {
        self.is_restored.set(true);
    }

    /// The clock is wrong in another way from here on.
    pub fn turn_clock(&self) {
        let most = self.world.weather.clock_error;
        let error = self.world.dice.between(Duration::ZERO, most * 2);
        let millis =
            i64::try_from(error.as_millis()).unwrap_or(0) - i64::try_from(most.as_millis()).unwrap_or(0);
        self.clock.skew_millis.store(millis, Ordering::Relaxed);
        self.world.history.note("control", &format!("has a clock that is wrong by {millis} ms"));
    }

    /// Syncs what queued up, again and again.
    async fn commit(self: Rc<Self>, mut committer: Committer) {
        while let Some(group) = committer.gather().await {
            self.world.sleep_between(Duration::from_micros(50), self.world.weather.sync).await;
            committer.commit(group);
        }
    }

    /// Does something in the process, if it runs. `None`: it was not there, or died meanwhile, and what was done of
    /// it is unknown.
    pub async fn within<T: 'static, F>(&self, work: impl FnOnce(Arc<App>) -> F) -> Option<T>
    where
        F: Future<Output = T> + 'static,
    {
        let running = self.running.borrow().clone().filter(|running| running.is_ready.get())?;
        let (answer, answered) = oneshot::channel();
        let work = work(running.app);
        self.world.executor.spawn(running.group, async move {
            // Who asked may have given up.
            let _ = answer.send(work.await);
        });
        answered.await.ok()
    }

    /// The same as the admin.
    pub async fn as_admin<T: 'static, F>(
        &self,
        work: impl FnOnce(Arc<App>, Person) -> F + 'static,
    ) -> Option<T>
    where
        F: Future<Output = T> + 'static,
    {
        let bearer = self.admin.borrow().clone()?;
        let done = self.within(move |app| async move {
            let person = authenticate_person(&app, Some(&bearer)).await.ok()?;
            Some(work(app, person).await)
        });
        done.await?
    }

    /// Makes the first admin token. To be called once, before any fault.
    pub async fn bootstrap(&self) {
        let made = self.within(|app| async move { app.store.bootstrap_admin(app.clock.now()).await }).await;
        if let Some(Ok(token)) = made {
            *self.admin.borrow_mut() = token;
        }
    }
}
