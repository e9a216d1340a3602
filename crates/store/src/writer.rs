//! The one place that writes: calls queue up here, a [`Committer`] commits them in groups.
//!
//! ```text
//!   calls ──bounded queue──► BEGIN IMMEDIATE, call, call, call, COMMIT ──► an answer to each, once durable
//! ```
//!
//! A group is whatever queued up during the previous commit: no timer, so an idle store answers at once and a busy
//! one shares each flush to disk among many calls. A call that fails before it changed anything costs nothing; one
//! that fails halfway makes its group run once more with a savepoint per call, so that it spoils nobody else's. A
//! group that the disk has no room for is committed call by call, so that a large one does not spoil the small ones.
//!
//! A database in a file has a thread of its own for that. One in memory is committed by whoever opened it, when it
//! likes: a simulation decides what was durable at a crash.

use crate::{
    Error,
    connection::Statements,
    known::Known,
    tally::{Counters, Tally},
};
use rusqlite::Connection;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Instant,
};
use tokio::sync::{mpsc, oneshot};
use vworkspace_core::{
    control::write_health::{WriteFault, WriteHealth, WriteState},
    planted::{Bug, planted},
};

/// Most calls in one group: bounds how long the first of them waits.
const MOST_IN_GROUP: usize = 1024;

/// The queue's sending end; dropping it lets the queued calls finish and waits for the thread, if there is one.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Call>>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
    health: Arc<Mutex<WriteHealth>>,
}

/// The queue's receiving end, with the connection that writes. Dropping it loses what was not committed, as a crash
/// does.
pub struct Committer {
    connection: Arc<Mutex<Connection>>,
    queue: mpsc::Receiver<Box<dyn Call>>,
    known: Arc<Known>,
    counters: Arc<Counters>,
    health: Arc<Mutex<WriteHealth>>,
}

/// Calls that become durable together, or not at all; on a full disk each by itself.
pub struct Group(Vec<Box<dyn Call>>);

impl Writer {
    /// A writer and what commits for it. Overflow rule: with `queue` calls waiting, one more is refused with
    /// [`Error::Busy`].
    pub(crate) fn new(
        connection: Arc<Mutex<Connection>>,
        known: Arc<Known>,
        queue: usize,
    ) -> (Self, Committer) {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let counters = Arc::<Counters>::default();
        let health = Arc::<Mutex<WriteHealth>>::default();
        let writer = Self {
            queue: Some(sender),
            thread: None,
            counters: Arc::clone(&counters),
            health: Arc::clone(&health),
        };
        let committer = Committer { connection, queue: receiver, known, counters, health };
        (writer, committer)
    }

    /// A writer with a thread that commits; the bound is that of [`Writer::new`].
    pub(crate) fn start(connection: Connection, known: Arc<Known>, queue: usize) -> std::io::Result<Self> {
        let (mut writer, mut committer) = Self::new(Arc::new(Mutex::new(connection)), known, queue);
        let work = move || {
            while let Some(first) = committer.queue.blocking_recv() {
                let group = committer.group(first);
                committer.commit(group);
            }
        };
        writer.thread = Some(std::thread::Builder::new().name("store-writer".to_owned()).spawn(work)?);
        Ok(writer)
    }

    /// How many calls wait.
    pub(crate) fn queue_length(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// What the thread has done so far.
    pub(crate) fn tally(&self) -> Tally {
        self.counters.read()
    }

    /// Returns whether the database can be written.
    pub(crate) fn state(&self) -> WriteState {
        lock(&self.health).state(Instant::now())
    }

    /// Returns `true` if no write succeeded since the last one that failed.
    pub(crate) fn needs_probe(&self) -> bool {
        lock(&self.health).needs_probe()
    }

    /// Runs `work` in the next group. It may run twice (the first run then left no trace), so it must have no
    /// effect outside the database.
    pub(crate) async fn call<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let pending = Box::new(Pending { work, outcome: None, answer });
        let queue = self.queue.as_ref().ok_or(Error::Stopped)?;
        queue.try_send(pending).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                lock(&self.health).handle_refused(Instant::now());
                Error::Busy
            }
            mpsc::error::TrySendError::Closed(_) => Error::Stopped,
        })?;
        answered.await.unwrap_or(Err(Error::Stopped))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was logged where it happened; there is nobody left to answer.
            let _ = thread.join();
        }
    }
}

trait Call: Send {
    /// Runs the work and keeps its outcome; false when it failed.
    fn run(&mut self, connection: &Connection) -> bool;

    /// What the database failed with in the last run, if it did.
    fn cause(&self) -> Option<Arc<rusqlite::Error>>;

    /// Answers with the outcome, or with the group's failure: a refusal, too, may have been judged by what is undone
    /// with the group.
    fn answer(self: Box<Self>, group: &Committed);
}

struct Pending<T, W> {
    work: W,
    outcome: Option<Result<T, Error>>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T, W> Call for Pending<T, W>
where
    T: Send,
    W: Fn(&Connection) -> Result<T, Error> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        let outcome =
            catch_unwind(AssertUnwindSafe(|| (self.work)(connection))).unwrap_or(Err(Error::Defect));
        let good = outcome.is_ok();
        self.outcome = Some(outcome);
        good
    }

    fn cause(&self) -> Option<Arc<rusqlite::Error>> {
        match &self.outcome {
            Some(Err(Error::Unavailable(cause))) => Some(Arc::clone(cause)),
            _ => None,
        }
    }

    fn answer(self: Box<Self>, group: &Committed) {
        let outcome = match group {
            Ok(_) => self.outcome.unwrap_or(Err(Error::Defect)),
            Err(error) => Err(Error::Unavailable(Arc::clone(error))),
        };
        // The caller may have gone; the effect stands all the same.
        let _ = self.answer.send(outcome);
    }
}

impl Committer {
    /// Waits for calls and takes all that queued up. `None`: the store is gone.
    pub async fn gather(&mut self) -> Option<Group> {
        let first = self.queue.recv().await?;
        Some(self.group(first))
    }

    fn group(&mut self, first: Box<dyn Call>) -> Group {
        let mut group = vec![first];
        while group.len() < MOST_IN_GROUP
            && let Ok(call) = self.queue.try_recv()
        {
            group.push(call);
        }
        Group(group)
    }

    /// Makes the group durable and answers its calls. Blocks.
    pub fn commit(&self, Group(mut group): Group) {
        // The connection is whole even after a panic: what was begun is rolled back.
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let committed = self.commit_calls(&connection, &mut group);
        let results: Vec<Committed> = match committed {
            // One large call is enough to fill the disk; the small ones beside it may still fit.
            Err(error) if group.len() > 1 && fault(&error) == Some(WriteFault::DiskFull) => {
                group.chunks_mut(1).map(|call| self.commit_calls(&connection, call)).collect()
            }
            other => vec![other; group.len()],
        };
        // Also after a failure: what became of the group is not certain then.
        self.known.settle();
        drop(connection);
        self.counters.group(group.len());
        group.into_iter().zip(&results).for_each(|(call, result)| call.answer(result));
    }

    /// Commits these calls together, or leaves no trace of them.
    fn commit_calls(&self, connection: &Connection, calls: &mut [Box<dyn Call>]) -> Committed {
        lock(&self.health).handle_begun(Instant::now());
        let committed = commit(connection, calls, &self.counters);
        if let Err(error) = &committed {
            log_failure(error, calls.len());
            roll_back(connection);
        }
        let mut health = lock(&self.health);
        let failed = match &committed {
            Ok(_) => calls.iter().filter_map(|call| call.cause()).find_map(|error| fault(&error)),
            Err(error) => fault(error),
        };
        if let Some(fault) = failed {
            health.handle_failed(fault, Instant::now());
        }
        // Second: of a failure and a success in one group, the success says what the disk still accepts.
        health.handle_committed(committed.as_ref().is_ok_and(|wrote| *wrote));
        drop(health);
        committed
    }
}

/// Whether the calls changed anything, or why they left no trace.
type Committed = Result<bool, Arc<rusqlite::Error>>;

fn commit(connection: &Connection, group: &mut [Box<dyn Call>], counters: &Counters) -> Committed {
    let start = Instant::now();
    if planted(Bug::AnswerBeforeCommit) && !connection.is_autocommit() {
        statement(connection, "COMMIT")?;
    }
    let wrote = match run_plainly(connection, group)? {
        Some(wrote) => wrote,
        None => {
            roll_back(connection);
            run_separately(connection, group)?
        }
    };
    let worked = Instant::now();
    let committed = if planted(Bug::AnswerBeforeCommit) { Ok(()) } else { statement(connection, "COMMIT") };
    counters.worked(worked - start);
    counters.committed(worked.elapsed());
    committed.map(|()| wrote).map_err(Arc::new)
}

/// Runs the calls one after the other and returns whether they changed anything; `None` when one failed after it had
/// changed something.
fn run_plainly(connection: &Connection, group: &mut [Box<dyn Call>]) -> rusqlite::Result<Option<bool>> {
    statement(connection, "BEGIN IMMEDIATE")?;
    let start = connection.total_changes();
    for call in group {
        let before = connection.total_changes();
        if !call.run(connection) && (connection.total_changes() != before || connection.is_autocommit()) {
            return Ok(None);
        }
    }
    Ok(Some(connection.total_changes() != start))
}

fn run_separately(connection: &Connection, group: &mut [Box<dyn Call>]) -> Committed {
    statement(connection, "BEGIN IMMEDIATE")?;
    let mut wrote = false;
    for call in group {
        statement(connection, "SAVEPOINT one_call")?;
        let before = connection.total_changes();
        if call.run(connection) {
            wrote |= connection.total_changes() != before;
        } else {
            // Fails when the failure ended the whole transaction (a full disk): then the group fails with it.
            statement(connection, "ROLLBACK TO one_call")
                .map_err(|gone| call.cause().unwrap_or_else(|| Arc::new(gone)))?;
        }
        statement(connection, "RELEASE one_call")?;
    }
    Ok(wrote)
}

/// What a failure says about the database; `None` for one that is about the statement.
fn fault(error: &rusqlite::Error) -> Option<WriteFault> {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code()? {
        Code::DiskFull => Some(WriteFault::DiskFull),
        Code::DatabaseBusy | Code::DatabaseLocked | Code::FileLockingProtocolFailed => {
            Some(WriteFault::Locked)
        }
        Code::SystemIoFailure
        | Code::ReadOnly
        | Code::CannotOpen
        | Code::PermissionDenied
        | Code::DatabaseCorrupt
        | Code::NotADatabase
        | Code::OutOfMemory => Some(WriteFault::Storage),
        _ => None,
    }
}

/// A fault of the database lasts, and its state is logged when it changes; a failure of any other kind is a defect.
fn log_failure(error: &rusqlite::Error, calls: usize) {
    if fault(error).is_some() {
        tracing::debug!(%error, calls, "group of writes failed");
    } else {
        tracing::error!(%error, calls, "group of {calls} writes failed: {error}");
    }
}

fn lock(health: &Mutex<WriteHealth>) -> MutexGuard<'_, WriteHealth> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes what was begun and not committed.
pub(crate) fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.run("ROLLBACK", [])
    {
        tracing::error!(%error, "rolling back failed: {error}");
    }
}

fn statement(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt as _, future::BoxFuture};

    async fn count(writer: &Writer) -> i64 {
        let count = |c: &Connection| c.row("SELECT count(*) FROM t", [], |row| row.get(0));
        writer.call(count).await.unwrap().unwrap()
    }

    fn writer() -> Writer {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT").unwrap();
        Writer::start(connection, Arc::default(), 64).unwrap()
    }

    fn insert(n: i64) -> impl Fn(&Connection) -> Result<(), Error> {
        move |connection| connection.run("INSERT INTO t VALUES (?1)", [n]).map(drop)
    }

    #[tokio::test]
    async fn a_call_that_fails_halfway_spoils_nobody_elses() {
        let writer = writer();
        let halfway = |connection: &Connection| {
            connection.run("INSERT INTO t VALUES (100)", [])?;
            Err::<(), _>(Error::NotFound)
        };
        let panics = |connection: &Connection| -> Result<(), Error> {
            connection.run("INSERT INTO t VALUES (101)", [])?;
            panic!("on purpose")
        };
        let (one, failed, panicked, two) = tokio::join!(
            writer.call(insert(1)),
            writer.call(halfway),
            writer.call(panics),
            writer.call(insert(2))
        );
        assert!(one.is_ok() && two.is_ok());
        assert!(matches!(failed, Err(Error::NotFound)));
        assert!(matches!(panicked, Err(Error::Defect)));
        assert_eq!(count(&writer).await, 2);
        // What is answered is counted; the count itself was a call, too.
        let tally = writer.tally();
        assert!(tally.calls == 5 && (2..=5).contains(&tally.groups), "{tally:?}");
    }

    #[test]
    fn nobody_is_told_what_held_only_in_a_group_that_failed() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = ON; CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT;
                 CREATE TABLE u (n INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED) STRICT",
            )
            .unwrap();
        let (writer, mut committer) = Writer::new(Arc::new(Mutex::new(connection)), Arc::default(), 64);
        // The first makes the commit fail. The others look at what the second did: it is undone.
        let fails = |c: &Connection| c.run("INSERT INTO u VALUES (7)", []).map(drop);
        let refused = |c: &Connection| match c.row("SELECT 1 FROM t WHERE n = 1", [], |_| Ok(()))? {
            Some(()) => Err(Error::ResultRecorded),
            None => Ok(()),
        };
        let mut calls = [
            Box::pin(writer.call(fails)) as BoxFuture<'_, _>,
            Box::pin(writer.call(insert(1))),
            Box::pin(writer.call(refused)),
        ];
        assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()));
        let group = committer.gather().now_or_never().flatten().unwrap();
        committer.commit(group);
        for call in calls {
            let answer = call.now_or_never().unwrap();
            assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        }
    }

    /// A database of at most `pages` pages, on a disk as good as full.
    fn small_disk(folder: &tempfile::TempDir, pages: u32) -> Connection {
        let connection = crate::connection::open_writer(&folder.path().join("t.db")).unwrap();
        let sql = format!("CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB); PRAGMA max_page_count = {pages}");
        connection.execute_batch(&sql).unwrap();
        connection
    }

    fn add(n: i64, bytes: i64) -> impl Fn(&Connection) -> Result<(), Error> {
        move |c| c.run("INSERT INTO t VALUES (?1, zeroblob(?2))", [n, bytes]).map(drop)
    }

    #[test]
    fn write_that_fills_the_disk_fails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Arc::new(Mutex::new(small_disk(&folder, 40)));
        let (writer, mut committer) = Writer::new(connection, Arc::default(), 64);
        let mut calls = [
            Box::pin(writer.call(add(1, 1))) as BoxFuture<'_, _>,
            Box::pin(writer.call(add(2, 1_000_000))),
            Box::pin(writer.call(add(3, 1))),
        ];
        assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()));
        let group = committer.gather().now_or_never().flatten().unwrap();
        committer.commit(group);
        let [one, large, three] = calls.map(|call| call.now_or_never().unwrap());
        assert!(one.is_ok() && three.is_ok(), "{one:?} {three:?}");
        let Err(Error::Unavailable(cause)) = large else { panic!("it does not fit") };
        assert_eq!(cause.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull), "{cause}");
        assert_eq!(writer.state(), WriteState::Degraded(WriteFault::DiskFull));
        assert!(!writer.needs_probe(), "a small write succeeded since");
    }

    #[tokio::test]
    async fn full_disk_needs_a_probe_until_something_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::start(small_disk(&folder, 40), Arc::default(), 64).unwrap();
        writer.call(add(1, 1)).await.unwrap();
        assert_eq!((writer.state(), writer.needs_probe()), (WriteState::Good, false));
        assert!(writer.call(add(2, 1_000_000)).await.is_err());
        writer.call(|_| Ok(())).await.unwrap();
        assert!(writer.needs_probe(), "a call that changed nothing proves nothing");
        writer.call(add(3, 1)).await.unwrap();
        assert!(!writer.needs_probe());
    }

    #[tokio::test]
    async fn lock_of_another_process_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let connection = small_disk(&folder, 1000);
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        let writer = Writer::start(connection, Arc::default(), 64).unwrap();
        let other = Connection::open(folder.path().join("t.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(matches!(writer.call(add(1, 1)).await, Err(Error::Unavailable(_))));
        assert_eq!(writer.state(), WriteState::Degraded(WriteFault::Locked));
        other.execute_batch("ROLLBACK").unwrap();
        writer.call(add(1, 1)).await.unwrap();
        assert!(!writer.needs_probe());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_says_so() {
        let connection = Connection::open_in_memory().unwrap();
        let writer = Writer::start(connection, Arc::default(), 1).unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let (started, mut running) = mpsc::channel(1);
        let blocking = writer.call(move |_| {
            let _ = started.blocking_send(());
            let _ = held.lock().map(|held| held.recv());
            Ok(())
        });
        let others = async {
            running.recv().await.unwrap();
            let queued = writer.call(|_| Ok(()));
            let refused = async {
                tokio::task::yield_now().await;
                let refused = writer.call(|_| Ok(())).await;
                release.send(()).unwrap();
                refused
            };
            tokio::join!(queued, refused)
        };
        let (blocked, (queued, refused)) = tokio::join!(blocking, others);
        assert!(blocked.is_ok() && queued.is_ok());
        assert!(matches!(refused, Err(Error::Busy)));
    }
}
