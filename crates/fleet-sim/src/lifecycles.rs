//! All agents at work: enqueue, lease, ack, result, each answered only once it is durable.

use crate::{
    args::LifecyclesArgs,
    baseline::{self, Baseline},
    fleet::{self, Agent},
    latency::Latencies,
    profile,
    report::Report,
    server::ServerProcess,
    usage::{Spent, Usage},
};
use anyhow::{Context as _, ensure};
use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use vworkspace_client::Client;
use vworkspace_protocol::{Outcome, limits};
use vworkspace_transport::AgentLink as _;

/// Runs before anything counts: connections open, caches fill, groups form.
const WARM_UP: Duration = Duration::from_secs(2);
/// Answered before a job is counted as through: it must be closed in the server's own count, too.
const CLOSED: &str = r#"vworkspace_server_job_transitions_total{state="closed"}"#;

/// The part of a run that counts.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

/// What one task, and at last all of them, measured.
#[derive(Default)]
struct Steps {
    enqueue: Latencies,
    poll: Latencies,
    ack: Latencies,
    result: Latencies,
    whole: Latencies,
    /// Results answered in the whole run.
    finished: usize,
}

/// What one run found.
struct Measured {
    steps: Steps,
    spent: Spent,
}

/// One agent with what enqueues for it.
struct Pair {
    agent: Agent,
    /// With a connection of its own: through one connection all enqueues would queue up behind each other.
    admin: Client,
    /// Jobs that may still be opened.
    room: Semaphore,
    /// When each open job was sent, oldest first: the order in which the agent gets them.
    sent: Mutex<VecDeque<Instant>>,
}

/// Runs the benchmark; answers its report.
pub async fn run(server: &ServerProcess, args: &LifecyclesArgs) -> anyhow::Result<String> {
    let admin = server.admin()?;
    let scraper = server.scraper()?;
    let disk_before = baseline::measure(server.folder())?;
    let identities = fleet::enroll(server, &admin, &args.setup).await?;
    let agents = fleet::connect(server, identities).await?;
    let from = Instant::now() + WARM_UP;
    let window = Window { from, until: from + Duration::from_secs(args.setup.seconds.into()) };
    let mut tasks = start(server, agents, args.open_jobs, window)?;

    sleep_until(window.from).await;
    let before = Usage::now(server, &scraper).await?;
    sleep_until(window.until).await;
    let after = Usage::now(server, &scraper).await?;
    let mut steps = Steps::default();
    while let Some(task) = tasks.join_next().await {
        steps.add(task?.context("a call failed")?);
    }
    let closed = Usage::now(server, &scraper).await?.metrics.value(CLOSED);
    ensure!(
        closed >= steps.finished as f64,
        "{} results were answered, {closed} jobs closed",
        steps.finished
    );

    let measured = Measured { steps, spent: after.since(&before) };
    let disk_after = baseline::measure(server.folder())?;
    Ok(report(server, args, &measured, [&disk_before, &disk_after]))
}

fn report(
    server: &ServerProcess,
    args: &LifecyclesArgs,
    Measured { steps, spent }: &Measured,
    [disk_before, disk_after]: [&Baseline; 2],
) -> String {
    let mut report = Report::new("lifecycles: enqueue → lease → ack → result, all agents at work");
    let whole = steps.whole.summary();
    report.setup(server, &args.setup);
    report.line("open jobs per agent, at most", format_args!("{}", args.open_jobs));
    let per_second = whole.samples as f64 / f64::from(args.setup.seconds);
    report.line("durable lifecycles", format_args!("{per_second:.0} /s"));
    report.baseline(disk_before, disk_after);
    report.latency_header();
    report.latency("enqueue", steps.enqueue.summary());
    report.latency("poll that brought jobs (waits included)", steps.poll.summary());
    report.latency("ack", steps.ack.summary());
    report.latency("result", steps.result.summary());
    report.latency("whole: enqueue sent → result answered", whole);
    profile::add_to(&mut report, spent, "lifecycle", whole.samples as f64);
    report.text()
}

fn start(
    server: &ServerProcess,
    agents: Vec<Agent>,
    open_jobs: u32,
    window: Window,
) -> anyhow::Result<JoinSet<anyhow::Result<Steps>>> {
    let mut tasks = JoinSet::new();
    for agent in agents {
        let pair = Arc::new(Pair {
            agent,
            admin: server.admin()?,
            room: Semaphore::new(open_jobs as usize),
            sent: Mutex::default(),
        });
        let worker = Arc::clone(&pair);
        tasks.spawn(
            async move { until_over(window, async |steps| pair.enqueue_on(window, steps).await).await },
        );
        tasks.spawn(
            async move { until_over(window, async |steps| worker.work_on(window, steps).await).await },
        );
    }
    Ok(tasks)
}

/// Does `work` until the window closes; what it measured till then counts.
async fn until_over(
    window: Window,
    work: impl AsyncFnOnce(&mut Steps) -> anyhow::Result<Infallible>,
) -> anyhow::Result<Steps> {
    let mut steps = Steps::default();
    match timeout_at(window.until, work(&mut steps)).await {
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(steps),
    }
}

impl Pair {
    async fn enqueue_on(&self, window: Window, steps: &mut Steps) -> anyhow::Result<Infallible> {
        for number in 0u64.. {
            self.room.acquire().await?.forget();
            let wanted = fleet::job(&format!("job-{number}"));
            let start = Instant::now();
            self.sent().push_back(start);
            self.admin.enqueue_job(&self.agent.cluster, &wanted).await?;
            window.note(&mut steps.enqueue, start);
        }
        anyhow::bail!("out of numbers")
    }

    async fn work_on(&self, window: Window, steps: &mut Steps) -> anyhow::Result<Infallible> {
        let Agent { cluster, link } = &self.agent;
        loop {
            let start = Instant::now();
            let jobs = link.jobs(cluster, limits::DEFAULT_WAIT).await?;
            if !jobs.is_empty() {
                window.note(&mut steps.poll, start);
            }
            for job in jobs {
                let start = Instant::now();
                link.ack(&job.id).await?;
                window.note(&mut steps.ack, start);
                let start = Instant::now();
                link.result(&job.id, &Outcome::Succeeded.into()).await?;
                window.note(&mut steps.result, start);
                let sent = self.sent().pop_front().context("a job came that was not enqueued")?;
                window.note(&mut steps.whole, sent);
                steps.finished += 1;
                self.room.add_permits(1);
            }
        }
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, VecDeque<Instant>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Notes what began at `start` and ends now, if it ends inside the window.
    fn note(self, latencies: &mut Latencies, start: Instant) {
        let now = Instant::now();
        if (self.from..self.until).contains(&now) {
            latencies.add(now - start);
        }
    }
}

impl Steps {
    fn add(&mut self, other: Self) {
        let Self { enqueue, poll, ack, result, whole, finished } = other;
        self.enqueue.extend(enqueue);
        self.poll.extend(poll);
        self.ack.extend(ack);
        self.result.extend(result);
        self.whole.extend(whole);
        self.finished += finished;
    }
}
