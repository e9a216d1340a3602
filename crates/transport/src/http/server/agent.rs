//! One handler per v1 route: parse, ask the port, answer.

use super::{
    body::{parse, read_body, read_json},
    problem::Refused,
    wait::parse_wait,
};
use crate::{AgentCall, ControlPort, Refusal};
use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, time::Duration};
use vworkspace_protocol::{
    ClusterId, JobId, Outcome, Secret,
    event::EventsRequest,
    headers::{CAPABILITIES, MEDIA_TYPE, REPORT_DIGEST, SESSION},
    id::SessionId,
    job::JobsResponse,
    limits,
    outcome::JobResult,
    problem::code,
};

/// Events read in one request. Agents send at most 100; a generous reader does not lose a sloppy agent's batch.
const MOST_EVENTS: usize = 1000;
const MOST_CAPABILITIES: usize = 32;
/// Longest header text kept, in bytes; the rest is cut off.
const HEADER_BYTES: usize = 256;

type Answer = Result<Response, Refused>;

pub(super) async fn register<P: ControlPort>(State(port): State<P>, call: Caller, body: Body) -> Answer {
    let request = read_json(body).await?;
    json(&port.register(call.0, request).await?)
}

pub(super) async fn jobs<P: ControlPort>(State(port): State<P>, Caller(call): Caller, poll: Poll) -> Answer {
    let jobs = port.jobs(call, poll.cluster, poll.wait).await?;
    json(&JobsResponse { jobs })
}

pub(super) async fn ack<P: ControlPort>(State(port): State<P>, call: Caller, job: JobPath) -> Answer {
    port.ack(call.0, job.0).await?;
    no_content()
}

pub(super) async fn status<P: ControlPort>(
    State(port): State<P>,
    call: Caller,
    job: JobPath,
    body: Body,
) -> Answer {
    let update = read_json(body).await?;
    port.status(call.0, job.0, update).await?;
    no_content()
}

pub(super) async fn result<P: ControlPort>(
    State(port): State<P>,
    call: Caller,
    job: JobPath,
    body: Body,
) -> Answer {
    let result = parse_result(&read_body(body).await?)?;
    port.result(call.0, job.0, result).await?;
    no_content()
}

pub(super) async fn events<P: ControlPort>(State(port): State<P>, call: Caller, body: Body) -> Answer {
    let batch: EventsRequest = read_json(body).await?;
    if batch.events.len() > MOST_EVENTS {
        return Err(invalid(format!(
            "more than {MOST_EVENTS} events; {} fit well",
            limits::EVENTS_PER_BATCH
        )));
    }
    let answer = port.events(call.0, batch).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(digest) = answer.report_digest.and_then(|digest| HeaderValue::try_from(digest).ok()) {
        response.headers_mut().insert(HeaderName::from_static(REPORT_DIGEST), digest);
    }
    Ok(response)
}

pub(super) async fn rotate<P: ControlPort>(State(port): State<P>, call: Caller) -> Answer {
    json(&port.rotate(call.0).await?)
}

pub(super) async fn decommission<P: ControlPort>(State(port): State<P>, call: Caller) -> Answer {
    port.decommission(call.0).await?;
    no_content()
}

/// Where a request comes from: an extension that whoever accepted the connection adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The caller as the headers tell, refused at once when there is no bearer: nothing of its body is read then.
pub(super) struct Caller(AgentCall);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let headers = &parts.headers;
        let bearer = bearer(headers)?.ok_or_else(|| {
            Refusal::new(401, code::UNAUTHENTICATED, "send the header Authorization: Bearer <token>")
        })?;
        Ok(Self(AgentCall {
            bearer: Some(bearer),
            session: text(headers, SESSION).map(|id| SessionId::new(id.to_owned())),
            capabilities: capabilities(text(headers, CAPABILITIES).unwrap_or_default()),
            user_agent: text(headers, header::USER_AGENT.as_str()).unwrap_or_default().to_owned(),
            address: parts.extensions.get::<Peer>().map(|Peer(address)| *address),
        }))
    }
}

/// What a poll asks for.
pub(super) struct Poll {
    cluster: ClusterId,
    wait: Duration,
}

impl<S: Send + Sync> FromRequestParts<S> for Poll {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        #[derive(Deserialize)]
        struct Asked {
            #[serde(default)]
            cluster: String,
            wait: Option<String>,
        }
        let Query(asked) = Query::<Asked>::try_from_uri(&parts.uri)
            .map_err(|fault| invalid(format!("the query cannot be read: {}", fault.body_text())))?;
        if asked.cluster.is_empty() {
            return Err(invalid("the query must name the cluster: ?cluster=<id>"));
        }
        Ok(Self { cluster: ClusterId::new(asked.cluster), wait: parse_wait(asked.wait.as_deref()) })
    }
}

/// A job id from the path. One that cannot be decoded names no job.
pub(super) struct JobPath(JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(JobId::new(id))),
            Err(_) => Err(Refusal::new(404, code::NOT_FOUND, "there is no such job").into()),
        }
    }
}

/// The `Bearer` value of a request: the scheme in any case, the token not empty.
///
/// # Errors
/// 400 for more than one `Authorization` header: a proxy in front may have judged by another one than is read here.
pub fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::new(400, code::INVALID_REQUEST, "send one Authorization header, not several"));
    }
    Ok(first.and_then(|value| bearer_of(value.to_str().ok()?)))
}

fn bearer_of(value: &str) -> Option<Secret> {
    let (scheme, token) = value.split_once(' ')?;
    let secret = Secret::new(token);
    (scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty()).then_some(secret)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| limits::clip(value, HEADER_BYTES))
}

fn capabilities(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .take(MOST_CAPABILITIES)
        .map(str::to_owned)
        .collect()
}

/// Reads a result. An outcome outside the closed set breaks a rule (`invalid_request`); everything else that does
/// not fit is a malformed body.
fn parse_result(bytes: &[u8]) -> Result<JobResult, Refused> {
    #[derive(Deserialize)]
    struct Named {
        outcome: String,
    }
    parse(bytes).map_err(|malformed| match serde_json::from_slice::<Named>(bytes) {
        Ok(Named { outcome }) => match serde_json::from_value::<Outcome>(outcome.into()) {
            Ok(_) => malformed,
            Err(_) => invalid("outcome must be one of succeeded, failed, noop, conflict"),
        },
        Err(_) => malformed,
    })
}

fn invalid(message: impl Into<String>) -> Refused {
    Refused(Refusal::new(400, code::INVALID_REQUEST, message))
}

fn json<T: Serialize>(body: &T) -> Answer {
    let bytes = serde_json::to_vec(body)
        .map_err(|_| Refusal::new(500, code::INTERNAL, "the answer could not be written"))?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], bytes).into_response())
}

fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_read_in_any_case_and_never_empty() {
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            bearer(&headers).unwrap().map(|secret| secret.expose().to_owned())
        };
        assert_eq!(read("Bearer abc"), Some("abc".into()));
        assert_eq!(read("bearer  abc "), Some("abc".into()));
        assert_eq!(read("Basic abc"), None);
        assert_eq!(read("Bearer "), None);
        assert_eq!(read("Bearer"), None);
    }

    #[test]
    fn two_authorization_headers_are_refused_even_if_equal() {
        for second in ["Bearer abc", "Bearer other", "Basic abc"] {
            let value = |text: &str| (header::AUTHORIZATION, text.parse().unwrap());
            let mut headers = HeaderMap::from_iter([value("Bearer abc")]);
            headers.append(header::AUTHORIZATION, second.parse().unwrap());
            let refusal = bearer(&headers).map(drop).unwrap_err();
            assert_eq!((refusal.status, refusal.code), (400, code::INVALID_REQUEST), "{second}");
        }
    }

    #[test]
    fn an_unknown_outcome_and_a_malformed_result_are_told_apart() {
        let code = |body: &str| parse_result(body.as_bytes()).unwrap_err().0.code;
        assert_eq!(code(r#"{"outcome":"maybe"}"#), code::INVALID_REQUEST);
        assert_eq!(code(r#"{"outcome":"noop","error":7}"#), code::MALFORMED_BODY);
        assert_eq!(code(r#"{"outcome""#), code::MALFORMED_BODY);
        assert_eq!(code("{}"), code::MALFORMED_BODY);
    }

    #[test]
    fn capabilities_are_split_and_bounded() {
        assert_eq!(capabilities(" status, wait-for ,,"), ["status", "wait-for"]);
        assert_eq!(capabilities(&"x,".repeat(100)).len(), MOST_CAPABILITIES);
    }
}
