//! From what went wrong to what the caller is told. The other face of an error, its cause, is logged here, once.

use std::{error::Error as _, time::Duration};
use vworkspace_core::control::{admission, ingest, name::NotALabel};
use vworkspace_protocol::problem::code;
use vworkspace_store as store;
use vworkspace_transport::{Refusal, http::server::Refused};

/// When to come back while two agents use one identity.
const IN_CONFLICT: Duration = Duration::from_secs(30);

/// Whatever a use-case can fail with.
#[derive(Debug)]
pub enum Error {
    /// The store refused or failed.
    Store(store::Error),
    /// The job breaks a rule.
    Job(admission::Refused),
    /// The events break a rule.
    Events(ingest::Refused),
    /// The name is none.
    Name(NotALabel),
    /// The caller is told just this.
    Told(Refusal),
}

impl Error {
    /// A member or parameter breaks a rule that the message names.
    pub(crate) fn invalid(rule: impl Into<String>) -> Self {
        Self::Told(Refusal::new(400, code::INVALID_REQUEST, rule))
    }
}

/// The answer for what does not exist, and for what belongs to somebody else: one and the same.
pub fn not_found() -> Refusal {
    Refusal::new(404, code::NOT_FOUND, "there is no such thing, or it is not yours")
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => of_store(&error),
            Error::Job(refused) => of_code(refused.code(), refused.to_string()),
            Error::Events(refused) => of_code(refused.code(), refused.to_string()),
            Error::Name(refused) => Self::new(400, code::INVALID_REQUEST, refused.to_string()),
            Error::Told(refusal) => refusal,
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<admission::Refused> for Error {
    fn from(refused: admission::Refused) -> Self {
        Self::Job(refused)
    }
}

impl From<ingest::Refused> for Error {
    fn from(refused: ingest::Refused) -> Self {
        Self::Events(refused)
    }
}

impl From<NotALabel> for Error {
    fn from(refused: NotALabel) -> Self {
        Self::Name(refused)
    }
}

fn of_code(code: &'static str, message: String) -> Refusal {
    let status = if code == code::PAYLOAD_TOO_LARGE { 413 } else { 400 };
    Refusal::new(status, code, message)
}

fn of_store(error: &store::Error) -> Refusal {
    use store::Error as Store;
    match error {
        Store::NotFound => not_found(),
        Store::Forbidden => Refusal::new(403, code::FORBIDDEN, "this bearer may not do this"),
        Store::Unauthenticated => {
            Refusal::new(401, code::UNAUTHENTICATED, "the bearer is unknown or has expired")
        }
        Store::TokenConsumed => {
            Refusal::new(401, code::TOKEN_CONSUMED, "the registration token was used before; issue a new one")
        }
        Store::TokenExpired => {
            Refusal::new(401, code::TOKEN_EXPIRED, "the registration token has expired; issue a new one")
        }
        Store::UnknownSession => Refusal::new(
            400,
            code::INVALID_REQUEST,
            "no such session of this cluster's agent was heard in the last minutes; `vwctl cluster get` shows those that were",
        ),
        Store::IdentityConflict => Refusal {
            retry_after: Some(IN_CONFLICT),
            ..Refusal::new(
                409,
                code::IDENTITY_CONFLICT,
                "two agents use this identity, so an exchange cannot be repeated; decide with \
                 `vwctl cluster keep --cluster CLUSTER --session SESSION` which session keeps it, or register with a new token",
            )
        },
        Store::AlreadyExists { .. } => Refusal::new(409, code::ALREADY_EXISTS, error.to_string()),
        Store::Archived { what } => Refusal::new(
            409,
            code::ARCHIVED,
            format!("the {what} is archived: nothing new can be made in it"),
        ),
        Store::LimitReached { .. } => {
            let rule = format!("{error}: remove some, or ask the server's admin to raise the bound");
            Refusal::new(409, code::LIMIT_REACHED, rule)
        }
        Store::LastToken => {
            let rule =
                "this is the last API token: nobody could use the API without it; repeat with force=true";
            Refusal::new(409, code::LAST_TOKEN, rule)
        }
        Store::NotAJob(refused) => of_code(refused.code(), refused.to_string()),
        Store::ResultRecorded => Refusal::new(409, code::RESULT_RECORDED, error.to_string()),
        Store::JobClosed(_) => Refusal::new(409, code::JOB_CLOSED, error.to_string()),
        Store::InvalidPage { .. } => Refusal::new(400, code::INVALID_REQUEST, error.to_string()),
        Store::Busy | Store::Unavailable(_) | Store::Stopped => away(error),
        Store::Corrupt { .. }
        | Store::Defect
        | Store::InUse { .. }
        | Store::Open { .. }
        | Store::TooNew { .. } => {
            log(error);
            Refusal::new(500, code::INTERNAL, "the server failed; the request id finds its log line")
        }
    }
}

/// The request's own line says 503. Why the database fails is logged when that changes, not by each request it hits.
fn away(error: &store::Error) -> Refusal {
    let cause = error.source().map(ToString::to_string);
    tracing::debug!(%error, cause, "the store is not available");
    let retry_after = Some(error.retry().unwrap_or(Duration::from_secs(1)));
    Refusal {
        retry_after,
        ..Refusal::new(503, code::UNAVAILABLE, "the store does not answer, come back later")
    }
}

fn log(error: &store::Error) {
    let cause = error.source().map(ToString::to_string);
    tracing::error!(%error, cause, "the store failed");
}
