//! A private source: a chart repository and an OCI registry behind one address, which asks for a user and a password and
//! whose certificate is signed by an authority of its own.

use crate::stack::Tls;
use anyhow::Context as _;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::any,
};
use axum_server::tls_rustls::RustlsConfig;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    thread,
};

/// Who may read.
const USER: &str = "reader";
/// What they say.
const PASSWORD: &str = "hunter2-of-the-repository";
/// `reader:hunter2-of-the-repository`, as the header has it.
const CREDENTIALS: &str = "Basic cmVhZGVyOmh1bnRlcjItb2YtdGhlLXJlcG9zaXRvcnk=";

/// A running source; it ends with this value.
#[derive(Debug)]
pub struct PrivateCharts {
    /// `host:port` of both; the repository is at `https://…/stable`, charts of the registry under `…/charts`.
    pub address: String,
    /// The authority, PEM.
    pub ca: String,
    handle: axum_server::Handle<SocketAddr>,
}

impl PrivateCharts {
    /// Who may read.
    pub const USER: &str = USER;
    /// What they say.
    pub const PASSWORD: &str = PASSWORD;

    /// Serves what the repository at `charts` and the registry at `registry` have; certificates are made in `dir`.
    ///
    /// # Errors
    /// It cannot listen, or no certificate can be made.
    pub fn serve(charts: &str, registry: &str, dir: &Path) -> anyhow::Result<Self> {
        let tls = Tls::make(dir)?;
        let ca = std::fs::read_to_string(&tls.ca)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        let routes = Router::new()
            .nest("/stable", forwarding(charts.trim_end_matches('/').to_owned()))
            .nest("/v2", forwarding(format!("http://{registry}/v2")))
            .layer(from_fn(asked));
        let handle = axum_server::Handle::new();
        let served = handle.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            let config = RustlsConfig::from_pem_file(&tls.certificate, &tls.key).await?;
            let server = axum_server::from_tcp_rustls(listener, config)?.handle(served);
            server.serve(routes.into_make_service()).await
        };
        thread::Builder::new().name("testbed-private".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "the private source ended");
            }
        })?;
        Ok(Self { address, ca, handle })
    }
}

impl Drop for PrivateCharts {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Asks for the credentials.
async fn asked(request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    if given.is_some_and(|given| given == CREDENTIALS) {
        return next.run(request).await;
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"charts\""));
    (StatusCode::UNAUTHORIZED, headers, "authentication required").into_response()
}

fn forwarding(to: String) -> Router {
    Router::new().fallback(any(forward)).with_state(to)
}

/// Hands a request on, and the answer back.
async fn forward(State(to): State<String>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let accept = request.headers().get(header::ACCEPT).cloned();
    let method = request.method().clone();
    drop(request);
    let answer = async {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let mut asked = client.request(method, format!("{to}{path}"));
        if let Some(accept) = accept {
            asked = asked.header(header::ACCEPT, accept);
        }
        let answer = asked.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
    };
    match answer.await {
        Ok((status, headers, body)) => (status, headers, Body::from(body)).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
