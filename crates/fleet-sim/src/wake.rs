//! One job at a time to one of many agents whose polls wait.

use crate::{
    args::WakeArgs,
    baseline::{self, Baseline},
    fleet::{self, Agent},
    latency::Latencies,
    metrics::Reading,
    process,
    report::Report,
    server::ServerProcess,
};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use vworkspace_client::Client;
use vworkspace_protocol::JobId;
use vworkspace_transport::AgentLink as _;

/// Longest time anything that is waited for may take; a failure beyond it, not a figure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rest before memory is read, so that what the ramp-up left is settled.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two looks at how many polls wait.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A job that reached its agent and was taken to its end.
struct Arrival {
    job: JobId,
    at: Instant,
}

/// What one run found.
struct Found {
    wake: Latencies,
    enqueue: Latencies,
    resident_before: u64,
    resident_polling: u64,
    resident_after: u64,
}

/// Runs the benchmark; answers its report.
pub async fn run(server: &ServerProcess, args: &WakeArgs) -> anyhow::Result<String> {
    let admin = server.admin()?;
    let disk_before = baseline::measure(server.folder())?;
    let identities = fleet::enroll(server, &admin, &args.setup).await?;
    sleep(SETTLE).await;
    let resident_before = process::resident_bytes(server.pid())?;
    let agents = fleet::connect(server, identities).await?;
    let clusters: Vec<_> = agents.iter().map(|agent| agent.cluster.clone()).collect();
    let mut fleet = Polling::start(agents, Duration::from_secs(args.wait.into()));
    all_polling(&admin, clusters.len()).await?;
    sleep(SETTLE).await;
    let resident_polling = process::resident_bytes(server.pid())?;

    let (mut wake, mut enqueue) = (Latencies::default(), Latencies::default());
    let span = Duration::from_secs(args.setup.seconds.into());
    let begin = Instant::now();
    for (number, cluster) in clusters.iter().cycle().enumerate() {
        if begin.elapsed() >= span {
            break;
        }
        all_polling(&admin, clusters.len()).await?;
        let wanted = fleet::job(&format!("job-{number}"));
        let start = Instant::now();
        let job = admin.enqueue_job(cluster, &wanted).await?;
        enqueue.add(start.elapsed());
        let arrival = fleet.next().await?;
        ensure!(arrival.job == job.id, "another job arrived than the one that was enqueued");
        wake.add(arrival.at - start);
    }
    let resident_after = process::resident_bytes(server.pid())?;
    drop(fleet);
    let disk_after = baseline::measure(server.folder())?;
    let found = Found { wake, enqueue, resident_before, resident_polling, resident_after };
    Ok(report(server, args, &found, [&disk_before, &disk_after]))
}

/// Agents that poll, finish what they get, and tell.
struct Polling {
    arrivals: mpsc::Receiver<anyhow::Result<Arrival>>,
    /// Ends them when dropped.
    _tasks: JoinSet<()>,
}

impl Polling {
    fn start(agents: Vec<Agent>, wait: Duration) -> Self {
        let (sender, arrivals) = mpsc::channel(agents.len());
        let mut tasks = JoinSet::new();
        for agent in agents {
            let sender = sender.clone();
            tasks.spawn(async move {
                let Err(error) = poll_on(&agent, wait, &sender).await;
                // Nobody listens once the benchmark is over.
                let _ = sender.send(Err(error)).await;
            });
        }
        Self { arrivals, _tasks: tasks }
    }

    async fn next(&mut self) -> anyhow::Result<Arrival> {
        let arrival = timeout(PATIENCE, self.arrivals.recv()).await.context("no job arrived")?;
        arrival.context("all agents ended")?.context("an agent failed")
    }
}

async fn poll_on(
    agent: &Agent,
    wait: Duration,
    sender: &mpsc::Sender<anyhow::Result<Arrival>>,
) -> anyhow::Result<std::convert::Infallible> {
    loop {
        let jobs = agent.link.jobs(&agent.cluster, wait).await?;
        let at = Instant::now();
        for job in jobs {
            fleet::finish(&agent.link, &job).await?;
            sender.send(Ok(Arrival { job: job.id, at })).await?;
        }
    }
}

/// Waits until 99 in 100 polls wait at the server: the rest are those that just ended empty and ask again.
async fn all_polling(admin: &Client, agents: usize) -> anyhow::Result<()> {
    let enough = (agents - agents / 100) as f64;
    let look = async {
        while Reading::parse(&admin.metrics().await?).value("vworkspace_server_long_polls_open") < enough {
            sleep(LOOK_AGAIN).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, look).await.context("the agents do not all poll")?
}

fn report(
    server: &ServerProcess,
    args: &WakeArgs,
    found: &Found,
    [disk_before, disk_after]: [&Baseline; 2],
) -> String {
    let mut report = Report::new("wake: one job at a time to an agent whose poll waits");
    let agents = args.setup.agents;
    report.setup(server, &args.setup);
    report.latency_header();
    report.latency("enqueue sent → job at agent", found.wake.summary());
    report.latency("enqueue sent → answered", found.enqueue.summary());
    report.baseline(disk_before, disk_after);
    let per_agent = found.resident_polling.saturating_sub(found.resident_before) as f64 / f64::from(agents);
    report.line("server RSS, nobody connected", format_args!("{:.1} MiB", mib(found.resident_before)));
    report.line("server RSS, all agents polling", format_args!("{:.1} MiB", mib(found.resident_polling)));
    report.line("server RSS, at the end", format_args!("{:.1} MiB", mib(found.resident_after)));
    report.line("server RSS per idle agent", format_args!("{:.1} KiB", per_agent / 1024.0));
    report.text()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
