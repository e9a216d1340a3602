//! What the server counts, in the Prometheus text format.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::fmt;
use vworkspace_protocol::admin::JobState;

/// The server's metrics; cheap to clone parts, one registry.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    transitions: Family<TransitionLabels, Counter>,
    events: Family<EventLabels, Counter>,
    long_polls: Gauge,
    writer_queue: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vworkspace_server");
        let metrics = Self {
            requests: Family::default(),
            transitions: Family::default(),
            events: Family::default(),
            long_polls: Gauge::default(),
            writer_queue: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Answered requests by route and status", metrics.requests.clone());
        registry.register("job_transitions", "Jobs that entered a state", metrics.transitions.clone());
        registry.register("events", "Events stored, and replays that were dropped", metrics.events.clone());
        registry.register("long_polls_open", "Requests that wait for something", metrics.long_polls.clone());
        registry.register(
            "writer_queue_length",
            "Writes that wait for the database",
            metrics.writer_queue.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Counts an answered request; `route` is the pattern, never the path asked for.
    pub fn request(&self, route: &str, status: u16) {
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

    /// The text a scraper reads; the two gauges are taken at this moment.
    ///
    /// # Errors
    /// Those of the formatter.
    pub fn encode(&self, long_polls: usize, writer_queue: usize) -> Result<String, fmt::Error> {
        self.long_polls.set(i64::try_from(long_polls).unwrap_or(i64::MAX));
        self.writer_queue.set(i64::try_from(writer_queue).unwrap_or(i64::MAX));
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_with_their_labels() {
        let metrics = Metrics::default();
        metrics.request("/livez", 200);
        metrics.transition(JobState::Queued, 2);
        metrics.events(3, 1);
        let text = metrics.encode(4, 5).unwrap();
        for line in [
            r#"vworkspace_server_requests_total{route="/livez",status="200"} 1"#,
            r#"vworkspace_server_job_transitions_total{state="queued"} 2"#,
            r#"vworkspace_server_events_total{outcome="deduplicated"} 1"#,
            "vworkspace_server_long_polls_open 4",
            "vworkspace_server_writer_queue_length 5",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
