//! The journal: one Secret per open job in the operator's own namespace, since a payload may hold secrets.

use crate::{agent::own_objects::OwnObjects, cause::cause};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use vworkspace_core::{
    agent::work::{Record, SaveError},
    backoff::Backoff,
    canonical,
};
use vworkspace_crds::key::{JOURNAL, JOURNAL_OF_JOBS, JOURNAL_RECORD, JOURNAL_SECRET_PREFIX};
use vworkspace_protocol::JobId;

/// Secrets per page when the journal is read.
const PAGE: u32 = 100;

/// Where open jobs outlive the process; cheap to clone.
#[derive(Clone)]
pub struct Journal {
    secrets: OwnObjects<Secret>,
}

impl Journal {
    /// The journal in the operator's namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { secrets: OwnObjects::new(client, namespace) }
    }

    /// Every open job; tries until the API server answers. A record that cannot be read is logged and left where it
    /// is, for people.
    pub async fn load(&self) -> Vec<Record> {
        let mut backoff = Backoff::default();
        loop {
            match self.secrets.list(&format!("{JOURNAL}={JOURNAL_OF_JOBS}"), PAGE).await {
                Ok(secrets) => return secrets.iter().filter_map(record_of).collect(),
                Err(error) => {
                    let error = cause(&error);
                    tracing::warn!(
                        error,
                        "cannot load the job journal, retrying; no jobs are accepted until it is loaded"
                    );
                    tokio::time::sleep(backoff.handle_failure(None, rand::random())).await;
                }
            }
        }
    }

    /// Makes the record durable in place of the job's former one.
    ///
    /// # Errors
    /// [`SaveError::Never`] when the API server refuses the record as such.
    pub async fn save(&self, record: &Record) -> Result<(), SaveError> {
        let text = serde_json::to_vec(record).map_err(|error| SaveError::Never(error.to_string()))?;
        let name = name_of(&record.job.id);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "labels": {JOURNAL: JOURNAL_OF_JOBS}},
            "data": {JOURNAL_RECORD: ByteString(text)},
        });
        match self.secrets.put(&name, &secret).await {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 413 | 422) => {
                Err(SaveError::Never(status.message))
            }
            Err(error) => {
                let error = cause(&error);
                tracing::warn!(error, job_id = %record.job.id, "cannot store a job in the journal, retrying");
                Err(SaveError::Later)
            }
        }
    }

    /// Takes a job out; answers whether it is out now.
    pub async fn remove(&self, job: &JobId) -> bool {
        match self.secrets.delete(&name_of(job)).await {
            Ok(()) => true,
            Err(error) => {
                let error = cause(&error);
                tracing::warn!(error, job_id = %job, "cannot remove a finished job from the journal, retrying");
                false
            }
        }
    }
}

/// Job ids are opaque and may be anything; names of Secrets may not.
fn name_of(job: &JobId) -> String {
    let digest = canonical::sha256(job.as_str().as_bytes());
    format!("{JOURNAL_SECRET_PREFIX}{}", hex::encode(digest.first_chunk::<16>().unwrap_or(&[0; 16])))
}

fn record_of(secret: &Secret) -> Option<Record> {
    let text = secret.data.as_ref().and_then(|data| data.get(JOURNAL_RECORD)).map(|bytes| bytes.0.as_slice());
    match serde_json::from_slice(text.unwrap_or_default()) {
        Ok(record) => Some(record),
        Err(error) => {
            // The error names a position, never the payload.
            let (line, column) = (error.line(), error.column());
            tracing::error!(
                secret = secret.name_any(),
                line,
                column,
                "a record of the journal cannot be read"
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_id_is_its_secret_has_a_legal_name() {
        for id in ["", "A/B c", "\u{0}", &"x".repeat(10_000)] {
            let name = name_of(&JobId::new(id));
            assert_eq!(name.len(), JOURNAL_SECRET_PREFIX.len() + 32);
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was_and_an_unreadable_one_is_left_out() {
        let text = r#"{"ticket":7,"job":{"id":"j","kind":"apply","payload":{"b":1,"a":2}}}"#;
        let data = |text: &str| [(JOURNAL_RECORD.to_owned(), ByteString(text.as_bytes().to_vec()))].into();
        let read = record_of(&Secret { data: Some(data(text)), ..Secret::default() }).unwrap();
        assert_eq!((read.ticket, read.job.payload.get()), (7, r#"{"b":1,"a":2}"#));
        assert!(record_of(&Secret { data: Some(data("{")), ..Secret::default() }).is_none());
        assert!(record_of(&Secret::default()).is_none());
    }
}
