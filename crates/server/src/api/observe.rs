//! The rings around every request: its log line and count, its place among the bounded many, its panics.

use crate::app::App;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{any::Any, sync::Arc, time::Duration, time::Instant};
use tracing::{Instrument, field::Empty};
use vworkspace_protocol::problem::code;
use vworkspace_transport::{
    Refusal,
    http::server::{Refused, RefusedWith, RequestId},
};

/// Writes one line for each request: never its bearer, body, query or path, only the pattern of its route.
/// Actor and cluster are noted on the span by whoever authenticates.
pub async fn observe(
    State(app): State<Arc<App>>,
    id: RequestId,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let route = matched.as_ref().map_or("(none)", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request", request_id = id.as_str(), method = %request.method(), route, actor = Empty, cluster_id = Empty
    );
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let took = started.elapsed();
    app.metrics.request(route, status, took);
    span.in_scope(|| log_line(&response, route, status, took));
    response
}

/// Lets a request in while there is room, and turns it away at once when there is none.
pub async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.room.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => {
            let mut refusal =
                Refusal::new(503, code::UNAVAILABLE, "too many requests at a time, come back later");
            refusal.retry_after = Some(Duration::from_secs(1));
            Refused(refusal).into_response()
        }
    }
}

/// Answers are about now, and some carry a secret: nothing on the way may keep them.
pub async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a request whose handler panicked; the panic hook has logged where.
pub fn answer_panic(_: Box<dyn Any + Send + 'static>) -> Response {
    Refused(Refusal::new(500, code::INTERNAL, "the server failed; the request id finds its log line"))
        .into_response()
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
    } else if matches!(route, "/livez" | "/readyz" | "/metrics") && status < 400 {
        tracing::debug!(status, duration_ms, "request answered");
    } else {
        tracing::info!(status, code, duration_ms, "request answered");
    }
}
