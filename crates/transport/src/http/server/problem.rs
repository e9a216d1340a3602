use super::ring::Ring;
use crate::Refusal;
use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use std::{convert::Infallible, time::Duration};
use vworkspace_protocol::{Problem, headers, problem::code};

/// Names one request in its answer, its error body and its log line.
///
/// Always made here: an id taken from the caller could forge log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::random))
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

/// Gives the request its id, tells it in the answer, and writes the error body of a refusal in this media type.
/// Around itself, the outer id is kept and the inner one writes the body.
#[derive(Clone, Copy, Debug)]
pub struct Identify(pub &'static str);

impl Ring for Identify {
    type Seen = RequestId;

    fn enter(&self, request: &mut Request) -> Result<RequestId, Refusal> {
        let id = request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::random);
        request.extensions_mut().insert(id.clone());
        Ok(id)
    }

    fn leave(&self, id: RequestId, mut response: Response) -> Response {
        if let Some(Refused(refusal)) = response.extensions_mut().remove::<Refused>() {
            response = error_answer(refusal, &id, self.0, response);
        }
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(HeaderName::from_static(headers::REQUEST_ID), value);
        }
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

fn error_answer(refusal: Refusal, id: &RequestId, media_type: &'static str, bare: Response) -> Response {
    let refused_with = RefusedWith(refusal.code);
    let retry_after = refusal.retry_after;
    let problem = Problem {
        error: refusal.code.to_owned(),
        message: refusal.message,
        request_id: id.as_str().to_owned(),
    };
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
