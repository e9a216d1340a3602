//! One call: URL, time bound, size bound, reading of the answer.

use crate::{
    error::Error,
    settings::{Settings, SettingsError},
};
use http::{HeaderMap, StatusCode, header};
use reqwest::RequestBuilder;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use url::Url;
use vworkspace_http::{
    causes,
    proxy::{Rules, Way},
    tls_fault,
};
use vworkspace_protocol::Problem;

/// Bound of a call that waits for nothing at the server.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer read, after decompression; a full page of jobs with conditions stays far below it.
const RESPONSE_BYTES: usize = 16 * 1024 * 1024;
/// `Retry-After` beyond this is cut: a typing error of a proxy must not silence a caller for days.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A base URL with a bearer.
#[derive(Clone)]
pub(crate) struct Connection {
    http: reqwest::Client,
    base: Url,
    way: Way,
}

impl Connection {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let base = settings.base()?;
        let way = Rules::from_env()?.way_to(&base);
        Ok(Self { http: settings.http_client(&base, &way)?, base, way })
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        self.get_within(path, query, CALL_TIMEOUT).await
    }

    pub(crate) async fn get_within<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<T, Error> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        read_json(&self.call(self.http.get(url).timeout(timeout)).await?)
    }

    pub(crate) async fn text(&self, path: &[&str]) -> Result<String, Error> {
        let body = self.call(self.http.get(self.url(path)).timeout(CALL_TIMEOUT)).await?;
        String::from_utf8(body).map_err(|e| Error::Malformed { detail: e.to_string() })
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &(impl Serialize + Sync),
    ) -> Result<T, Error> {
        read_json(&self.call(self.http.post(self.url(path)).json(body).timeout(CALL_TIMEOUT)).await?)
    }

    /// Deletes what `path` names; the answer has no body.
    pub(crate) async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<(), Error> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.call(self.http.delete(url).timeout(CALL_TIMEOUT)).await.map(drop)
    }

    /// Posts without a body.
    pub(crate) async fn act<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Error> {
        read_json(&self.call(self.http.post(self.url(path)).timeout(CALL_TIMEOUT)).await?)
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn call(&self, request: RequestBuilder) -> Result<Vec<u8>, Error> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let (status, head) = (response.status(), response.headers().clone());
        let body = self.read_bounded(response).await?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &head, &body)) }
    }

    async fn read_bounded(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            if body.len() + chunk.len() > RESPONSE_BYTES {
                return Err(Error::Malformed { detail: format!("the body is over {RESPONSE_BYTES} bytes") });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        Error::Unreachable {
            server: self.base.to_string(),
            tls: tls_fault(error),
            detail: match &self.way {
                Way::Direct => causes(error),
                // It may be the proxy that is not reached.
                Way::Through(_) => format!("{}: {}", self.way, causes(error)),
            },
        }
    }
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|e| Error::Malformed { detail: e.to_string() })
}

/// Any body will do: what is not the API's error body is replaced by the status line.
fn refused(status: StatusCode, head: &HeaderMap, body: &[u8]) -> Error {
    let mut problem = serde_json::from_slice::<Problem>(body).unwrap_or_default();
    if problem.error.is_empty() {
        "http".clone_into(&mut problem.error);
    }
    if problem.message.is_empty() {
        problem.message = status.to_string();
    }
    Error::Refused { status: status.as_u16(), problem, retry_after: retry_after(head) }
}

/// Seconds only: our server never writes the date form.
fn retry_after(head: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = head.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}
