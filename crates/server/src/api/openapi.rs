//! The OpenAPI document: the admin routes as their handlers describe them, the agent routes from a fragment
//! (their handlers live in the transport), and what holds for all of them.

use super::{admin_routes, probe_routes};
use axum::{http::header, response::IntoResponse};
use utoipa::{
    Modify, OpenApi, PartialSchema,
    openapi::{
        self, Components, ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use vworkspace_protocol::Problem;

/// Every error answer any route may give, with its codes.
const ERRORS: [(&str, &str); 9] = [
    (
        "400",
        "`malformed_body`: not JSON of the expected shape. `invalid_request`: a member or parameter breaks a rule the message names. \
         `https_required`: plain HTTP on a port that speaks TLS.",
    ),
    (
        "401",
        "`unauthenticated`: no bearer, or one nobody issued. `token_consumed`, `token_expired`: a registration token that is used up.",
    ),
    (
        "403",
        "`forbidden`: the bearer may not do this. `wrong_cluster`: the bearer belongs to another cluster.",
    ),
    ("404", "`not_found`: there is no such thing, or it is not yours; the answers are equal."),
    (
        "409",
        "`already_exists`, `result_recorded`, `job_closed`, `archived`, `limit_reached`, `last_token`. \
         `identity_conflict`: two agents use one identity.",
    ),
    ("413", "`payload_too_large`: over the bound the message names."),
    ("429", "`rate_limited`: come back after `Retry-After` seconds."),
    ("500", "`internal`: the server failed; the request id finds its log line."),
    ("503", "`unavailable`: stopping or overloaded; come back after `Retry-After` seconds."),
];

/// What the document says before any route is added.
pub fn head() -> openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        info(
            title = "vWorkspace control plane",
            description = "The admin API under `/api/v1` takes intent and reports the outcome. The agent API under \
                `/api/agent` is protocol v1, spoken by the operator in each cluster. Every error answer has the same \
                body; its `error` is a stable code, its `requestId` is also the header `x-request-id` and in the \
                server's log. What belongs to another tenant is answered as if it did not exist.",
            license(name = "Apache-2.0", identifier = "Apache-2.0"),
        ),
        modifiers(&Everywhere),
    )]
    struct Head;
    Head::openapi()
}

/// The whole document.
pub fn whole() -> openapi::OpenApi {
    let agent: openapi::OpenApi = serde_json::from_str(include_str!("agent_openapi.json"))
        .expect("the committed fragment is an OpenAPI document: a test reads it");
    let mut document = admin_routes().into_openapi();
    document.merge(agent);
    document.merge(probe_routes().into_openapi());
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
            add_errors(operation);
        }
    }
    document
}

/// The whole document as text, as committed in `docs/openapi.json`.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&whole()).expect("the document has only string keys");
    text.push('\n');
    text
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "admin",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json")))]
pub async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text())
}

struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        components.schemas.insert("Problem".to_owned(), Problem::schema());
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "Admin API: an API token (`vwksp-adm-…`). Agent API: the cluster's credential (`vwksp-agt-…`), and \
                 for registering the registration token (`vwksp-reg-…`).",
            ))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// A route that asks for a bearer may give every error; the others only fail as a whole.
fn add_errors(operation: &mut Operation) {
    let guarded = operation.security.as_ref().is_some_and(|security| !security.is_empty());
    for (status, description) in ERRORS {
        if !guarded && !matches!(status, "500" | "503") {
            continue;
        }
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description(description).content("application/json", problem).build();
        operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
    }
}
