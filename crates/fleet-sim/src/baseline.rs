//! What the disk allows: single-row SQLite transactions, as durable as the server's, one after the other.

use crate::latency::{Latencies, Summary};
use rusqlite::Connection;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How long is measured.
const SPAN: Duration = Duration::from_secs(3);
/// Bytes of the row each transaction inserts: about a small job.
const ROW_BYTES: usize = 512;

/// Commits in a fresh database in `folder`.
pub struct Baseline {
    /// Commits a second.
    pub per_second: f64,
    /// How long one takes.
    pub commit: Summary,
}

/// Measures; blocks for three seconds.
pub fn measure(folder: &Path) -> anyhow::Result<Baseline> {
    let folder = tempfile::tempdir_in(folder)?;
    let connection = Connection::open(folder.path().join("baseline.db"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
         CREATE TABLE row (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT",
    )?;
    let mut insert = connection.prepare("INSERT INTO row (body) VALUES (?1)")?;
    let body = [7u8; ROW_BYTES];
    let mut commits = Latencies::default();
    let begin = Instant::now();
    while begin.elapsed() < SPAN {
        let start = Instant::now();
        insert.execute([&body[..]])?;
        commits.add(start.elapsed());
    }
    let seconds = begin.elapsed().as_secs_f64();
    let commit = commits.summary();
    Ok(Baseline { per_second: commit.samples as f64 / seconds, commit })
}
