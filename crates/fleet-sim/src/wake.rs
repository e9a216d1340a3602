//! One job at a time to one of many agents whose polls wait.

use crate::{
    args::WakeArgs,
    baseline::{self, Baseline},
    fleet,
    latency::Latencies,
    polling::{Polling, all_polling},
    process::{self, Resident},
    report::Report,
    server::ServerProcess,
};
use anyhow::ensure;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Rest before memory is read, so that what the ramp-up left is settled.
const SETTLE: Duration = Duration::from_secs(2);

/// What one run found.
struct Found {
    wake: Latencies,
    enqueue: Latencies,
    resident_before: Resident,
    resident_polling: Resident,
    resident_after: Resident,
}

/// Runs the benchmark; answers its report.
pub async fn run(server: &ServerProcess, args: &WakeArgs) -> anyhow::Result<String> {
    let admin = server.admin()?;
    let scraper = server.scraper()?;
    let disk_before = baseline::measure(server.folder())?;
    let identities = fleet::enroll(server, &admin, &args.setup).await?;
    sleep(SETTLE).await;
    let resident_before = process::resident(server.pid())?;
    let agents = fleet::connect(server, identities).await?;
    let clusters: Vec<_> = agents.iter().map(|agent| agent.cluster.clone()).collect();
    let mut fleet = Polling::start(agents, Duration::from_secs(args.wait.into()));
    all_polling(&scraper, clusters.len()).await?;
    sleep(SETTLE).await;
    let resident_polling = process::resident(server.pid())?;

    let (mut wake, mut enqueue) = (Latencies::default(), Latencies::default());
    let span = Duration::from_secs(args.setup.seconds.into());
    let begin = Instant::now();
    for (number, cluster) in clusters.iter().cycle().enumerate() {
        if begin.elapsed() >= span {
            break;
        }
        all_polling(&scraper, clusters.len()).await?;
        let wanted = fleet::job(&format!("job-{number}"));
        let start = Instant::now();
        let job = admin.enqueue_job(cluster, &wanted).await?;
        enqueue.add(start.elapsed());
        let arrival = fleet.next().await?;
        ensure!(arrival.job == job.id, "another job arrived than the one that was enqueued");
        wake.add(arrival.at - start);
    }
    let resident_after = process::resident(server.pid())?;
    drop(fleet);
    let disk_after = baseline::measure(server.folder())?;
    let found = Found { wake, enqueue, resident_before, resident_polling, resident_after };
    Ok(report(server, args, &found, [&disk_before, &disk_after]))
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
    report.resident("server memory, nobody connected", found.resident_before);
    report.resident("server memory, all agents polling", found.resident_polling);
    report.resident("server memory, at the end", found.resident_after);
    report.resident_per_agent(found.resident_before, found.resident_polling, agents);
    report.text()
}
