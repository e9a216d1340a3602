use super::actor::Caller;
use axum::Json;
use vworkspace_protocol::admin::Whoami;

/// Who the bearer of this request is.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "admin", security(("bearer" = [])),
    responses((status = 200, description = "Who you are", body = Whoami)))]
pub async fn whoami(caller: Caller) -> Json<Whoami> {
    Json(crate::app::access::whoami(&caller.0))
}
