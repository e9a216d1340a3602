//! Sending one request and reading one bounded answer.

use crate::Error;
use reqwest::{Certificate, RequestBuilder, Response, header::RETRY_AFTER, redirect::Policy};
use serde::{Serialize, de::DeserializeOwned};
use std::{error::Error as _, time::Duration};
use url::Url;
use vworkspace_protocol::{Problem, Secret, limits::clip};

/// How long a call may take beyond what the server was asked to wait.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer read: 200 items of a page are far below.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// The connection pool, where it leads, and as whom.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    base: Url,
    token: Secret,
}

impl Http {
    pub fn new(server: &str, token: Secret, ca: Option<&[u8]>) -> Result<Self, Error> {
        let setup = |detail: String| Error::Setup { detail };
        let base = Url::parse(server).map_err(|e| setup(format!("{server} is not a URL: {e}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(setup(format!("{server} is not an http or https URL")));
        }
        let agent = concat!("vworkspace-client/", env!("CARGO_PKG_VERSION"));
        let mut builder =
            reqwest::Client::builder().user_agent(agent).connect_timeout(CONNECT_TIMEOUT).redirect(Policy::none());
        if let Some(pem) = ca {
            let roots = Certificate::from_pem_bundle(pem).map_err(|e| setup(format!("the CA is not PEM: {e}")))?;
            if roots.is_empty() {
                return Err(setup("the CA file holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_only(roots);
        }
        let client = builder.build().map_err(|e| setup(format!("cannot set up TLS: {}", chain(&e))))?;
        Ok(Self { client, base, token })
    }

    pub fn base(&self) -> &Url {
        &self.base
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, Error> {
        self.get_within(path, query, Duration::ZERO).await
    }

    /// A call that the server may hold for `wait`.
    pub async fn get_within<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        wait: Duration,
    ) -> Result<T, Error> {
        self.send(self.client.get(self.url(path)).query(query).timeout(wait + TIMEOUT)).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Error> {
        self.send(self.client.post(self.url(path)).json(body).timeout(TIMEOUT)).await
    }

    /// Segments are escaped, so no id can leave its place in the path.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        url
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let unreachable = |e: reqwest::Error| Error::Unreachable { detail: chain(&e.without_url()) };
        let response = request.bearer_auth(self.token.expose()).send().await.map_err(unreachable)?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = bounded(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| Error::Malformed { detail: e.to_string() });
        }
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            error: status.as_str().to_owned(),
            message: clip(&String::from_utf8_lossy(&body), 200).to_owned(),
            request_id: String::new(),
        });
        Err(Error::Refused { status: status.as_u16(), problem, retry_after })
    }
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(Error::Malformed { detail: format!("it is over {ANSWER_BYTES} bytes") }),
            Ok(None) => return Ok(body),
            Err(e) => return Err(Error::Unreachable { detail: chain(&e.without_url()) }),
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The error with its causes: the outer text alone says little.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
