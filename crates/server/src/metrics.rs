//! What the server counts, in the Prometheus text format.

use crate::app::readiness::Standing;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use vworkspace_protocol::{
    ClusterId,
    admin::{AgentSession, IdentityConflict, JobState},
};
use vworkspace_store::Tally;

/// The server's metrics; cheap to clone parts, one registry.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Seconds>,
    transitions: Family<TransitionLabels, Counter>,
    events: Family<EventLabels, Counter>,
    long_polls: Gauge,
    degraded: Gauge,
    failed: Gauge,
    conflicts_begun: Counter,
    conflicts: Family<ConflictLabels, Gauge>,
    writer: WriterMetrics,
}

/// What the database's writer did and has to do.
#[derive(Default)]
struct WriterMetrics {
    queue: Gauge,
    groups: Counter,
    calls: Counter,
    working: Seconds,
    committing: Seconds,
}

/// A counter of seconds.
type Seconds = Counter<f64, AtomicU64>;

/// What is read off at the moment of a scrape.
pub struct Now {
    /// Requests that wait for something.
    pub long_polls: usize,
    /// Writes that wait for the database.
    pub writer_queue: usize,
    /// What the writer has done so far.
    pub tally: Tally,
    /// Whether the database accepts writes.
    pub writes: Standing,
    /// Clusters whose identity two agents use.
    pub conflicts: Vec<(ClusterId, IdentityConflict)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    outcome: &'static str,
}

/// Who takes part in a conflict; of several refused sessions the latest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConflictLabels {
    cluster: String,
    served_session: String,
    served_address: String,
    refused_session: String,
    refused_address: String,
}

/// Most conflicts that a scrape names. Overflow rule: the rest is left out.
const MOST_CONFLICTS: usize = 100;

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vworkspace_server");
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::default(),
            transitions: Family::default(),
            events: Family::default(),
            long_polls: Gauge::default(),
            degraded: Gauge::default(),
            failed: Gauge::default(),
            conflicts_begun: Counter::default(),
            conflicts: Family::default(),
            writer: WriterMetrics::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Answered requests by route and status", metrics.requests.clone());
        registry.register(
            "request_seconds",
            "Time from a request to its answer, waiting included",
            metrics.request_seconds.clone(),
        );
        registry.register("job_transitions", "Jobs that entered a state", metrics.transitions.clone());
        registry.register("events", "Events stored, and replays that were dropped", metrics.events.clone());
        registry.register("long_polls_open", "Requests that wait for something", metrics.long_polls.clone());
        registry.register(
            "database_degraded",
            "1 while writes fail, or failed within the last minute",
            metrics.degraded.clone(),
        );
        registry.register(
            "database_failed",
            "1 while no write has succeeded for 30 seconds and /readyz answers 503",
            metrics.failed.clone(),
        );
        registry.register(
            "identity_conflicts_begun",
            "Times that a second agent was found under a cluster's identity",
            metrics.conflicts_begun.clone(),
        );
        registry.register(
            "identity_conflict_since_seconds",
            "Clusters whose identity two agents use, with the time since when, in seconds since 1970",
            metrics.conflicts.clone(),
        );
        metrics.writer.register(&mut registry);
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Counts an answered request; `route` is the pattern, never the path asked for.
    pub fn request(&self, route: &str, status: u16, took: Duration) {
        self.request_seconds
            .get_or_create(&RouteLabels { route: route.to_owned() })
            .inc_by(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), status }).inc();
    }

    /// Counts jobs that entered `state`.
    pub fn transition(&self, state: JobState, jobs: usize) {
        if jobs > 0 {
            self.transitions.get_or_create(&TransitionLabels { state: state.as_str() }).inc_by(jobs as u64);
        }
    }

    /// Counts the events of one batch.
    pub fn events(&self, stored: usize, replayed: usize) {
        for (outcome, count) in [("stored", stored), ("deduplicated", replayed)] {
            self.events.get_or_create(&EventLabels { outcome }).inc_by(count as u64);
        }
    }

    /// Counts a conflict that began.
    pub fn identity_conflict(&self) {
        self.conflicts_begun.inc();
    }

    /// The text a scraper reads.
    ///
    /// # Errors
    /// Those of the formatter.
    pub fn encode(&self, now: &Now) -> Result<String, fmt::Error> {
        self.long_polls.set(i64::try_from(now.long_polls).unwrap_or(i64::MAX));
        self.degraded.set(i64::from(now.writes != Standing::Ok));
        self.failed.set(i64::from(matches!(now.writes, Standing::Failed(_))));
        self.writer.set(now);
        self.conflicts.clear();
        for (cluster, conflict) in now.conflicts.iter().take(MOST_CONFLICTS) {
            let labels = ConflictLabels::new(cluster, conflict);
            self.conflicts.get_or_create(&labels).set(conflict.since.as_second());
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl ConflictLabels {
    fn new(cluster: &ClusterId, conflict: &IdentityConflict) -> Self {
        let refused = conflict.refused.last();
        let text = |of: fn(&AgentSession) -> &str| refused.map(of).unwrap_or_default().to_owned();
        Self {
            cluster: cluster.to_string(),
            served_session: conflict.served.session.to_string(),
            served_address: conflict.served.address.clone(),
            refused_session: text(|session| session.session.as_str()),
            refused_address: text(|session| &session.address),
        }
    }
}

impl WriterMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("writer_queue_length", "Writes that wait for the database", self.queue.clone());
        registry.register("writer_groups", "Groups of writes committed together", self.groups.clone());
        registry.register("writer_calls", "Writes in those groups", self.calls.clone());
        registry.register("writer_work_seconds", "Time in the writes' statements", self.working.clone());
        registry.register("writer_commit_seconds", "Time in making groups durable", self.committing.clone());
    }

    /// The counters are the store's own, so they are set and not added to: scrapes may overlap.
    fn set(&self, now: &Now) {
        let Now { writer_queue, tally: Tally { groups, calls, working, committing }, .. } = now;
        self.queue.set(i64::try_from(*writer_queue).unwrap_or(i64::MAX));
        self.groups.inner().store(*groups, Ordering::Relaxed);
        self.calls.inner().store(*calls, Ordering::Relaxed);
        for (counter, time) in [(&self.working, working), (&self.committing, committing)] {
            counter.inner().store(time.as_secs_f64().to_bits(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use vworkspace_protocol::id::SessionId;

    #[test]
    fn counts_are_written_with_their_labels() {
        let metrics = Metrics::default();
        metrics.request("/livez", 200, Duration::from_millis(1500));
        metrics.transition(JobState::Queued, 2);
        metrics.events(3, 1);
        let (working, committing) = (Duration::from_millis(250), Duration::from_millis(500));
        let tally = Tally { groups: 6, calls: 7, working, committing };
        let session = |name: &str, address: &str| AgentSession {
            session: SessionId::new(name),
            address: address.to_owned(),
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
        };
        let conflict = IdentityConflict {
            since: Timestamp::from_second(9).unwrap(),
            served: session("a", "192.0.2.1"),
            refused: vec![session("b", "192.0.2.2")],
        };
        let conflict = (ClusterId::new("c"), conflict);
        metrics.identity_conflict();
        let writes = Standing::Degraded("the disk is full");
        let conflicts = vec![conflict];
        let text = metrics.encode(&Now { long_polls: 4, writer_queue: 5, tally, writes, conflicts }).unwrap();
        for line in [
            r#"vworkspace_server_requests_total{route="/livez",status="200"} 1"#,
            r#"vworkspace_server_request_seconds_total{route="/livez"} 1.5"#,
            r#"vworkspace_server_job_transitions_total{state="queued"} 2"#,
            r#"vworkspace_server_events_total{outcome="deduplicated"} 1"#,
            "vworkspace_server_identity_conflicts_begun_total 1",
            concat!(
                r#"vworkspace_server_identity_conflict_since_seconds{cluster="c",served_session="a","#,
                r#"served_address="192.0.2.1",refused_session="b",refused_address="192.0.2.2"} 9"#
            ),
            "vworkspace_server_long_polls_open 4",
            "vworkspace_server_database_degraded 1",
            "vworkspace_server_database_failed 0",
            "vworkspace_server_writer_queue_length 5",
            "vworkspace_server_writer_groups_total 6",
            "vworkspace_server_writer_calls_total 7",
            "vworkspace_server_writer_work_seconds_total 0.25",
            "vworkspace_server_writer_commit_seconds_total 0.5",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
