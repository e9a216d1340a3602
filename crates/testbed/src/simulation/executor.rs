//! One thread, virtual time, and tasks that are polled in an order the seed decides.
//!
//! Time moves only when nothing can be done: then it jumps to the next timer. A group of tasks is a process: killing
//! it drops every task where it stands, as `kill -9` does.

use super::dice::Dice;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

/// More steps than anything sensible takes at one moment.
const MOST_STEPS_AT_ONCE: u32 = 300_000;

/// A process: what dies together.
pub type Group = u64;
type TaskId = u64;
type Running = Pin<Box<dyn Future<Output = ()>>>;

/// The scheduler; clones share it.
#[derive(Clone)]
pub struct Executor(Rc<Inner>);

struct Inner {
    dice: Rc<Dice>,
    timers: Timers,
    /// A set: in which order one step wakes several is not told by all of them (a `watch` channel draws lots).
    ready: Arc<Mutex<BTreeSet<TaskId>>>,
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    /// Processes that stand still, and their tasks that would have gone on.
    paused: RefCell<BTreeMap<Group, BTreeSet<TaskId>>>,
    next: Cell<u64>,
    stuck: Cell<bool>,
    /// Whose task is being polled.
    running: Cell<Group>,
}

struct Task {
    group: Group,
    /// It goes on while its process stands still.
    is_sent: bool,
    /// Absent while it is being polled.
    running: Option<Running>,
    waker: Waker,
}

impl Executor {
    /// Nothing to do yet, at time zero.
    pub fn new(dice: Rc<Dice>) -> Self {
        Self(Rc::new(Inner {
            dice,
            timers: Timers::default(),
            ready: Arc::default(),
            tasks: RefCell::default(),
            paused: RefCell::default(),
            next: Cell::new(1),
            stuck: Cell::new(false),
            running: Cell::new(0),
        }))
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.0.timers.now()
    }

    /// The clock alone, which may go to other threads' types.
    pub fn timers(&self) -> Timers {
        self.0.timers.clone()
    }

    /// Waits that long.
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.0.timers.sleep(time)
    }

    /// A process without tasks.
    pub fn group(&self) -> Group {
        self.number()
    }

    /// Starts a task of a process.
    pub fn spawn(&self, group: Group, work: impl Future<Output = ()> + 'static) {
        self.start(group, false, work);
    }

    /// Starts a task of the process that is running: what it has sent, which goes on while it stands still, and is lost
    /// with it.
    pub fn send(&self, work: impl Future<Output = ()> + 'static) {
        self.start(self.running(), true, work);
    }

    /// The process whose task is running.
    pub fn running(&self) -> Group {
        self.0.running.get()
    }

    fn start(&self, group: Group, is_sent: bool, work: impl Future<Output = ()> + 'static) {
        let id = self.number();
        let waker = Waker::from(Arc::new(Ring { id, ready: self.0.ready.clone() }));
        let task = Task { group, is_sent, running: Some(Box::pin(work)), waker };
        self.0.tasks.borrow_mut().insert(id, task);
        lock(&self.0.ready).insert(id);
    }

    /// Drops all tasks of a process where they stand.
    pub fn kill(&self, group: Group) {
        let dead: Vec<Task> = {
            let mut tasks = self.0.tasks.borrow_mut();
            let ids: Vec<TaskId> =
                tasks.iter().filter(|(_, task)| task.group == group).map(|(id, _)| *id).collect();
            ids.iter().filter_map(|id| tasks.remove(id)).collect()
        };
        self.0.paused.borrow_mut().remove(&group);
        // What they hold may touch the scheduler when it is dropped.
        drop(dead);
    }

    /// Lets a process stand still: it does nothing, and does not notice that time passes.
    pub fn pause(&self, group: Group) {
        self.0.paused.borrow_mut().entry(group).or_default();
    }

    /// Lets a process that stood still go on where it stopped.
    pub fn resume(&self, group: Group) {
        let woken = self.0.paused.borrow_mut().remove(&group);
        lock(&self.0.ready).extend(woken.into_iter().flatten());
    }

    /// Drops every task. What they hold refers to each other and to the scheduler: nothing else would ever free it.
    pub fn end(&self) {
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
    }

    /// Whether something went round and round while no time passed.
    pub fn is_stuck(&self) -> bool {
        self.0.stuck.get()
    }

    /// Polls and lets time pass until `over`, or `until`; false when that time came first, or never would.
    pub fn run(&self, until: Duration, over: impl Fn() -> bool) -> bool {
        let (mut steps, mut since) = (0, self.now());
        while !over() {
            if let Some(id) = self.take_ready() {
                self.poll(id);
                steps = if self.now() == since { steps + 1 } else { 0 };
                since = self.now();
                if steps > MOST_STEPS_AT_ONCE {
                    self.0.stuck.set(true);
                    return false;
                }
            } else if !self.0.timers.advance(until) {
                return over();
            }
        }
        true
    }

    fn take_ready(&self) -> Option<TaskId> {
        let mut ready = lock(&self.0.ready);
        if ready.is_empty() {
            return None;
        }
        let chosen = usize::try_from(self.0.dice.roll(ready.len() as u64)).unwrap_or(0);
        let id = ready.iter().nth(chosen).copied()?;
        ready.remove(&id);
        Some(id)
    }

    fn poll(&self, id: TaskId) {
        let taken = self.0.tasks.borrow_mut().get_mut(&id).and_then(|task| {
            if !task.is_sent
                && let Some(woken) = self.0.paused.borrow_mut().get_mut(&task.group)
            {
                woken.insert(id);
                return None;
            }
            self.0.running.set(task.group);
            let waker = task.waker.clone();
            task.running.take().map(|running| (running, waker))
        });
        // It ended, was woken twice, or stands still.
        let Some((mut running, waker)) = taken else { return };
        let done = running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut tasks = self.0.tasks.borrow_mut();
        let ended = if done { tasks.remove(&id) } else { None };
        if !done && let Some(task) = tasks.get_mut(&id) {
            task.running = Some(running);
            return;
        }
        drop(tasks);
        drop(ended);
    }

    fn number(&self) -> u64 {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        number
    }
}

struct Ring {
    id: TaskId,
    ready: Arc<Mutex<BTreeSet<TaskId>>>,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).insert(self.id);
    }
}

/// Virtual time and who waits for it; clones share it.
#[derive(Clone, Default)]
pub struct Timers(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    now: Duration,
    next: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

impl Timers {
    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        lock(&self.0).now
    }

    /// Waits that long.
    pub fn sleep(&self, time: Duration) -> Sleep {
        let mut queue = lock(&self.0);
        queue.next += 1;
        let key = (queue.now + time, queue.next);
        Sleep { timers: self.clone(), key }
    }

    /// Jumps to the next timer that is due by `until`; without one to `until`, answering false.
    fn advance(&self, until: Duration) -> bool {
        let mut queue = lock(&self.0);
        let next = queue.waiting.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at <= until);
        let Some(key) = next else {
            queue.now = queue.now.max(until);
            return false;
        };
        queue.now = queue.now.max(key.0);
        let waker = queue.waiting.remove(&key);
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
        true
    }
}

/// Ends when its time has come.
pub struct Sleep {
    timers: Timers,
    key: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = lock(&self.timers.0);
        if queue.now >= self.key.0 {
            return Poll::Ready(());
        }
        queue.waiting.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        lock(&self.timers.0).waiting.remove(&self.key);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread: nobody else can have panicked halfway.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_stood_still_goes_on_where_it_stopped() {
        let executor = Executor::new(Rc::new(Dice::new(1)));
        let said = Rc::new(Cell::new(Duration::ZERO));
        let (group, told, clock) = (executor.group(), said.clone(), executor.clone());
        executor.spawn(group, async move {
            clock.sleep(Duration::from_secs(2)).await;
            told.set(clock.now());
        });
        assert!(!executor.run(Duration::from_secs(1), || false));
        executor.pause(group);
        assert!(!executor.run(Duration::from_secs(5), || false));
        assert_eq!(said.get(), Duration::ZERO);
        executor.resume(group);
        assert!(!executor.run(Duration::from_secs(6), || false));
        assert_eq!(said.get(), Duration::from_secs(5));
    }

    #[test]
    fn time_jumps_to_the_next_timer_and_a_killed_process_is_silent() {
        let executor = Executor::new(Rc::new(Dice::new(1)));
        let said = Rc::new(RefCell::new(Vec::new()));
        let (alive, killed) = (executor.group(), executor.group());
        for (group, name, seconds) in [(alive, "late", 9), (alive, "early", 3), (killed, "never", 5)] {
            let (sleep, said) = (executor.sleep(Duration::from_secs(seconds)), said.clone());
            executor.spawn(group, async move {
                sleep.await;
                said.borrow_mut().push(name);
            });
        }
        assert!(!executor.run(Duration::from_secs(4), || false));
        executor.kill(killed);
        assert!(!executor.run(Duration::from_secs(100), || false));
        assert_eq!(
            (said.borrow().clone(), executor.now()),
            (vec!["early", "late"], Duration::from_secs(100))
        );
    }
}
