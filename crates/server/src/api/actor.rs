use crate::{
    app::{App, access},
    logs::note_actor,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use std::sync::Arc;
use vworkspace_transport::http::server::{Refused, bearer};

/// Who calls the admin API, proved by the bearer: an argument of every handler that needs one.
pub struct Caller(pub access::Person);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let person = access::authenticate_person(app, bearer(&parts.headers)?.as_ref()).await?;
        note_actor(person.kind(), None);
        Ok(Self(person))
    }
}
