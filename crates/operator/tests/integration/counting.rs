//! A proxy between the reconciler and the API server that keeps what passes: which request, when, and how it ended.

use axum::{Router, body::Body, extract::State, response::Response};
use http::{Request, StatusCode};
use kube::{Client, Config};
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio::net::TcpListener;

/// One request that the API server has answered.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// Path and query.
    pub uri: String,
    pub status: u16,
    /// When it came in.
    pub at: Instant,
}

/// What has passed; cheap to clone.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    /// Those whose path and query contain `text`, in order.
    pub fn about(&self, text: &str) -> Vec<Call> {
        self.0.lock().unwrap().iter().filter(|call| call.uri.contains(text)).cloned().collect()
    }
}

#[derive(Clone)]
struct Proxy {
    upstream: Client,
    calls: Calls,
}

/// A client that reaches the API server as `upstream` does, through the proxy.
pub async fn client(upstream: Client) -> anyhow::Result<(Client, Calls)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let config = Config::new(format!("http://{}", listener.local_addr()?).parse()?);
    let calls = Calls::default();
    let router = Router::new().fallback(forward).with_state(Proxy { upstream, calls: calls.clone() });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((Client::try_from(config)?, calls))
}

async fn forward(State(proxy): State<Proxy>, request: Request<Body>) -> Response {
    let (method, uri, at) = (request.method().to_string(), request.uri().to_string(), Instant::now());
    let (mut head, body) = request.into_parts();
    for ours in [http::header::HOST, http::header::CONNECTION] {
        head.headers.remove(ours);
    }
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let request = Request::from_parts(head, kube::client::Body::from(body.to_vec()));
    match proxy.upstream.send(request).await {
        Ok(answer) => {
            let call = Call { method, uri, status: answer.status().as_u16(), at };
            proxy.calls.0.lock().unwrap().push(call);
            answer.map(Body::new)
        }
        Err(_) => status(StatusCode::BAD_GATEWAY),
    }
}

fn status(code: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = code;
    response
}
