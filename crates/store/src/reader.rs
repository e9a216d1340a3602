//! A few connections that only read, used on blocking threads; a database in memory is read at once.

use crate::{Error, connection::open_reader};
use rusqlite::Connection;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// Where reads go.
pub(crate) enum Readers {
    /// Connections of their own. Overflow rule: who finds none idle waits; the waiting are requests, which the
    /// server bounds.
    Pool {
        /// Those that are not lent out.
        idle: Arc<Mutex<Vec<Connection>>>,
        /// One per connection.
        permits: Arc<Semaphore>,
    },
    /// The connection that writes, between two groups: a database in memory has no other.
    Shared(Arc<Mutex<Connection>>),
}

impl Readers {
    pub(crate) fn open(path: &Path, count: usize) -> Result<Self, Error> {
        let count = count.max(1);
        let idle = (0..count).map(|_| open_reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::Pool { idle: Arc::new(Mutex::new(idle)), permits: Arc::new(Semaphore::new(count)) })
    }

    /// Runs `work` against one snapshot of the database.
    pub(crate) async fn call<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (idle, permits) = match self {
            Self::Shared(connection) => {
                return work(&connection.lock().unwrap_or_else(PoisonError::into_inner));
            }
            Self::Pool { idle, permits } => (Arc::clone(idle), Arc::clone(permits)),
        };
        let permit = permits.acquire_owned().await.map_err(|_| Error::Stopped)?;
        let task = tokio::task::spawn_blocking(move || {
            let lent = Lent::take(&idle)?;
            let outcome = lent.read(work);
            drop(lent);
            drop(permit);
            outcome
        });
        task.await.unwrap_or(Err(Error::Defect))
    }
}

/// A connection on loan; goes back even when the work panics.
struct Lent<'a> {
    connection: Option<Connection>,
    idle: &'a Mutex<Vec<Connection>>,
}

impl<'a> Lent<'a> {
    fn take(idle: &'a Mutex<Vec<Connection>>) -> Result<Self, Error> {
        let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Self { connection: Some(connection.ok_or(Error::Defect)?), idle })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let connection = self.connection.as_ref().ok_or(Error::Defect)?;
        let snapshot = connection.unchecked_transaction()?;
        work(&snapshot)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let connection = self.connection.take();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(connection);
    }
}
