//! What happened, in words: printed when a promise was broken, hashed to show that a seed plays the same twice.

use super::executor::Timers;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};
use vworkspace_protocol::JobId;

/// Most lines kept; older ones go first.
const MOST_LINES: usize = 5_000;

/// The record of one world.
pub struct History {
    timers: Timers,
    lines: RefCell<VecDeque<String>>,
    names: RefCell<BTreeMap<JobId, String>>,
    broken: RefCell<Option<String>>,
    hash: Cell<u64>,
    steps: Cell<u64>,
}

impl History {
    /// Nothing happened yet.
    pub fn new(timers: Timers) -> Self {
        Self {
            timers,
            lines: RefCell::default(),
            names: RefCell::default(),
            broken: RefCell::default(),
            hash: Cell::new(0),
            steps: Cell::new(0),
        }
    }

    /// `who` did `what`.
    pub fn note(&self, who: &str, what: &str) {
        let line = format!("{:>10.6}  {who:<8} {what}", self.timers.now().as_secs_f64());
        let mut hasher = DefaultHasher::new();
        (self.hash.get(), &line).hash(&mut hasher);
        self.hash.set(hasher.finish());
        self.steps.set(self.steps.get() + 1);
        let mut lines = self.lines.borrow_mut();
        if lines.len() == MOST_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// A promise was broken; the first one counts.
    pub fn broke(&self, invariant: &'static str, what: &str) {
        self.note("CHECK", &format!("{invariant} broken: {what}"));
        let told = format!("{invariant}: {what}");
        self.broken.borrow_mut().get_or_insert(told);
    }

    /// Holds the promise, or notes that it was broken.
    pub fn holds(&self, invariant: &'static str, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broke(invariant, &what());
        }
    }

    /// The first broken promise.
    pub fn broken(&self) -> Option<String> {
        self.broken.borrow().clone()
    }

    /// A short name for a job, the same in every play of a seed: ids are random.
    pub fn name(&self, job: &JobId) -> String {
        let mut names = self.names.borrow_mut();
        let next = names.len() + 1;
        names.entry(job.clone()).or_insert_with(|| format!("job-{next}")).clone()
    }

    /// Says what every step so far was.
    pub fn hash(&self) -> u64 {
        self.hash.get()
    }

    /// How many things happened.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// The last lines, as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in self.lines.borrow().iter() {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{line}");
        }
        text
    }
}
