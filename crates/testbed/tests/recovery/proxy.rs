//! A proxy between operator and control plane, which now and then answers in the control plane's place.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;
use tokio::{sync::watch, task::JoinHandle};

/// Most bytes of a body that pass.
const BODY_BYTES: usize = 16 << 20;

/// An answer that is not the control plane's.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    pub name: &'static str,
    pub status: u16,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: &'static str,
}

/// A running proxy; ends with this value.
pub struct Proxy {
    /// Where the operator is to send its requests.
    pub url: String,
    state: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    foreign: watch::Sender<Option<Foreign>>,
    /// Requests that it answered itself.
    answered: watch::Sender<usize>,
    /// Polls and other requests that the control plane answered well.
    passed: watch::Sender<usize>,
}

impl Proxy {
    /// Starts one before the control plane at `upstream`, which has this CA.
    pub async fn start(upstream: &str, ca_pem: &[u8]) -> Self {
        let ca = reqwest::Certificate::from_pem_bundle(ca_pem).unwrap();
        let client = reqwest::Client::builder().tls_certs_only(ca).no_proxy().build().unwrap();
        let state = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client,
            foreign: watch::Sender::new(None),
            answered: watch::Sender::new(0),
            passed: watch::Sender::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(handle).with_state(state.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, state, serving }
    }

    /// From here on it answers all requests itself, also those that are under way.
    pub async fn answer(&self, foreign: Foreign) {
        let before = *self.state.answered.borrow();
        self.state.foreign.send_replace(Some(foreign));
        self.state.answered.subscribe().wait_for(|answered| *answered > before).await.unwrap();
    }

    /// From here on everything passes; returns once a request has been answered well.
    pub async fn let_pass(&self) {
        let before = *self.state.passed.borrow();
        self.state.foreign.send_replace(None);
        self.state.passed.subscribe().wait_for(|passed| *passed > before).await.unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn handle(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let mut foreign = state.foreign.subscribe();
    // The sender lives in the state: waiting cannot fail.
    let interrupted = async { foreign.wait_for(Option::is_some).await.unwrap().unwrap() };
    tokio::select! {
        biased;
        foreign = interrupted => {
            state.answered.send_modify(|answered| *answered += 1);
            foreign.response()
        }
        passed = state.pass(request) => passed,
    }
}

impl Shared {
    async fn pass(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, BODY_BYTES).await.unwrap();
        let url = format!("{}{}", self.upstream, head.uri.path_and_query().unwrap());
        let mut headers = head.headers;
        headers.remove(header::HOST);
        let answer = self.client.request(head.method, url).headers(headers).body(body).send().await;
        let Ok(answer) = answer else {
            return status(StatusCode::BAD_GATEWAY, HeaderMap::new(), Body::empty());
        };
        let (code, mut headers) = (answer.status(), answer.headers().clone());
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        let body = answer.bytes().await.unwrap();
        if code.is_success() {
            self.passed.send_modify(|passed| *passed += 1);
        }
        status(code, headers, Body::from(body))
    }
}

impl Foreign {
    fn response(self) -> Response {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.insert(*name, value.parse().unwrap());
        }
        status(StatusCode::from_u16(self.status).unwrap(), headers, Body::from(self.body))
    }
}

fn status(code: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    response
}
