use crate::app::App;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use std::sync::Arc;
use vworkspace_protocol::problem::code;
use vworkspace_transport::{Refusal, http::server::Refused};

/// Whether the process runs.
#[utoipa::path(get, path = "/livez", tag = "probes",
    responses((status = 200, description = "It runs", body = String, content_type = "text/plain")))]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the server should be given requests: one line for each check, `name: ok`, `name: degraded: why` or
/// `name: failed: why`. A degraded server still serves most requests.
#[utoipa::path(get, path = "/readyz", tag = "probes",
    responses((status = 200, description = "It serves", body = String, content_type = "text/plain"),
        (status = 503, description = "It is stopping, or no write has succeeded for 30 seconds", body = String,
            content_type = "text/plain")))]
pub async fn readyz(State(app): State<Arc<App>>) -> impl IntoResponse {
    let readiness = app.readiness().await;
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, readiness.to_string())
}

/// Counts in the OpenMetrics text format. Served by the metrics listener alone: the counts are about all tenants.
pub async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Refused> {
    let text = app
        .metrics_text()
        .map_err(|_| Refusal::new(500, code::INTERNAL, "the counts could not be written"))?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}
