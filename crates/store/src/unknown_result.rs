//! Results for jobs that this database does not know, as after a restore: kept under the cluster that reported them.

use crate::{
    Cluster, Error, Handle, PageRequest, Read, Serve, Store,
    codec::{from_json, known_id, micros, outcome, time, to_json},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use std::ops::ControlFlow;
use uuid::Uuid;
use vworkspace_protocol::{
    JobId,
    admin::{UnknownResult, UnknownResultPage},
    limits::clip,
    outcome::JobResult,
};

/// Most results kept of one cluster (contract, section 4). Overflow rule: the oldest goes.
const MOST: i64 = 1000;
/// Longest error kept.
const ERROR_BYTES: usize = 2 * 1024;
/// Longest reference to an object kept, as JSON.
const OBJECT_BYTES: usize = 4 * 1024;

impl Store {
    /// Keeps a result for a job that is not known, or not this cluster's: the caller cannot tell the two apart. The first
    /// result of a job counts. An id that is none of ours is not kept.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn keep_unknown_result(
        &self,
        cluster: &Handle<Cluster, Serve>,
        job: &JobId,
        result: JobResult,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Ok(id) = known_id(job.as_str()) else { return Ok(()) };
        let object = result.applied_ref.as_ref().map(to_json).transpose()?;
        let object = object.filter(|text| text.len() <= OBJECT_BYTES);
        let row = cluster.row;
        self.write(move |connection| {
            connection.run(
                "INSERT INTO unknown_result (cluster, n, job, outcome, error, applied_ref, received_at)
                 VALUES (?1, (SELECT coalesce(max(n), 0) + 1 FROM unknown_result WHERE cluster = ?1), ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (cluster, job) DO NOTHING",
                params![
                    row,
                    id,
                    result.outcome.as_str(),
                    clip(&result.error, ERROR_BYTES),
                    object,
                    micros(now)
                ],
            )?;
            connection.run(
                "DELETE FROM unknown_result WHERE cluster = ?1
                 AND n <= (SELECT max(n) FROM unknown_result WHERE cluster = ?1) - ?2",
                params![row, MOST],
            )?;
            Ok(())
        })
        .await
    }

    /// The results that are kept of a cluster, newest first.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn unknown_results(
        &self,
        cluster: &Handle<Cluster, Read>,
        page: &PageRequest,
    ) -> Result<UnknownResultPage, Error> {
        let list = self.inner.cursors.list("unknown results", Some(cluster.row));
        let before = page.after::<i64>(&list)?.unwrap_or(i64::MAX);
        let (row, rows) = (cluster.row, page.rows());
        let mut page = page.filling();
        let fill = move |connection: &Connection| {
            let select = "SELECT n, job, outcome, error, applied_ref, received_at FROM unknown_result
                 WHERE cluster = ?1 AND n < ?2 ORDER BY n DESC LIMIT ?3";
            connection.each(select, params![row, before, rows], |row| {
                let (error, object): (String, Option<String>) = (row.get(3)?, row.get(4)?);
                let bytes = error.len() + object.as_ref().map_or(0, String::len);
                let shown = UnknownResult {
                    job_id: JobId::new(row.get::<_, Uuid>(1)?.to_string()),
                    outcome: outcome(&row.get::<_, String>(2)?)?,
                    error,
                    applied_ref: object.map(|text| from_json("appliedRef", &text)).transpose()?,
                    received_at: time(row.get(5)?),
                };
                Ok::<ControlFlow<()>, Error>(page.add((row.get::<_, i64>(0)?, shown), bytes))
            })?;
            Ok(page)
        };
        let (items, next_cursor) = self.read(fill).await?.finish(&list, |(n, _)| *n)?;
        Ok(UnknownResultPage { items: items.into_iter().map(|(_, shown)| shown).collect(), next_cursor })
    }
}
