//! Agents whose polls wait at the server.

use crate::{
    fleet::{self, Agent},
    metrics::Reading,
};
use anyhow::Context as _;
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
/// Between two looks at how many polls wait.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A job that reached its agent and was taken to its end.
pub struct Arrival {
    /// The job.
    pub job: JobId,
    /// When it was there.
    pub at: Instant,
}

/// Agents that poll, finish what they get, and tell.
pub struct Polling {
    arrivals: mpsc::Receiver<anyhow::Result<Arrival>>,
    /// Ends them when dropped.
    _tasks: JoinSet<()>,
}

impl Polling {
    /// Starts a poll for each agent, one after the other's end.
    pub fn start(agents: Vec<Agent>, wait: Duration) -> Self {
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

    /// The next job that an agent got and took to its end.
    pub async fn next(&mut self) -> anyhow::Result<Arrival> {
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
pub async fn all_polling(scraper: &Client, agents: usize) -> anyhow::Result<()> {
    let enough = (agents - agents / 100) as f64;
    let look = async {
        while Reading::parse(&scraper.metrics().await?).value("vworkspace_server_long_polls_open") < enough {
            sleep(LOOK_AGAIN).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, look).await.context("the agents do not all poll")?
}
