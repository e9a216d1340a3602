use super::{echo::Echo, ring::Ring};
use crate::Refusal;
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::{fmt, time::Duration};
use uuid::Uuid;
use vworkspace_protocol::{
    Problem,
    headers::{self, MEDIA_TYPE},
    problem::code,
};

/// Names one request in its answer, its error body and its log line.
///
/// Always made here: an id taken from the caller could forge log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(Uuid);

impl RequestId {
    fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(f)
    }
}

/// A refusal on its way out. [`Identify`] writes its body, because only there the request id is known.
#[derive(Clone, Debug)]
pub struct Refused(pub Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Left on an answer that carries an error body: its code, for log lines and metrics.
#[derive(Clone, Copy, Debug)]
pub struct RefusedWith(pub &'static str);

/// Gives the request its id, writes it into the answer, and writes the error body of a refusal: in the protocol's own
/// media type on the agents' paths, as JSON on all others. On the agents' paths it echoes the session id, too.
#[derive(Clone, Copy, Debug)]
pub struct Identify;

/// What the answer to a request will need.
#[derive(Clone, Debug)]
pub struct Identified {
    id: RequestId,
    media_type: &'static str,
    echo: Echo,
}

impl Ring for Identify {
    type Seen = Identified;

    fn enter(&self, request: &mut Request) -> Result<Identified, Refusal> {
        let id = RequestId::random();
        request.extensions_mut().insert(id);
        let is_agents = request.uri().path().starts_with("/api/agent/");
        let (media_type, echo) =
            if is_agents { (MEDIA_TYPE, Echo::of(request)) } else { ("application/json", Echo::default()) };
        Ok(Identified { id, media_type, echo })
    }

    fn leave(&self, Identified { id, media_type, echo }: Identified, mut response: Response) -> Response {
        if let Some(Refused(refusal)) = response.extensions_mut().remove::<Refused>() {
            response = error_answer(refusal, id, media_type, response);
        }
        if let Ok(value) = HeaderValue::try_from(id.to_string()) {
            response.headers_mut().insert(HeaderName::from_static(headers::REQUEST_ID), value);
        }
        echo.write(&mut response);
        response
    }
}

/// Fallback for paths nobody knows.
pub(super) async fn no_such_path() -> Refused {
    Refused(Refusal::new(404, code::NOT_FOUND, "there is nothing under this path"))
}

/// Fallback for a known path asked in another way.
pub(super) async fn method_not_allowed() -> Refused {
    Refused(Refusal::new(405, code::METHOD_NOT_ALLOWED, "this path does not take this method"))
}

fn error_answer(refusal: Refusal, id: RequestId, media_type: &'static str, bare: Response) -> Response {
    let refused_with = RefusedWith(refusal.code);
    let retry_after = refusal.retry_after;
    let problem =
        Problem { error: refusal.code.to_owned(), message: refusal.message, request_id: id.to_string() };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let (mut parts, _) = bare.into_parts();
    parts.extensions.insert(refused_with);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(after) = retry_after {
        parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds_up(after)));
    }
    if parts.status == StatusCode::UNAUTHORIZED {
        parts.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Response::from_parts(parts, body.into())
}

/// `Retry-After` has whole seconds; rounding down would invite the caller too early.
fn whole_seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_too_early() {
        assert_eq!(whole_seconds_up(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds_up(Duration::from_secs(2)), 2);
    }
}
