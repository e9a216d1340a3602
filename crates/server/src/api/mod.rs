//! The whole HTTP surface, in one table. A handler parses, names its actor, calls one use-case of [`crate::app`]
//! and converts; nothing else happens here, and nothing here opens the store.

mod actor;
mod archive;
mod clusters;
mod events;
mod extract;
mod identity;
mod jobs;
mod observe;
pub mod openapi;
mod organizations;
mod probes;
mod resources;
mod restore;
mod tokens;
mod whoami;

use crate::app::App;
use axum::{Router, routing::get};
use std::sync::Arc;
use tower::ServiceBuilder;
use utoipa_axum::{router::OpenApiRouter, routes};
use vworkspace_transport::http::server::{self as agent_transport, Around, Identify};

/// The admin API under `/api/v1` and what it says of itself.
fn admin_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(openapi::document))
        .routes(routes!(whoami::whoami))
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::read))
        .routes(routes!(archive::organization))
        .routes(routes!(tokens::list_admin, tokens::create_admin))
        .routes(routes!(tokens::revoke_admin))
        .routes(routes!(tokens::list_api, tokens::create_api))
        .routes(routes!(tokens::revoke_api))
        .routes(routes!(clusters::list, clusters::create))
        .routes(routes!(clusters::read))
        .routes(routes!(clusters::revoke))
        .routes(routes!(archive::cluster))
        .routes(routes!(tokens::list_registration, tokens::create_registration))
        .routes(routes!(tokens::revoke_registration))
        .routes(routes!(jobs::list, jobs::enqueue))
        .routes(routes!(jobs::read))
        .routes(routes!(jobs::explain))
        .routes(routes!(jobs::payload))
        .routes(routes!(jobs::cancel))
        .routes(routes!(identity::keep))
        .routes(routes!(restore::release_job))
        .routes(routes!(restore::release_cluster))
        .routes(routes!(restore::release_organization))
        .routes(routes!(restore::unknown_results))
        .routes(routes!(resources::list))
        .routes(routes!(events::list))
}

/// What the platform asks: no bearer, no tenant's data.
fn probe_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(probes::livez)).routes(routes!(probes::readyz))
}

/// What the metrics listener answers: `/metrics` and nothing else.
pub fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(probes::metrics))
        .with_state(app)
        .fallback(extract::no_such_path)
        .method_not_allowed_fallback(extract::method_not_allowed)
        .layer(Around(Identify))
}

/// Everything the server answers: the admin API, the agent API, the probes, and the rings around them.
///
/// ```text
///   identify → observe → admit → route
/// ```
pub fn router(app: Arc<App>) -> Router {
    let (admin, _) = admin_routes().merge(probe_routes()).split_for_parts();
    admin
        .with_state(app.clone())
        .merge(agent_transport::routes(app.agent_port()))
        .fallback(extract::no_such_path)
        .method_not_allowed_fallback(extract::method_not_allowed)
        // In one layer: each one more would be two allocations more for each poll that waits.
        .layer(
            ServiceBuilder::new()
                .layer(observe::no_store())
                .layer(Around(Identify))
                .layer(Around(observe::Observe(app.clone())))
                .layer(Around(observe::Admit(app))),
        )
}
