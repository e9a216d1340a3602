//! Why a call did not succeed, as data.

use std::time::Duration;
use thiserror::Error;
use vworkspace_protocol::Problem;

/// The reason of a failed call.
#[derive(Debug, Error)]
pub enum Error {
    /// The control plane answered with something other than 2xx.
    #[error("{problem} (HTTP {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The error body, or one made from the status line.
        problem: Problem,
        /// `Retry-After`, if told.
        retry_after: Option<Duration>,
    },
    /// No answer: connection, TLS, time-out.
    #[error("control plane not reached: {detail}")]
    Unreachable {
        /// What failed, without secrets.
        detail: String,
    },
    /// An answer that is not what the API says.
    #[error("the control plane's answer cannot be read: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The client cannot be set up.
    #[error("{detail}")]
    Setup {
        /// What is wrong with the URL or the certificates.
        detail: String,
    },
}

impl Error {
    /// HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable { .. } | Self::Malformed { .. } | Self::Setup { .. } => None,
        }
    }
}
