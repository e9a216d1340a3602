//! What handlers read: bodies, path ids and query parameters, each refused in the words of the error body.

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::request::Parts,
};
use serde::de::DeserializeOwned;
use vworkspace_protocol::problem::code;
use vworkspace_transport::{
    Refusal,
    http::server::{Refused, read_json},
};

/// A JSON body.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        read_json(request.into_body()).await.map(Self)
    }
}

/// An id from the path. One that cannot be decoded names nothing.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(crate::app::not_found().into()),
        }
    }
}

/// Two ids from the path, the outer one first.
pub struct Ids(pub String, pub String);

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((outer, inner))) => Ok(Self(outer, inner)),
            Err(_) => Err(crate::app::not_found().into()),
        }
    }
}

/// Query parameters.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let message = format!("the query cannot be read: {}", rejection.body_text());
                Err(Refusal::new(400, code::INVALID_REQUEST, message).into())
            }
        }
    }
}

/// Fallback for paths nobody knows.
pub async fn no_such_path() -> Refused {
    Refusal::new(404, code::NOT_FOUND, "there is nothing under this path").into()
}

/// Fallback for a known path asked in another way.
pub async fn method_not_allowed() -> Refused {
    Refusal::new(405, code::METHOD_NOT_ALLOWED, "this path does not take this method").into()
}
