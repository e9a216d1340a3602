//! Nothing but agents whose polls wait: what they cost the server.

use crate::{
    args::IdleArgs,
    fleet,
    polling::{Polling, all_polling},
    process::{self, Resident},
    report::Report,
    server::ServerProcess,
    usage::{Spent, Usage},
};
use std::time::Duration;
use tokio::time::sleep;

/// Rest before memory is read, so that what the ramp-up left is settled.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs the benchmark; answers its report.
pub async fn run(server: &ServerProcess, args: &IdleArgs) -> anyhow::Result<String> {
    let admin = server.admin()?;
    let scraper = server.scraper()?;
    let identities = fleet::enroll(server, &admin, &args.setup).await?;
    sleep(SETTLE).await;
    let alone = process::resident(server.pid())?;
    let agents = fleet::connect(server, identities).await?;
    let count = agents.len();
    let _fleet = Polling::start(agents, Duration::from_secs(args.wait.into()));
    all_polling(&scraper, count).await?;
    sleep(SETTLE).await;
    all_polling(&scraper, count).await?;
    let polling = process::resident(server.pid())?;

    let before = Usage::now(server, &scraper).await?;
    sleep(Duration::from_secs(args.setup.seconds.into())).await;
    let spent = Usage::now(server, &scraper).await?.since(&before);
    all_polling(&scraper, count).await?;
    let after = process::resident(server.pid())?;
    Ok(report(server, args, [alone, polling, after], &spent))
}

fn report(
    server: &ServerProcess,
    args: &IdleArgs,
    [alone, polling, after]: [Resident; 3],
    spent: &Spent,
) -> String {
    let mut report = Report::new("idle: agents whose polls wait");
    let agents = args.setup.agents;
    report.setup(server, &args.setup);
    report.resident("server memory, nobody connected", alone);
    report.resident("server memory, all agents polling", polling);
    report.resident("server memory, at the end", after);
    report.resident_per_agent(alone, polling, agents);
    let polls =
        spent.counters.value(r#"vworkspace_server_requests_total{route="/api/agent/jobs",status="200"}"#);
    let (wall, cpu) = (spent.wall.as_secs_f64(), spent.server_cpu.as_secs_f64());
    report.line("polls that ended empty meanwhile", format_args!("{:.0} /s", polls / wall));
    report.line(
        "server CPU while idle",
        format_args!("{:.2} % of a core for 1,000 agents", cpu / wall * 100.0 / f64::from(agents) * 1000.0),
    );
    report.text()
}
