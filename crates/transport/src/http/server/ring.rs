use super::Refused;
use crate::Refusal;
use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

/// What is done around every request: something on its way in, something on its answer's way out.
///
/// A long poll waits inside all rings. Unlike middleware made of an async function, a ring keeps nothing of the request
/// meanwhile but what [`Ring::enter`] remembers: that is a kilobyte and more for each waiting agent and ring.
pub trait Ring: Clone + Send + Sync + 'static {
    /// What is remembered of a request until its answer.
    type Seen: Send + 'static;

    /// Looks at a request on its way in.
    ///
    /// # Errors
    /// Why the request is to go no further.
    fn enter(&self, request: &mut Request) -> Result<Self::Seen, Refusal>;

    /// The span in which the request is served.
    fn span(_: &Self::Seen) -> Span {
        Span::none()
    }

    /// Looks at the answer on its way out.
    fn leave(&self, seen: Self::Seen, response: Response) -> Response;
}

/// Puts a [`Ring`] around a service.
#[derive(Clone)]
pub struct Around<R>(pub R);

impl<S, R: Ring> Layer<S> for Around<R> {
    type Service = Ringed<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Ringed { inner, ring: self.0.clone() }
    }
}

/// A service with a [`Ring`] around it.
#[derive(Clone)]
pub struct Ringed<S, R> {
    inner: S,
    ring: R,
}

impl<S, R> Service<Request> for Ringed<S, R>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
    R: Ring,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let seen = match self.ring.enter(&mut request) {
            Ok(seen) => seen,
            Err(refusal) => return Box::pin(async { Ok(Refused(refusal).into_response()) }),
        };
        let (ring, served) = (self.ring.clone(), self.inner.call(request).instrument(R::span(&seen)));
        Box::pin(async move { Ok(ring.leave(seen, served.await?)) })
    }
}
