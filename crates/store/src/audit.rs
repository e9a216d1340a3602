//! Audit records: who asked for what, written in the transaction that does it.

use crate::{Error, access::AuditActor, codec::micros, connection::Statements};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use uuid::Uuid;

/// One record; what does not apply stays `None`.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) by: AuditActor,
    /// The domain verb, for example `enqueue`.
    pub(crate) action: &'static str,
    pub(crate) organization: Option<i64>,
    pub(crate) cluster: Option<i64>,
    pub(crate) job: Option<Uuid>,
    /// For people; no secret.
    pub(crate) detail: String,
}

impl Record {
    pub(crate) fn new(by: &AuditActor, action: &'static str, detail: impl Into<String>) -> Self {
        Self { by: by.clone(), action, organization: None, cluster: None, job: None, detail: detail.into() }
    }

    pub(crate) fn cluster(self, row: i64) -> Self {
        Self { cluster: Some(row), ..self }
    }

    pub(crate) fn organization(self, row: i64) -> Self {
        Self { organization: Some(row), ..self }
    }

    pub(crate) fn job(self, id: Uuid) -> Self {
        Self { job: Some(id), ..self }
    }

    pub(crate) fn write(&self, connection: &Connection, now: Timestamp) -> Result<(), Error> {
        connection.run(
            "INSERT INTO audit (at, actor_kind, actor, action, organization, cluster, job, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                micros(now),
                self.by.kind,
                self.by.name,
                self.action,
                self.organization,
                self.cluster,
                self.job,
                self.detail
            ],
        )?;
        Ok(())
    }
}
