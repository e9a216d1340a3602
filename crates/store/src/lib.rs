//! The control plane's memory: SQLite, one transaction per domain verb, nothing without an authorised handle.
//!
//! - One writer thread commits whatever queued up during the previous commit as one group; a call is answered only
//!   when its group is durable (WAL, `synchronous=FULL`). Reads have their own connections.
//! - [`Store::authenticate`] and the `lookup_…` methods are the only way to a [`Handle`]; every other method takes one.
//! - Time is an argument everywhere; the store reads no clock but to time its own writes.
//! - Wake-ups are the caller's business: a write answers with what is needed to wake whoever waits.
//!
//! What every backend owes is said at [`Store`]; `tests/integration` asks each of them for it.

mod access;
mod api_token;
mod archive;
mod audit;
mod bounds;
mod cluster;
mod codec;
mod connection;
mod credential;
mod cursor;
mod decommission;
mod error;
mod event;
mod identity;
mod job;
mod known;
mod organization;
mod page;
mod presence;
mod reader;
mod registration_token;
mod report_digest;
mod resource;
mod retention;
mod revoke;
mod schema;
mod settings;
mod tally;
mod token;
mod unknown_result;
mod writer;

pub use access::{
    Caller, Cluster, Command, Handle, Installation, Job, Manage, Organization, Read, Right, Serve,
};
pub use bounds::Bounds;
pub use cluster::Archived;
pub use error::Error;
pub use event::Ingested;
pub use job::{ArchivedBatch, Enqueued, Leased, Released};
pub use page::PageRequest;
pub use presence::{Contact, Sighted};
pub use resource::ResourceFilter;
pub use retention::{Pass, Pruned, Retention};
pub use settings::Settings;
pub use tally::Tally;
pub use vworkspace_core::control::write_health::{WriteFault, WriteState};
pub use writer::{Committer, Group};

use connection::Statements as _;
use cursor::CursorKey;
use known::Known;
use presence::PresenceMap;
use reader::Readers;
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use std::{
    fs::{File, OpenOptions},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use writer::Writer;

/// The store; clones share it.
///
/// # Obligations
/// Of every method on every backend; `tests/integration` holds cases for each.
///
/// - **Durability.** A write MUST be answered only when it is durable, and refused only by what is durable: what was
///   answered is there after the process ends, in whatever way. A file survives a power cut, too; a [`Memory`] lives as
///   long as its process. Notes of [`Store::sighted`] and heartbeats are the one exception: [`Store::flush_presence`]
///   makes them durable.
/// - **Atomicity.** A call's effect MUST happen whole or not at all. A call that fails MUST leave nothing behind and
///   MUST NOT spoil another one of its group; a group becomes durable whole, on a full disk call by call.
/// - **Cancellation.** A dropped future abandons the answer, not the call: once begun, the write happens.
/// - **Order.** Writes take effect in the order in which they were begun, and a read begun after an answer MUST see
///   its effect.
/// - **End.** The last clone of a store on a file waits for the writes that are queued; in memory they are lost with
///   the [`Committer`], and their callers are told [`Error::Stopped`].
/// - **Idempotency.** Repeating is safe: of acks, events, cancels and keyed enqueues it changes nothing, of a status it
///   adds to the timeline alone, of a result it is refused, of registrations whichever answer arrives is good, and of
///   rotations the last, with the old credential beside it. Nothing is retried here.
/// - **Bounds.** A full queue refuses with [`Error::Busy`] and does nothing. Lists come in pages, of 4 MiB or one item
///   where agents decide how large an item is.
/// - **Errors.** Every write can fail with [`Error::Busy`], [`Error::Unavailable`], [`Error::Stopped`] and
///   [`Error::Defect`], every read with the last three and [`Error::Corrupt`]; methods name only what comes on top.
///   Another tenant's thing is [`Error::NotFound`], like one that never existed.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    readers: Readers,
    presence: PresenceMap,
    known: Arc<Known>,
    cursors: CursorKey,
    settings: Settings,
    /// Released last: presence lives in memory, so one process at a time owns the database. None for one in memory.
    _lock: Option<File>,
}

impl Store {
    /// Opens the database at `path`, makes it where absent (readable by its owner alone) and migrates it. Blocks.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::TooNew`], [`Error::Open`], [`Error::Unavailable`].
    pub fn open(path: &Path, settings: &Settings) -> Result<Self, Error> {
        let lock = lock(path)?;
        let connection = connection::open_writer(path)?;
        schema::migrate(&connection)?;
        let presence = PresenceMap::load(&connection)?;
        let cursors = CursorKey::load(&connection)?;
        let known = Arc::<Known>::default();
        known.watch(&connection)?;
        let readers = Readers::open(path, settings.readers)?;
        let writer = Writer::start(connection, Arc::clone(&known), settings.write_queue)
            .map_err(|source| Error::Open { path: path.to_owned(), source })?;
        let inner = Inner {
            writer,
            readers,
            presence,
            known,
            cursors,
            settings: settings.clone(),
            _lock: Some(lock),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens a database in memory, over and over again. Nothing written is durable, nor answered, before the
    /// [`Committer`] commits it: dropping both is a crash, and what was committed is in `memory` still.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn open_in(memory: &Memory, settings: &Settings) -> Result<(Self, Committer), Error> {
        let known = Arc::<Known>::default();
        let (presence, cursors) = {
            let connection = memory.0.lock().unwrap_or_else(PoisonError::into_inner);
            writer::roll_back(&connection);
            schema::migrate(&connection)?;
            known.watch(&connection)?;
            (PresenceMap::load(&connection)?, CursorKey::load(&connection)?)
        };
        let (writer, committer) =
            Writer::new(Arc::clone(&memory.0), Arc::clone(&known), settings.write_queue);
        let readers = Readers::Shared(Arc::clone(&memory.0));
        let inner =
            Inner { writer, readers, presence, known, cursors, settings: settings.clone(), _lock: None };
        Ok((Self { inner: Arc::new(inner) }, committer))
    }

    /// Calls that wait for the writer now: for metrics.
    pub fn write_queue_length(&self) -> usize {
        self.inner.writer.queue_length()
    }

    /// What the writer has done since the store was opened: for metrics.
    pub fn tally(&self) -> Tally {
        self.inner.writer.tally()
    }

    /// Returns when every write that was begun before has been answered. Writes nothing.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn barrier(&self) -> Result<(), Error> {
        self.write(|_| Ok(())).await
    }

    /// Returns whether the database can be written, judged by the writes of this store: for readiness. Writes nothing.
    pub fn write_state(&self) -> WriteState {
        self.inner.writer.state()
    }

    /// Returns `true` if no write succeeded since the last one that failed, so that [`Store::probe_write`] would tell
    /// something new.
    pub fn needs_probe(&self) -> bool {
        self.inner.writer.needs_probe()
    }

    /// Writes one row as it is, the least there is to write.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn probe_write(&self) -> Result<(), Error> {
        self.write(|connection| connection.run("UPDATE schema_version SET version = version", []).map(drop))
            .await
    }

    /// Reads one row.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn probe_read(&self) -> Result<(), Error> {
        let version =
            |connection: &Connection| connection.row("SELECT version FROM schema_version", [], |_| Ok(()));
        self.read(version).await?.ok_or(Error::Corrupt { what: "schema version" })
    }

    /// The times this store was opened with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    async fn write<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.inner.writer.call(work).await
    }

    async fn read<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.inner.readers.call(work).await
    }
}

/// A database that lives as long as this value: the same statements and rules as in a file, and no disk.
#[derive(Clone)]
pub struct Memory(Arc<Mutex<Connection>>);

impl Memory {
    /// An empty one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn new() -> Result<Self, Error> {
        Ok(Self(Arc::new(Mutex::new(connection::open_memory()?))))
    }

    /// A copy of what is committed, as a backup is: later writes to one do not show in the other.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Busy`] while something is written.
    pub fn copy(&self) -> Result<Self, Error> {
        let mut copy = connection::open_memory()?;
        {
            let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // One step that does not wait: nobody else could end what is under way, since the connection is held.
            if Backup::new(&connection, &mut copy)?.step(-1)? != StepResult::Done {
                return Err(Error::Busy);
            }
        }
        Ok(Self(Arc::new(Mutex::new(copy))))
    }
}

/// The schema that the migrations add up to, as text: for the drift check of `schema.sql`.
///
/// # Errors
/// [`Error::Unavailable`].
pub fn schema_dump() -> Result<String, Error> {
    let connection = Connection::open_in_memory()?;
    schema::migrate(&connection)?;
    schema::dump(&connection)
}

/// Takes the lock file beside the database, which the kernel releases when the process ends, however it ends.
fn lock(database: &Path) -> Result<File, Error> {
    let path = database.with_extension("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|source| Error::Open { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse { path }),
        Err(std::fs::TryLockError::Error(source)) => Err(Error::Open { path, source }),
    }
}
