//! From status writes to reports: what changed between two lists of conditions.
//!
//! Reconcilers call [`Reporter::transition`] after each successful status write; the agent's outbox takes it from
//! there. What a write changed whose answer was lost, or what others wrote, is told when the watch brings it. With the
//! agent off the reporter drops everything and reconciling works unchanged (seed, "Implemented behavior").

use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::sync::mpsc;
use vworkspace_core::agent::transition::ContentChange;
use vworkspace_protocol::{Condition, ObjectRef};

/// Most observations that wait for the outbox; one more is dropped and logged, and what it told is told by the next
/// snapshot: conditions as they are then, and the end of what was there at an earlier snapshot or before this process.
/// The end of an object that came and went since is found by the next process.
pub const QUEUE: usize = 1_000;

/// What a reconciler saw change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Conditions of an object after a status write, and before it.
    Conditions {
        /// The object, with uid and generation.
        object: ObjectRef,
        /// After the write, as [`version_of`] gives it.
        version: u64,
        /// Before the write.
        before: Vec<Condition>,
        /// After the write.
        after: Vec<Condition>,
    },
    /// Conditions of an object that changed, whoever changed them.
    Seen {
        /// The object, with uid and generation.
        object: ObjectRef,
        /// As of when they were seen, as [`version_of`] gives it.
        version: u64,
        /// All of them.
        conditions: Vec<Condition>,
    },
    /// Flux replaced the content of an application with no change of its spec.
    Changed {
        /// The ApplicationInstance, with uid and generation.
        object: ObjectRef,
        /// From what to what, and when.
        change: ContentChange,
    },
    /// The object is gone.
    Deleted {
        /// The object, with uid.
        object: ObjectRef,
    },
    /// The credential was exchanged for a new one.
    Rotated {
        /// The Cluster.
        object: ObjectRef,
        /// Id of the rotation.
        rotation: String,
        /// When the new credential was issued.
        at: Timestamp,
    },
}

/// Which of two readings of one object is the later one; nought where that is not known.
pub fn version_of<K: kube::Resource>(object: &K) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Hands observations to the agent; cheap to clone.
#[derive(Clone, Default)]
pub struct Reporter(Option<mpsc::Sender<Observation>>);

impl Reporter {
    /// A reporter for an operator whose agent is off.
    pub fn off() -> Self {
        Self(None)
    }

    /// A reporter and the queue the agent reads.
    pub fn channel() -> (Self, mpsc::Receiver<Observation>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(Some(sender)), receiver)
    }

    /// Tells what a status write changed, and the version it led to; nothing when it changed nothing.
    pub fn transition(&self, object: ObjectRef, version: u64, before: Vec<Condition>, after: Vec<Condition>) {
        if before != after {
            self.send(Observation::Conditions { object, version, before, after });
        }
    }

    /// Tells what the conditions of an object are that changed. What was told when it was written is not told again.
    pub fn seen(&self, object: ObjectRef, version: u64, conditions: Vec<Condition>) {
        self.send(Observation::Seen { object, version, conditions });
    }

    /// Reports that the content of an application was replaced with no change of its spec.
    pub fn changed(&self, object: ObjectRef, change: ContentChange) {
        self.send(Observation::Changed { object, change });
    }

    /// Tells that an object is gone.
    pub fn deleted(&self, object: ObjectRef) {
        self.send(Observation::Deleted { object });
    }

    /// Tells that the credential was rotated. Answers whether it will be: a full queue takes it another time.
    #[must_use]
    pub fn rotated(&self, object: ObjectRef, rotation: String, at: Timestamp) -> bool {
        let observation = Observation::Rotated { object, rotation, at };
        self.0.as_ref().is_none_or(|sender| sender.try_send(observation).is_ok())
    }

    fn send(&self, observation: Observation) {
        if let Some(sender) = &self.0
            && sender.try_send(observation).is_err()
        {
            tracing::warn!(
                "reporter queue is full or closed; the next snapshot repairs the control plane's view"
            );
        }
    }
}
