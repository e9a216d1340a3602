//! Why a call to the store did not succeed.

use std::{path::PathBuf, sync::Arc, time::Duration};
use thiserror::Error;
use vworkspace_core::control::{admission, job};
use vworkspace_protocol::admin::JobState;

/// How long to wait when the store is busy.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// How long to wait when the database does not answer.
const AWAY_FOR: Duration = Duration::from_secs(5);

/// Kinds that callers branch on. The texts are for logs; none holds a secret or another tenant's data.
#[derive(Debug, Error)]
pub enum Error {
    /// It does not exist, or not for this caller: the two cannot be told apart.
    #[error("there is no such thing")]
    NotFound,
    /// The caller may know it, but not do this with it.
    #[error("the caller may not do this")]
    Forbidden,
    /// No such session of the cluster's agent was heard lately.
    #[error("no such session was heard lately")]
    UnknownSession,
    /// Two agents use the identity: it cannot change hands before somebody decides which one keeps it.
    #[error("two agents use this identity")]
    IdentityConflict,
    /// Something of this name or key exists.
    #[error("{subject} exists already")]
    AlreadyExists {
        /// What exists, for people.
        subject: &'static str,
    },
    /// The cluster or organization is archived; nothing new can be made in it.
    #[error("the {what} is archived")]
    Archived {
        /// `cluster` or `organization`.
        what: &'static str,
    },
    /// The organization has as many of these as the settings allow.
    #[error("the organization has {most} {what}, the most that this server allows")]
    LimitReached {
        /// What is counted, in the plural.
        what: &'static str,
        /// The bound.
        most: u32,
    },
    /// It is the only token of its organization, or the only administrator's, and the caller did not insist.
    #[error("this is the last API token")]
    LastToken,
    /// The job breaks a rule that only the store can judge.
    #[error(transparent)]
    NotAJob(#[from] admission::Refused),
    /// Nobody issued this bearer, or its life is over.
    #[error("the bearer is not good")]
    Unauthenticated,
    /// The registration token was used before.
    #[error("the registration token was used before")]
    TokenConsumed,
    /// The registration token's life ended unused.
    #[error("the registration token has expired")]
    TokenExpired,
    /// A terminal result is recorded; the first one counts.
    #[error("a terminal result is recorded already")]
    ResultRecorded,
    /// The job ended in this state, without a result.
    #[error("the job is {0}")]
    JobClosed(JobState),
    /// `limit` or `cursor` is not one of ours.
    #[error("the page asked for cannot be read: {rule}")]
    InvalidPage {
        /// What would be right.
        rule: &'static str,
    },
    /// The writer's queue is full; nothing was done.
    #[error("the store has more to write than it can; nothing was done")]
    Busy,
    /// The database failed; whether the effect happened is unknown to this call, but never half.
    #[error("the database is not available")]
    Unavailable(#[source] Arc<rusqlite::Error>),
    /// A defect of ours, logged where it happened; nothing was done.
    #[error("a defect in the store")]
    Defect,
    /// The store is shutting down, or its writer died; nothing was done.
    #[error("the store is stopped")]
    Stopped,
    /// Stored data does not read back. Never the caller's fault.
    #[error("stored {what} cannot be read")]
    Corrupt {
        /// What was read.
        what: &'static str,
    },
    /// Another process has the database open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The folder or file cannot be made or opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The database was written by a newer program.
    #[error("the database has schema version {found}, this program knows {known}: use a newer program")]
    TooNew {
        /// Version in the database.
        found: u32,
        /// Newest version this program knows.
        known: u32,
    },
}

impl Error {
    /// Whether asking again may help, and when.
    pub fn retry(&self) -> Option<Duration> {
        match self {
            Self::Busy => Some(BUSY_FOR),
            Self::Unavailable(_) | Self::Stopped => Some(AWAY_FOR),
            Self::NotFound
            | Self::Forbidden
            | Self::UnknownSession
            | Self::IdentityConflict
            | Self::AlreadyExists { .. }
            | Self::Archived { .. }
            | Self::LimitReached { .. }
            | Self::LastToken
            | Self::NotAJob(_)
            | Self::Unauthenticated
            | Self::TokenConsumed
            | Self::TokenExpired
            | Self::ResultRecorded
            | Self::JobClosed(_)
            | Self::InvalidPage { .. }
            | Self::Corrupt { .. }
            | Self::Defect
            | Self::InUse { .. }
            | Self::Open { .. }
            | Self::TooNew { .. } => None,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

impl From<job::Refused> for Error {
    fn from(refused: job::Refused) -> Self {
        match refused {
            job::Refused::ResultRecorded => Self::ResultRecorded,
            job::Refused::Closed(state) => Self::JobClosed(state),
        }
    }
}
