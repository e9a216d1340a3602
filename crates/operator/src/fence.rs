//! A process whose lease has run out writes nothing to the cluster, whatever it was about to do when it stood still.
//!
//! A process that stood still for longer than its lease goes on with all of its tasks at once, and the one that minds the
//! lease is only one of them: meanwhile another replica works. So every write of agent and controllers asks here when it
//! is made, and the client repeats none by itself. What was made before arrives as it would from any process that dies.
//!
//! Limits: a write that was made and waits for its connection is sent late; the clock stands still while the whole machine
//! is suspended. What is said to the control plane is not fenced: there every statement has an identity of its own.

use futures::future::{BoxFuture, ready};
use http::Request;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use thiserror::Error;
use tokio::time::Instant;
use tower::{BoxError, Service, layer::layer_fn};

/// Until when this process may write; clones share it. Closed at first.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<Option<Instant>>>);

/// Why a call was not made.
#[derive(Debug, Error)]
#[error("this process does not hold the leader-election lease any more and writes nothing")]
pub struct Fenced;

impl Fence {
    /// Lets writes through until then.
    pub fn open_until(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// A client that writes only while the fence is open, and makes each call once: what would be repeated after a
    /// pause would come too late. Reads pass always.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn client(&self, mut config: Config) -> kube::Result<Client> {
        config.default_retry = false;
        let guard = layer_fn(|inner| Guarded { inner, fence: self.clone() });
        Ok(ClientBuilder::try_from(config)?.with_layer(&guard).build())
    }

    /// Whether writes pass at this time.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }
}

/// A client behind the fence.
struct Guarded<S> {
    inner: S,
    fence: Fence,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response: Send + 'static, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !request.method().is_safe() && !self.fence.is_open(Instant::now()) {
            return Box::pin(ready(Err(Fenced.into())));
        }
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Response};
    use std::time::Duration;

    #[tokio::test]
    async fn a_process_whose_lease_has_run_out_reads_and_writes_no_more() {
        let fence = Fence::default();
        let answers = tower::service_fn(|_| ready(Ok::<_, BoxError>(Response::new(Body::empty()))));
        let client = Client::new(Guarded { inner: answers, fence: fence.clone() }, "n");
        let passes = async |method: Method| {
            let request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
            client.send(request).await.is_ok()
        };
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        for (until, is_open) in [(None, false), (Some(now + hour), true), (Some(now), false)] {
            until.into_iter().for_each(|until| fence.open_until(until));
            assert!(passes(Method::GET).await);
            for method in writes.clone() {
                assert_eq!(passes(method.clone()).await, is_open, "{method} until {until:?}");
            }
        }
    }
}
