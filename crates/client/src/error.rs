//! Why a call did not succeed, as data: nobody matches on texts.

use std::time::Duration;
use thiserror::Error;
use vworkspace_http::TlsFault;
use vworkspace_protocol::Problem;

/// Why a call did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    /// The control plane answered with a status other than 2xx.
    #[error("{}", refusal(*status, problem))]
    Refused {
        /// HTTP status.
        status: u16,
        /// The error body, or one made from the status line when a proxy answered.
        problem: Problem,
        /// `Retry-After`, if told; at most one hour.
        retry_after: Option<Duration>,
    },
    /// No answer: connection, TLS, time-out. The effect of the call is unknown.
    #[error("the control plane at {server} cannot be reached: {detail}")]
    Unreachable {
        /// The base URL that was called.
        server: String,
        /// What is wrong with the port's TLS, if that is the reason.
        tls: Option<TlsFault>,
        /// What failed, without secrets.
        detail: String,
    },
    /// A 2xx answer whose body is not what the API says, or is over the bound.
    #[error("the control plane's answer cannot be read: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}

impl Error {
    /// The HTTP status of a refusal.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable { .. } | Self::Malformed { .. } => None,
        }
    }
}

fn refusal(status: u16, problem: &Problem) -> String {
    let request = match problem.request_id.as_str() {
        "" => String::new(),
        id => format!(", request {id}"),
    };
    format!("{} ({status} {}{request})", problem.message, problem.error)
}
