//! The torture: the real server and the real operator at work against a real API server, either killed with `-9` at
//! random moments, over and over; then I1 to I5 are checked from what two witnesses wrote down.
//!
//! ```text
//!   load ── enqueue, withdraw, ask again ──► vworkspace-server ◄── long poll ── vworkspace-operator ──► API server
//!     │                                          ▲  kill -9                        ▲  kill -9               │
//!     │                                          └────────── nemesis ──────────────┘                        │ watch
//!     ▼                                                                                                     ▼
//!   history.asked                                                                                      history.seen
//!     └───────────────────────────── check (pure) ◄── settle: jobs, view, database ──────────────────────────┘
//! ```
//!
//! An enqueue without an answer may have happened or not. A seed decides what is asked for and when who is killed; how
//! the two fall together is the machine's, so a seed is no replay.

mod check;
mod database;
mod history;
mod load;
mod nemesis;
mod recorder;
mod settle;
mod story;

use crate::{
    Options as TestbedOptions, Testbed,
    simulation::dice::Dice,
    stack::{self, Flags, Stack},
    view::Target,
};
use anyhow::{Context as _, bail};
use check::{Broken, Evidence, Near};
use history::History;
use load::{Load, Object};
use nemesis::{Plan, Tally};
use recorder::Recorder;
use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Objects that only reserve a name: a job for one is done within a moment.
const PLACEHOLDERS: usize = 10;
/// Objects that Helm really installs.
const INSTALLED: usize = 2;
/// Namespaces they are spread over.
const NAMESPACES: usize = 2;
/// Longest wait for everything to settle: the jobs' deadline and what may stand before it.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Times with which a kill costs seconds and not minutes.
const SERVER_FLAGS: [&str; 3] = ["--job-lease=3s", "--stale-session=20s", "--disconnect-after=5s"];
const OPERATOR_FLAGS: [&str; 5] = [
    "--agent-poll-interval=2s",
    "--disconnect-after=5s",
    "--leader-elect-lease-duration=4s",
    "--leader-elect-renew-deadline=3s",
    "--leader-elect-retry-period=500ms",
];

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long kills go on.
    pub time: Duration,
    /// How many kills in all.
    pub kills: u32,
    /// Decides what is asked for, who is killed and when.
    pub seed: u64,
    /// Jobs handed in each second, about.
    pub rate: u32,
}

/// Runs it on a cluster of its own.
///
/// # Errors
/// A promise was broken: then data, logs and histories are kept, and the text says where. Or the run could not be made.
pub async fn run(options: Options) -> anyhow::Result<()> {
    // Never a cluster that others use as well: its one operator is killed here.
    let testbed = Testbed::start_with(TestbedOptions::default()).await?;
    let work = tempfile::Builder::new().prefix("vworkspace-torture-").tempdir()?;
    match attempt(options, &testbed, work.path()).await {
        Ok(figures) => {
            say(&figures);
            say("every promise was kept");
            Ok(())
        }
        Err(error) => {
            let kept = work.keep();
            Err(error.context(format!("data and logs of both programs are kept in {}", kept.display())))
        }
    }
}

async fn attempt(options: Options, testbed: &Testbed, work: &Path) -> anyhow::Result<String> {
    let texts = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
    let flags = Flags { server: texts(&SERVER_FLAGS), operator: texts(&OPERATOR_FLAGS) };
    let stack = Stack::start_with(testbed, &stack::programs()?, work, &flags).await?;
    stack.connected().await?;
    let mut namespaces = Vec::new();
    for n in 0..NAMESPACES {
        namespaces.push(testbed.gated_namespace(&format!("torture-{n}")).await);
    }
    let torture = Torture {
        options,
        testbed,
        stack,
        namespaces,
        history: Rc::default(),
        tally: Tally::default(),
        stop: Rc::default(),
    };
    let recorder = Recorder::new(testbed.admin(), &torture.namespaces, torture.history.clone());
    tokio::select! {
        () = recorder.run() => bail!("the watch of the recorder ended"),
        figures = torture.play(&recorder) => figures,
    }
}

struct Torture<'a> {
    options: Options,
    testbed: &'a Testbed,
    stack: Stack,
    namespaces: Vec<String>,
    history: Rc<RefCell<History>>,
    tally: Tally,
    stop: Rc<Cell<bool>>,
}

impl Torture<'_> {
    async fn play(&self, recorder: &Recorder) -> anyhow::Result<String> {
        let start = Instant::now();
        self.storm().await?;
        let took = start.elapsed();
        say(&format!(
            "the kills are over after {:.0} s; waiting until everything is done",
            took.as_secs_f64()
        ));
        let (stack, tally) = (&self.stack, &self.tally);
        let settled =
            settle::settle(self.testbed, stack, recorder, &self.namespaces, tally, PATIENCE).await?;
        // Whatever the witnesses see from here on is no part of it.
        let history = self.history.take();
        let jobs = settle::jobs(stack, &history).await?;
        stack.server.kill();
        let stored = nemesis::stored(stack).await?;

        let evidence = Evidence {
            history: &history,
            jobs: &jobs,
            shown: &settled.shown,
            truth: &settled.truth,
            stored: &stored,
        };
        let mut broken = check::check(&evidence);
        let unsettled = settled.left.iter().take(10).map(|what| Broken {
            invariant: "I7 everything ends",
            target: None,
            near: Near::End,
            what: format!("{:.0} s after the last kill: {what}", settled.after.as_secs_f64()),
        });
        broken.extend(unsettled);
        let figures = story::figures(self.options.seed, took, &history, &jobs, &settled, &stored, tally);
        if broken.is_empty() {
            return Ok(figures);
        }
        bail!("{figures}\n{}", story::broken(&broken, &history, &jobs));
    }

    /// Load and kills, until the last kill.
    async fn storm(&self) -> anyhow::Result<()> {
        let Options { time, kills, seed, rate } = self.options;
        let objects = self.objects();
        let users = u32::try_from(objects.len()).unwrap_or(u32::MAX);
        let pace = Duration::from_secs(1) * users / rate.max(1);
        let client = self.stack.server.client()?;
        let load =
            Load::new(client, self.stack.cluster.clone(), self.history.clone(), self.stop.clone(), pace);
        let ends = Instant::now() + time;
        let (one, other) = (Plan { kills: kills / 2, ends }, Plan { kills: kills - kills / 2, ends });
        let (server_dice, operator_dice) = (Dice::new(seed ^ 1), Dice::new(seed ^ 2));
        let torment = async {
            let done = futures::try_join!(
                nemesis::torment_server(&self.stack, one, &server_dice, &self.tally, &self.history),
                nemesis::torment_operator(&self.stack, other, &operator_dice, &self.tally),
            );
            self.stop.set(true);
            done.context("the programs could not be kept going")
        };
        let (done, (), ()) = futures::join!(torment, load.run(&objects, seed), self.tell());
        done.map(drop)
    }

    fn objects(&self) -> Vec<Object> {
        let namespaces = self.namespaces.iter().cycle();
        let placeholders = (0..PLACEHOLDERS).map(|n| (format!("app-{n}"), None));
        let charts = self.testbed.charts_url();
        let installed = (0..INSTALLED).map(|n| (format!("helm-{n}"), Some(charts.to_owned())));
        let objects = placeholders.chain(installed).zip(namespaces).map(|((name, charts), namespace)| {
            Object { target: Target { namespace: namespace.clone(), name }, charts }
        });
        objects.collect()
    }

    async fn tell(&self) {
        let mut next = Instant::now() + TELL_EVERY;
        while !self.stop.get() {
            sleep(Duration::from_millis(500)).await;
            if Instant::now() < next {
                continue;
            }
            next += TELL_EVERY;
            let history = self.history.borrow();
            say(&format!(
                "killed: server {}, operator {}; {} tries to hand in, {} changes in the cluster",
                self.tally.server.get(),
                self.tally.operator.get(),
                history.asked.len(),
                history.seen.len()
            ));
        }
    }
}

/// One line for whoever watches.
#[allow(clippy::print_stdout, reason = "the torture talks on standard output")]
fn say(line: &str) {
    println!("{line}");
}
