use super::Refused;
use crate::Refusal;
use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::{FutureExt as _, future::CatchUnwind};
use pin_project_lite::pin_project;
use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower::{Layer, Service};
use tracing::Span;
use vworkspace_protocol::problem::code;

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

    /// The span in which the request is served, if the ring opens one.
    fn span(_: &Self::Seen) -> Option<&Span> {
        None
    }

    /// Looks at the answer on its way out. What panicked inside is answered with 500.
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
    R: Ring,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RingFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match self.ring.enter(&mut request) {
            Ok(seen) => {
                let inside = R::span(&seen).map(Span::enter);
                let served = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
                drop(inside);
                RingFuture::Inside { served, around: Some((self.ring.clone(), seen)) }
            }
            Err(refusal) => RingFuture::TurnedAway { refusal: Some(refusal) },
        }
    }
}

pin_project! {
    /// An answer on its way. Written by hand, because an async block would keep room for `F` twice.
    #[project = RingFutureProjected]
    pub enum RingFuture<F, R: Ring> {
        /// The request is being served.
        Inside {
            #[pin]
            served: CatchUnwind<AssertUnwindSafe<F>>,
            around: Option<(R, R::Seen)>,
        },
        /// It went no further.
        TurnedAway { refusal: Option<Refusal> },
    }
}

impl<F, R> Future for RingFuture<F, R>
where
    F: Future<Output = Result<Response, Infallible>>,
    R: Ring,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match self.project() {
            RingFutureProjected::TurnedAway { refusal } => {
                refusal.take().map(|refusal| Refused(refusal).into_response())
            }
            RingFutureProjected::Inside { served, around } => {
                let inside = around.as_ref().and_then(|(_, seen)| R::span(seen)).map(Span::enter);
                let response = match ready!(served.poll(cx)) {
                    Ok(Ok(response)) => response,
                    Err(panicked) => answer_panic(panicked),
                };
                drop(inside);
                around.take().map(|(ring, seen)| ring.leave(seen, response))
            }
        };
        // Absent only when polled again after it was ready, which no caller does.
        answer.map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
    }
}

/// The panic hook has logged where.
fn answer_panic(_: Box<dyn Any + Send>) -> Response {
    let message = "the server failed; the request id finds its log line";
    Refused(Refusal::new(500, code::INTERNAL, message)).into_response()
}
