//! Metrics, by the names of the reference (reference contract, section 10.2) and a few of our own.
//!
//! Counters and durations are anybody's to add to. A gauge has one owner: [`Gauges`] is handed out once, and each part of
//! it can be moved and not cloned.

use crate::{agent::conversation::LinkState, clock};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use vworkspace_core::agent::session::State;
use vworkspace_protocol::{Job, Outcome};

/// Bounds of the durations of reconciles, in seconds: those of controller-runtime, less a few.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// No credential was issued.
const NEVER: i64 = i64::MIN;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabel {
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabel {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    controller: &'static str,
    outcome: &'static str,
}

/// Who reconciles, as the reference's label `controller` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Of ApplicationInstance.
    ApplicationInstance,
    /// Of Cluster.
    Cluster,
}

/// How a reconcile ended, by the words of controller-runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing to do before something changes.
    Success,
    /// It looks again after a while.
    RequeueAfter,
    /// It failed and is tried again.
    Error,
}

impl Controller {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ApplicationInstance => "applicationinstance",
            Self::Cluster => "cluster",
        }
    }
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error => "error",
        }
    }
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the process; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    applied_jobs: Counter,
    job_results: Family<OutcomeLabel, Counter>,
    reconciles: Family<ResultLabels, Counter>,
    reconcile_errors: Family<ControllerLabel, Counter>,
    reconcile_time: Durations<ControllerLabel>,
    reconcile_ends: Durations<EndLabels>,
    credential_age: Gauge<f64, AtomicU64>,
    credential_issued_ms: Arc<AtomicI64>,
}

/// Every gauge, for its owner.
pub struct Gauges {
    /// The conversation's.
    pub link: LinkGauges,
    /// The jobs'.
    pub jobs: JobGauges,
    /// The Cluster controller's.
    pub credential: CredentialGauge,
}

/// How the link is.
pub struct LinkGauges {
    connectivity: Family<ModeLabel, Gauge>,
    event_buffer: Gauge,
    events_dropped: Gauge,
}

/// How far jobs are behind.
pub struct JobGauges {
    lag: Gauge<f64, AtomicU64>,
}

/// How old the credential is.
pub struct CredentialGauge {
    issued_ms: Arc<AtomicI64>,
}

impl Metrics {
    /// Metrics with nothing counted, and the gauges.
    pub fn new() -> (Self, Gauges) {
        let link = LinkGauges {
            connectivity: Family::default(),
            event_buffer: Gauge::default(),
            events_dropped: Gauge::default(),
        };
        let jobs = JobGauges { lag: Gauge::default() };
        let credential = CredentialGauge { issued_ms: Arc::new(AtomicI64::new(NEVER)) };
        let mut inner = Inner {
            registry: Registry::default(),
            applied_jobs: Counter::default(),
            job_results: Family::default(),
            reconciles: Family::default(),
            reconcile_errors: Family::default(),
            reconcile_time: Family::new_with_constructor(durations),
            reconcile_ends: Family::new_with_constructor(durations),
            credential_age: Gauge::default(),
            credential_issued_ms: credential.issued_ms.clone(),
        };
        inner.register(&link, &jobs);
        link.show(&LinkState::default());
        (Self(Arc::new(inner)), Gauges { link, jobs, credential })
    }

    /// The text that `/metrics` answers with.
    pub fn text(&self) -> String {
        let issued = self.0.credential_issued_ms.load(Ordering::Relaxed);
        let age = (issued != NEVER).then(|| clock::now().as_millisecond().saturating_sub(issued));
        let age = u64::try_from(age.unwrap_or(0)).unwrap_or(0);
        self.0.credential_age.set(Duration::from_millis(age).as_secs_f64());
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _infallible = encode(&mut text, &self.0.registry);
        text
    }

    /// A job ended.
    pub fn job_ended(&self, outcome: Outcome) {
        self.0.job_results.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
        if outcome == Outcome::Succeeded {
            self.0.applied_jobs.inc();
        }
    }

    /// A reconcile ended.
    pub fn reconciled(&self, controller: Controller, end: End, took: Duration) {
        let (controller, outcome, seconds) = (controller.as_str(), end.as_str(), took.as_secs_f64());
        self.0.reconciles.get_or_create(&ResultLabels { controller, result: outcome }).inc();
        let errors = self.0.reconcile_errors.get_or_create(&ControllerLabel { controller });
        errors.inc_by(u64::from(end == End::Error));
        self.0.reconcile_time.get_or_create(&ControllerLabel { controller }).observe(seconds);
        self.0.reconcile_ends.get_or_create(&EndLabels { controller, outcome }).observe(seconds);
    }
}

impl Inner {
    /// The text format adds `_total` to the names of counters.
    fn register(&mut self, link: &LinkGauges, jobs: &JobGauges) {
        let ours = self.registry.sub_registry_with_prefix("vworkspace_operator");
        ours.register("pull_job_lag_seconds", "Age of the oldest job of the last poll", jobs.lag.clone());
        ours.register(
            "connectivity_state",
            "1 connected, 0 reconnecting, -1 disconnected or not registered",
            link.connectivity.clone(),
        );
        ours.register("applied_jobs", "Jobs that succeeded", self.applied_jobs.clone());
        ours.register("job_results", "Jobs that ended, by outcome", self.job_results.clone());
        ours.register("event_buffer_occupancy", "Events that wait for delivery", link.event_buffer.clone());
        ours.register(
            "events_dropped",
            "Events dropped because the buffer was full",
            link.events_dropped.clone(),
        );
        ours.register(
            "credential_age_seconds",
            "Time since the credential was issued",
            self.credential_age.clone(),
        );
        ours.register(
            "reconcile_duration_seconds",
            "Duration of reconciles, by how they ended",
            self.reconcile_ends.clone(),
        );
        let standard = self.registry.sub_registry_with_prefix("controller_runtime");
        standard.register("reconcile", "Reconciles, by how they ended", self.reconciles.clone());
        standard.register("reconcile_errors", "Reconciles that failed", self.reconcile_errors.clone());
        standard.register("reconcile_time_seconds", "Duration of reconciles", self.reconcile_time.clone());
    }
}

impl LinkGauges {
    /// How the link is now.
    pub fn show(&self, state: &LinkState) {
        let value = match state.session {
            State::Unregistered | State::Rejected(_) => -1,
            State::Resyncing | State::Active if state.disconnected => -1,
            State::Resyncing | State::Active => i64::from(state.reached && state.problem.is_empty()),
        };
        self.connectivity.get_or_create(&ModeLabel { mode: "pull" }).set(value);
        self.events_dropped.set(i64::try_from(state.dropped_events).unwrap_or(i64::MAX));
    }

    /// So many events wait.
    pub fn event_buffer(&self, waiting: usize) {
        self.event_buffer.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

impl JobGauges {
    /// A poll returned these jobs.
    pub fn polled(&self, jobs: &[Job], now: Timestamp) {
        let oldest = jobs.iter().filter_map(|job| job.created_at).min();
        self.lag.set(oldest.map_or(0.0, |created| now.duration_since(created).as_secs_f64().max(0.0)));
    }

    /// A job succeeded.
    pub fn succeeded(&self) {
        self.lag.set(0.0);
    }
}

impl CredentialGauge {
    /// The credential was issued then; its age grows by itself.
    pub fn issued(&self, at: Timestamp) {
        self.issued_ms.store(at.as_millisecond(), Ordering::Relaxed);
    }
}

fn durations() -> Histogram {
    Histogram::new(BOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every series of reference contract 10.2 that code of the reference has, by exact name, type and labels.
    #[test]
    fn names_types_and_labels_are_those_of_the_reference() {
        let (metrics, gauges) = Metrics::new();
        metrics.job_ended(Outcome::Succeeded);
        metrics.job_ended(Outcome::Noop);
        for controller in [Controller::ApplicationInstance, Controller::Cluster] {
            metrics.reconciled(controller, End::Success, Duration::from_millis(20));
        }
        gauges.link.event_buffer(3);
        let text = metrics.text();
        for line in [
            "# TYPE vworkspace_operator_pull_job_lag_seconds gauge",
            "vworkspace_operator_pull_job_lag_seconds 0.0",
            "# TYPE vworkspace_operator_connectivity_state gauge",
            "vworkspace_operator_connectivity_state{mode=\"pull\"} -1",
            "# TYPE vworkspace_operator_applied_jobs counter",
            "vworkspace_operator_applied_jobs_total 1",
            "# TYPE vworkspace_operator_event_buffer_occupancy gauge",
            "vworkspace_operator_event_buffer_occupancy 3",
            "# TYPE vworkspace_operator_credential_age_seconds gauge",
            "vworkspace_operator_credential_age_seconds 0.0",
            "controller_runtime_reconcile_total{controller=\"applicationinstance\",result=\"success\"} 1",
            "controller_runtime_reconcile_total{controller=\"cluster\",result=\"success\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"cluster\"} 0",
            "# TYPE controller_runtime_reconcile_time_seconds histogram",
            "controller_runtime_reconcile_time_seconds_count{controller=\"applicationinstance\"} 1",
            "vworkspace_operator_reconcile_duration_seconds_bucket{le=\"0.025\",controller=\"cluster\",outcome=\"success\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn connectivity_is_connected_reconnecting_or_disconnected() {
        let (metrics, gauges) = Metrics::new();
        let shown = |state: LinkState| {
            gauges.link.show(&state);
            let text = metrics.text();
            let value = text.split("connectivity_state{mode=\"pull\"} ").nth(1).unwrap();
            value.lines().next().unwrap().to_owned()
        };
        let active = LinkState { session: State::Active, reached: true, ..LinkState::default() };
        assert_eq!(shown(active.clone()), "1");
        assert_eq!(shown(LinkState { problem: "timed out".into(), ..active.clone() }), "0");
        assert_eq!(shown(LinkState { reached: false, ..active.clone() }), "0");
        assert_eq!(shown(LinkState { disconnected: true, ..active }), "-1");
        assert_eq!(shown(LinkState::default()), "-1");
    }

    #[test]
    fn the_age_of_the_credential_grows_from_its_issue_and_not_from_the_last_look() {
        let (metrics, gauges) = Metrics::new();
        gauges.credential.issued(clock::now() - jiff::SignedDuration::from_hours(1));
        let text = metrics.text();
        let age = text.split("credential_age_seconds ").last().unwrap().lines().next().unwrap();
        assert!(age.parse::<f64>().unwrap() >= 3_600.0, "{age}");
    }
}
