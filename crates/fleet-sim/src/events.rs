//! All agents report: batches of events, each answered only once it is durable, some of them sent again.

use crate::{
    args::EventsArgs,
    baseline::{self, Baseline},
    fleet::{self, Agent},
    latency::{Latencies, Summary},
    profile,
    report::Report,
    server::ServerProcess,
    usage::{Spent, Usage},
};
use anyhow::{Context as _, ensure};
use rusqlite::{Connection, OpenFlags};
use std::{fs, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use vworkspace_protocol::{
    Condition, ConditionStatus, ObjectRef,
    event::{Event, EventsRequest, condition_key, kind},
    limits::EVENTS_PER_BATCH,
};
use vworkspace_transport::AgentLink as _;

/// Runs before anything counts: connections open, caches fill, groups form.
const WARM_UP: Duration = Duration::from_secs(2);
/// Objects that one agent reports about, in turn.
const OBJECTS: u64 = 50;
/// Events stored, in the server's own count.
const STORED: &str = r#"vworkspace_server_events_total{outcome="stored"}"#;
/// Repeats dropped, in the server's own count.
const REPEATED: &str = r#"vworkspace_server_events_total{outcome="deduplicated"}"#;

/// What one agent, and at last all of them, sent.
#[derive(Default)]
struct Sent {
    batches: Latencies,
    /// Different events that were answered.
    events: u64,
}

/// What one run found.
struct Measured {
    batches: Summary,
    spent: Spent,
    /// Growth of the database's files.
    grown: u64,
    /// All events in the database at the end.
    rows: u64,
}

/// Runs the benchmark; answers its report.
pub async fn run(server: &ServerProcess, args: &EventsArgs) -> anyhow::Result<String> {
    let admin = server.admin()?;
    let scraper = server.scraper()?;
    let disk_before = baseline::measure(server.folder())?;
    let identities = fleet::enroll(server, &admin, &args.setup).await?;
    let agents = fleet::connect(server, identities).await?;
    let from = Instant::now() + WARM_UP;
    let until = from + Duration::from_secs(args.setup.seconds.into());
    let mut tasks = JoinSet::new();
    for agent in agents {
        let reporter = Reporter { agent, replays: args.replays.into() };
        tasks.spawn(async move { reporter.report_until(from, until).await });
    }

    sleep_until(from).await;
    let (before, size_before) = (Usage::now(server, &scraper).await?, database_bytes(server)?);
    sleep_until(until).await;
    let (after, size_after) = (Usage::now(server, &scraper).await?, database_bytes(server)?);
    let mut sent = Sent::default();
    while let Some(task) = tasks.join_next().await {
        let Sent { batches, events } = task?.context("a call failed")?;
        sent.batches.extend(batches);
        sent.events += events;
    }
    let rows = stored_events(server)?;
    ensure!(rows == sent.events, "{} different events were answered, {rows} are stored", sent.events);

    let spent = after.since(&before);
    let grown = size_after.saturating_sub(size_before);
    let measured = Measured { batches: sent.batches.summary(), spent, grown, rows };
    let disk_after = baseline::measure(server.folder())?;
    Ok(report(server, args, &measured, [&disk_before, &disk_after]))
}

/// One agent, and which share of its events it sends twice.
struct Reporter {
    agent: Agent,
    /// In a hundred.
    replays: u64,
}

impl Reporter {
    /// Sends one batch after the other. The last is waited for, so that what was sent is what is stored.
    async fn report_until(&self, from: Instant, until: Instant) -> anyhow::Result<Sent> {
        let mut sent = Sent::default();
        let new_each = EVENTS_PER_BATCH as u64 * (100 - self.replays) / 100;
        loop {
            // The last events of the batch before, then new ones.
            let first = sent.events.saturating_sub(EVENTS_PER_BATCH as u64 - new_each);
            let events: Vec<_> = (first..first + EVENTS_PER_BATCH as u64).map(event).collect();
            let start = Instant::now();
            if start >= until {
                return Ok(sent);
            }
            self.agent.link.events(&EventsRequest { events }).await?;
            sent.events = first + EVENTS_PER_BATCH as u64;
            if (from..until).contains(&start) {
                sent.batches.add(start.elapsed());
            }
        }
    }
}

/// An agent's event number `number`: a condition of one of its objects changed. About 600 bytes.
fn event(number: u64) -> Event {
    let object = number % OBJECTS;
    let generation = i64::try_from(number / OBJECTS + 1).unwrap_or(i64::MAX);
    let ready = generation % 2 == 0;
    let status = if ready { ConditionStatus::True } else { ConditionStatus::False };
    let resource_ref = ObjectRef {
        api_version: "apps.vworkspace.io/v1alpha1".to_owned(),
        kind: "ApplicationInstance".to_owned(),
        namespace: "bench".to_owned(),
        name: format!("application-{object}"),
        uid: format!("6f1f0a7e-0000-4000-8000-{object:012}"),
        generation,
    };
    let condition = Condition {
        type_: "Ready".to_owned(),
        status,
        observed_generation: generation,
        last_transition_time: None,
        reason: if ready { "Succeeded" } else { "Progressing" }.to_owned(),
        message: "Helm install succeeded for release bench/application with chart web@1.2.3".to_owned(),
    };
    Event {
        event_key: condition_key(&resource_ref, &condition.type_, status),
        kind: kind::CONDITION_TRANSITION.to_owned(),
        resource_ref,
        conditions: vec![condition],
        operator_version: String::new(),
        kubernetes_version: String::new(),
        sequence: 0,
        timestamp: None,
    }
}

/// The database's file and its log.
fn database_bytes(server: &ServerProcess) -> anyhow::Result<u64> {
    let database = server.database();
    let log = database.with_extension("db-wal");
    Ok(fs::metadata(database)?.len() + fs::metadata(log).map_or(0, |log| log.len()))
}

/// Counts what is in the database itself, past the server.
fn stored_events(server: &ServerProcess) -> anyhow::Result<u64> {
    let connection = Connection::open_with_flags(server.database(), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let count: i64 = connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0))?;
    Ok(u64::try_from(count)?)
}

fn report(
    server: &ServerProcess,
    args: &EventsArgs,
    Measured { batches, spent, grown, rows }: &Measured,
    [disk_before, disk_after]: [&Baseline; 2],
) -> String {
    let mut report = Report::new("events: batches of 100 from all agents, each event stored once");
    report.setup(server, &args.setup);
    let (stored, repeated) = (spent.counters.value(STORED), spent.counters.value(REPEATED));
    let wall = spent.wall.as_secs_f64();
    report.line("durable new events", format_args!("{:.0} /s", stored / wall));
    report.line("repeats dropped beside them", format_args!("{:.0} /s", repeated / wall));
    report.line("events in the database at the end", format_args!("{rows}, as many as were answered"));
    report.line(
        "database files grew by",
        format_args!("{:.0} bytes each event", *grown as f64 / stored.max(1.0)),
    );
    report.baseline(disk_before, disk_after);
    report.latency_header();
    report.latency("a batch: sent → answered", *batches);
    profile::add_to(&mut report, spent, "event", stored);
    report.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_an_agent_has_a_key_of_its_own() {
        let keys: std::collections::BTreeSet<_> = (0..1000).map(|number| event(number).event_key).collect();
        assert_eq!(keys.len(), 1000);
    }
}
