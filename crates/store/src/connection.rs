//! SQLite connections and how statements are run on them.

use crate::Error;
use rusqlite::{Connection, OpenFlags, Params, Row};
use std::{fs::OpenOptions, ops::ControlFlow, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

/// Prepared statements kept per connection; the store has fewer.
const STATEMENTS: usize = 128;
/// A lock of the database file is only ever held for moments (a checkpoint, a recovery).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the connection that writes; makes the file, for its owner alone, where absent.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, Error> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // FULL: what was answered survives a power cut. The write-ahead log is kept short after bursts.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;",
    )?;
    tune(connection)
}

/// Opens a connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Error> {
    // Read-write flags: a read-only open cannot take part in the log's shared memory after a crash.
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // A small cache: what is asked for often is known without the database, the rest the kernel caches.
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024;")?;
    tune(connection)
}

/// A database in memory, empty.
pub(crate) fn open_memory() -> Result<Connection, Error> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;")?;
    tune(connection)
}

fn tune(connection: Connection) -> Result<Connection, Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Statements by text, each prepared once per connection.
pub(crate) trait Statements {
    /// Runs a statement; answers the number of rows it changed.
    fn run(&self, sql: &str, params: impl Params) -> Result<usize, Error>;

    /// Inserts a row; answers its rowid.
    fn add(&self, sql: &str, params: impl Params) -> Result<i64, Error>;

    /// At most one row.
    fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error>;

    /// All rows; the statement bounds them.
    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error>;

    /// One row after the other, until `see` has enough.
    fn each(
        &self,
        sql: &str,
        params: impl Params,
        see: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error>;
}

impl Statements for Connection {
    fn run(&self, sql: &str, params: impl Params) -> Result<usize, Error> {
        Ok(self.prepare_cached(sql)?.execute(params)?)
    }

    fn add(&self, sql: &str, params: impl Params) -> Result<i64, Error> {
        Ok(self.prepare_cached(sql)?.insert(params)?)
    }

    fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        Ok(rows.next()?.map(read).transpose()?)
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        Ok(self.prepare_cached(sql)?.query_map(params, read)?.collect::<Result<_, _>>()?)
    }

    fn each(
        &self,
        sql: &str,
        params: impl Params,
        mut see: impl FnMut(&Row<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            if see(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
