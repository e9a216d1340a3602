//! What the ledger keeps of one job.

use crate::{
    agent::{ObjectKey, object_key::bounded_ref},
    canonical,
    planted::{Bug, planted},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vworkspace_protocol::{JobId, ObjectRef, Outcome, limits};

/// Longest job id kept as it is.
const ID_BYTES: usize = 128;
/// Length of a payload's digest.
const DIGEST_BYTES: usize = 16;
/// Longest reason of a failure.
const ERROR_BYTES: usize = 1024;

/// One job that is over: it took effect, was refused for good, or repeated one; it is not to have an effect later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    #[serde(rename = "k")]
    pub key: String,
    /// Its id.
    #[serde(rename = "j")]
    pub job: JobId,
    /// Digest of its payload; empty where a former version recorded it, which kept none.
    #[serde(rename = "d", default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// How it ended.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// Why, where it failed.
    #[serde(rename = "e", default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The object it took effect on; absent: it had none.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub applied_ref: Option<ObjectRef>,
    /// The object that it may have changed all the same, where nobody knows whether it took effect.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub may_have_changed: Option<ObjectRef>,
    /// When it ended.
    #[serde(rename = "t")]
    pub at: Timestamp,
}

impl Entry {
    /// The object of which it is the last job from here on: what was recorded of that before may not hold any more.
    pub fn object(&self) -> Option<ObjectKey> {
        self.applied_ref.as_ref().or(self.may_have_changed.as_ref()).map(ObjectKey::from)
    }

    /// Whether it may be the entry of a job with this payload.
    pub(super) fn is_of(&self, digest: &str) -> bool {
        self.digest.is_empty() || self.digest == digest || planted(Bug::ReplayWhateverPayload)
    }

    /// The entry with every text within its bound, so that a shard holds it whatever the job was like: keys and ids by
    /// digest, the rest cut.
    #[must_use]
    pub(super) fn bounded(mut self) -> Self {
        self.key = bounded_key(self.key);
        self.job = bounded_id(&self.job);
        self.digest.truncate(limits::clip(&self.digest, DIGEST_BYTES).len());
        self.error.truncate(limits::clip(&self.error, ERROR_BYTES).len());
        self.applied_ref = self.applied_ref.map(bounded_ref);
        self.may_have_changed = self.may_have_changed.map(bounded_ref);
        self
    }
}

/// The key itself, or its digest where it is too long to be kept.
pub(super) fn bounded_key(key: String) -> String {
    if key.len() > limits::IDEMPOTENCY_KEY_BYTES { digest(&key) } else { key }
}

/// The id itself, or its digest where it is too long to be kept.
pub(super) fn bounded_id(id: &JobId) -> JobId {
    if id.as_str().len() > ID_BYTES { JobId::new(digest(id.as_str())) } else { id.clone() }
}

fn digest(text: &str) -> String {
    format!("sha256:{}", canonical::sha256_hex(text.as_bytes()))
}
