//! A registration token that the control plane rejected.

use super::validate::Registration;
use crate::marks::marks;
use jiff::{SignedDuration, Timestamp};
use vworkspace_core::agent::session::rejection_delay;
use vworkspace_crds::Cluster;

/// A token that the control plane rejected, and why; kept in memory. It is tried again after a growing delay, and at once
/// when anything about the exchange or the object changes: another token, URL or CA, a label, an annotation.
#[derive(Clone, PartialEq, Eq)]
pub struct RejectedToken {
    registration: Registration,
    /// The object's generation, labels and annotations.
    shape: (Option<i64>, String),
    reason: String,
    /// When it is tried again.
    pub retry_at: Timestamp,
    /// So many rejections in a row.
    count: u32,
}

impl RejectedToken {
    /// Once it was rejected `now`, and perhaps before. `random` is uniform in 0..1.
    pub fn new(
        earlier: Option<Self>,
        registration: &Registration,
        cluster: &Cluster,
        reason: String,
        now: Timestamp,
        random: f64,
    ) -> Self {
        let (registration, shape) = (registration.clone(), shape(cluster));
        let earlier =
            earlier.filter(|earlier| earlier.registration == registration && earlier.shape == shape);
        let before = earlier.map_or(0, |earlier| earlier.count);
        let delay = SignedDuration::try_from(rejection_delay(before, random)).unwrap_or_default();
        let retry_at = now.saturating_add(delay).unwrap_or(now);
        Self { registration, shape, reason, retry_at, count: before.saturating_add(1) }
    }

    /// For people.
    pub fn message(&self) -> String {
        let at = vworkspace_protocol::time::whole_seconds(self.retry_at);
        format!("{}; tried again at {at}, or at once with another token", self.reason)
    }

    /// Whether this exchange is not to be made yet.
    pub fn holds_back(&self, registration: &Registration, cluster: &Cluster, now: Timestamp) -> bool {
        self.registration == *registration && self.shape == shape(cluster) && now < self.retry_at
    }
}

fn shape(cluster: &Cluster) -> (Option<i64>, String) {
    (cluster.metadata.generation, marks(&cluster.metadata))
}
