//! Metrics, by the names of the reference (reference contract, section 10.2) and a few of our own.

use crate::agent::conversation::LinkState;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::sync::{Arc, atomic::AtomicU64};
use vworkspace_core::agent::session::State;
use vworkspace_protocol::{Job, Outcome};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabel {
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// All metrics of the process; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    job_lag: Gauge<f64, AtomicU64>,
    connectivity: Family<ModeLabel, Gauge>,
    applied_jobs: Counter,
    job_results: Family<OutcomeLabel, Counter>,
    event_buffer: Gauge,
    events_dropped: Gauge,
    credential_age: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics with nothing counted.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("vworkspace_operator");
        let inner = Inner {
            job_lag: Gauge::default(),
            connectivity: Family::default(),
            applied_jobs: Counter::default(),
            job_results: Family::default(),
            event_buffer: Gauge::default(),
            events_dropped: Gauge::default(),
            credential_age: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register(
            "pull_job_lag_seconds",
            "Age of the oldest job of the last poll",
            inner.job_lag.clone(),
        );
        registry.register(
            "connectivity_state",
            "1 connected, 0 reconnecting, -1 disconnected or not registered",
            inner.connectivity.clone(),
        );
        // The text format adds `_total`.
        registry.register("applied_jobs", "Jobs that succeeded", inner.applied_jobs.clone());
        registry.register("job_results", "Jobs that ended, by outcome", inner.job_results.clone());
        registry.register(
            "event_buffer_occupancy",
            "Events that wait for delivery",
            inner.event_buffer.clone(),
        );
        registry.register("events_dropped", "Events dropped for want of room", inner.events_dropped.clone());
        registry.register(
            "credential_age_seconds",
            "Time since the credential was issued",
            inner.credential_age.clone(),
        );
        let metrics = Self(Arc::new(Inner { registry, ..inner }));
        metrics.connectivity(&LinkState::default());
        metrics
    }

    /// The text that `/metrics` answers with.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _infallible = encode(&mut text, &self.0.registry);
        text
    }

    /// A poll returned these jobs.
    pub fn polled(&self, jobs: &[Job], now: Timestamp) {
        let oldest = jobs.iter().filter_map(|job| job.created_at).min();
        self.0.job_lag.set(oldest.map_or(0.0, |created| now.duration_since(created).as_secs_f64().max(0.0)));
    }

    /// A job ended.
    pub fn job_ended(&self, outcome: Outcome) {
        self.0.job_results.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
        if outcome == Outcome::Succeeded {
            self.0.applied_jobs.inc();
            self.0.job_lag.set(0.0);
        }
    }

    /// How the link is; called by the conversation only.
    pub fn connectivity(&self, state: &LinkState) {
        let value = match state.session {
            State::Unregistered | State::Rejected(_) => -1,
            State::Resyncing | State::Active if state.disconnected => -1,
            State::Resyncing | State::Active => i64::from(state.reached && state.problem.is_empty()),
        };
        self.0.connectivity.get_or_create(&ModeLabel { mode: "pull" }).set(value);
        self.0.events_dropped.set(i64::try_from(state.dropped_events).unwrap_or(i64::MAX));
    }

    /// So many events wait.
    pub fn event_buffer(&self, waiting: usize) {
        self.0.event_buffer.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// The credential is so old.
    pub fn credential_age(&self, age: SignedDuration) {
        self.0.credential_age.set(age.as_secs_f64().max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        let metrics = Metrics::new();
        metrics.job_ended(Outcome::Succeeded);
        let text = metrics.text();
        for line in [
            "vworkspace_operator_pull_job_lag_seconds 0.0",
            "vworkspace_operator_connectivity_state{mode=\"pull\"} -1",
            "vworkspace_operator_applied_jobs_total 1",
            "vworkspace_operator_event_buffer_occupancy 0",
            "vworkspace_operator_credential_age_seconds 0.0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
