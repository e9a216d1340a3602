//! Is this job a replay? (contract, section 2)
//!
//! A job id counts always, as long as the payload is the same. A key given by the control plane is compared with the whole ledger. A computed key counts
//! only if it is the last one recorded for its object, so that apply A, apply B, apply A again ends at A.

mod entry;
mod ledger;

pub use entry::Entry;
#[cfg(test)]
use ledger::AGED_AT_ONCE;
pub use ledger::{Ledger, MAX_AGE, MAX_ENTRIES};

use crate::{agent::ObjectKey, canonical};
use serde::Deserialize;
use vworkspace_protocol::{Job, JobKind, limits};

/// Same key, same effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobKey {
    /// The key as recorded.
    pub text: String,
    /// 16 hex digits over the payload.
    pub digest: String,
    /// Who made it.
    pub origin: KeyOrigin,
}

/// Who made a key, which decides how far it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The control plane: compared with the whole ledger.
    Given,
    /// This agent, from the payload: compared with the last one of the object.
    Computed,
}

impl JobKey {
    /// The key of a job about `object`. Given keys are cut to their bound; the surrounding white space is not part
    /// of them (reference contract, section 3.3). A computed key beyond it is kept by its digest.
    pub fn of(job: &Job, object: &ObjectKey) -> Self {
        let (given, digest) = (job.idempotency_key.trim(), payload_digest(job.payload.get()));
        if given.is_empty() {
            let text = entry::bounded_key(computed_key(job, object, &digest));
            Self { text, digest, origin: KeyOrigin::Computed }
        } else {
            let text = limits::clip(given, limits::IDEMPOTENCY_KEY_BYTES).to_owned();
            Self { text, digest, origin: KeyOrigin::Given }
        }
    }
}

fn computed_key(job: &Job, object: &ObjectKey, digest: &str) -> String {
    match &job.kind {
        JobKind::Intent => format!("intent/{}/{digest}", intent_name(job)),
        JobKind::Apply | JobKind::Delete | JobKind::Other(_) => format!("{object}@{digest}"),
    }
}

/// 16 hex digits over the canonical payload; over the bytes as they came where it has no canonical form.
fn payload_digest(payload: &str) -> String {
    let canonical = canonical::read(payload).map(|form| form.bytes);
    let digest = canonical::sha256(canonical.as_deref().unwrap_or(payload.as_bytes()));
    hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8]))
}

fn intent_name(job: &Job) -> String {
    #[derive(Deserialize)]
    struct Named {
        intent: String,
    }
    serde_json::from_str::<Named>(job.payload.get()).map(|named| named.intent).unwrap_or_default()
}

#[cfg(test)]
mod tests;
