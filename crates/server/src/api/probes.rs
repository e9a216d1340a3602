use crate::app::App;
use axum::{extract::State, http::header, response::IntoResponse};
use std::sync::Arc;
use vworkspace_protocol::problem::code;
use vworkspace_transport::{Refusal, http::server::Refused};

/// Whether the process runs.
#[utoipa::path(get, path = "/livez", tag = "probes",
    responses((status = 200, description = "It runs", body = String, content_type = "text/plain")))]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the database answers and the server is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "probes",
    responses((status = 200, description = "It serves", body = String, content_type = "text/plain")))]
pub async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Refused> {
    app.ready().await?;
    Ok("ok\n")
}

/// Counts in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "probes",
    responses((status = 200, description = "Counts", body = String, content_type = "application/openmetrics-text")))]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Refused> {
    let text = app
        .metrics_text()
        .map_err(|_| Refusal::new(500, code::INTERNAL, "the counts could not be written"))?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}
