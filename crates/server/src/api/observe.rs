//! The rings around every request: its log line and count, its place among the bounded many.

use crate::{address::see_through_proxies, app::App};
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use std::{sync::Arc, time::Duration, time::Instant};
use tokio::sync::OwnedSemaphorePermit;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::{Span, field::Empty};
use vworkspace_protocol::problem::code;
use vworkspace_transport::{
    Refusal,
    http::server::{Refused, RefusedWith, RequestId, Ring},
};

/// Writes one line for each request: never its bearer, body, query or path, only the pattern of its route.
/// Actor and cluster are noted on the span by whoever authenticates.
#[derive(Clone)]
pub struct Observe(pub Arc<App>);

/// What the line needs to know of a request.
pub struct Observed {
    matched: Option<MatchedPath>,
    started: Instant,
    span: Span,
}

impl Ring for Observe {
    type Seen = Observed;

    fn enter(&self, request: &mut Request) -> Result<Observed, Refusal> {
        let matched = request.extensions().get::<MatchedPath>().cloned();
        see_through_proxies(request, &self.0.trusted_proxies);
        let id = request.extensions().get::<RequestId>();
        let span = tracing::info_span!(
            "request",
            request_id = id.map(tracing::field::display),
            method = %request.method(),
            route = pattern(matched.as_ref()),
            actor = Empty,
            cluster_id = Empty
        );
        Ok(Observed { matched, started: Instant::now(), span })
    }

    fn span(seen: &Observed) -> Option<&Span> {
        Some(&seen.span)
    }

    fn leave(&self, Observed { matched, started, span }: Observed, response: Response) -> Response {
        let (route, status, took) =
            (pattern(matched.as_ref()), response.status().as_u16(), started.elapsed());
        self.0.metrics.request(route, status, took);
        span.in_scope(|| log_line(&response, route, status, took));
        response
    }
}

fn pattern(matched: Option<&MatchedPath>) -> &str {
    matched.map_or("(none)", MatchedPath::as_str)
}

fn is_probe(route: &str) -> bool {
    matches!(route, "/livez" | "/readyz")
}

/// Lets a request in while there is room, and turns it away at once when there is none. What the platform asks always
/// comes in.
#[derive(Clone)]
pub struct Admit(pub Arc<App>);

impl Ring for Admit {
    type Seen = Option<OwnedSemaphorePermit>;

    fn enter(&self, request: &mut Request) -> Result<Self::Seen, Refusal> {
        if is_probe(pattern(request.extensions().get())) {
            return Ok(None);
        }
        self.0.room.clone().try_acquire_owned().map(Some).map_err(|_| {
            let mut refusal =
                Refusal::new(503, code::UNAVAILABLE, "too many requests at a time, come back later");
            refusal.retry_after = Some(Duration::from_secs(1));
            refusal
        })
    }

    fn leave(&self, _: Self::Seen, response: Response) -> Response {
        response
    }
}

/// Answers are about now, and some carry a secret: nothing on the way may keep them.
pub fn no_store() -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

fn log_line(response: &Response, route: &str, status: u16, took: Duration) {
    let extensions = response.extensions();
    let code = extensions
        .get::<Refused>()
        .map(|Refused(refusal)| refusal.code)
        .or_else(|| extensions.get::<RefusedWith>().map(|RefusedWith(code)| *code))
        .unwrap_or_default();
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(status, code, duration_ms, "request failed");
    } else if is_probe(route) && status < 400 {
        tracing::debug!(status, duration_ms, "request answered");
    } else {
        tracing::info!(status, code, duration_ms, "request answered");
    }
}
