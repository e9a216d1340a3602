//! Agent side of the HTTP transport.
//!
//! One [`HttpLink`] is one base URL with one credential. It keeps nothing about jobs and repeats nothing: a changed
//! credential, URL or CA means a new link.

use super::form::{self, Expected};
use crate::{
    link::{ANSWER_BYTES, AgentLink, LinkError, whole_registration, whole_rotation},
    provenance::{Evidence, Witness},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::{Timestamp, fmt::rfc2822};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use thiserror::Error;
use url::{Url, form_urlencoded::byte_serialize};
use vworkspace_http::{
    causes, client_builder,
    proxy::{self, NotAProxy, Way},
    tls_fault,
};
use vworkspace_protocol::{
    ClusterId, Job, JobId, Problem, Secret,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::{EventsAnswer, EventsRequest},
    headers,
    id::SessionId,
    job::JobsResponse,
    limits,
    outcome::{JobResult, StatusUpdate},
};

/// Bound of every call that does not wait for jobs.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// What a poll may take beyond the wait it asked for.
const POLL_MARGIN: Duration = Duration::from_secs(10);
/// How long a connection is kept that nothing uses. Shorter than a heartbeat's period: an agent at rest holds the one
/// connection on which its poll waits.
const POOL_IDLE: Duration = Duration::from_secs(20);
/// Largest body read of an answer that holds no document.
const PROBLEM_BYTES: usize = 64 * 1024;
/// Longest content type shown.
const CONTENT_TYPE_BYTES: usize = 100;
/// Longest request id taken from a header; ours have 32 characters.
const REQUEST_ID_BYTES: usize = 128;
/// `Retry-After` beyond this is cut: a typing error of a proxy must not silence a cluster for days.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The control plane's clock is not known yet.
const CLOCK_UNKNOWN: i64 = i64::MIN;

/// What an [`HttpLink`] is made of.
#[derive(Clone)]
pub struct LinkSettings {
    /// Base URL; a trailing `/` does not matter.
    pub base_url: String,
    /// The only certificates (PEM) to trust; absent: those of the operating system.
    pub ca_pem: Option<Vec<u8>>,
    /// The bearer credential; absent before registration.
    pub bearer: Option<Secret>,
    /// This process' session.
    pub session: SessionId,
    /// Value of `User-Agent`, for example `vworkspace-operator/1.2.3`.
    pub user_agent: String,
    /// What the agent announces, in the form of [`headers::AGENT_CAPABILITIES`].
    pub capabilities: String,
    /// Whether `http://` may leave this machine.
    pub allow_insecure_http: bool,
    /// What is known of the control plane behind the URL.
    pub witness: Arc<Witness>,
}

/// Why no link can be made of the settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The base URL cannot be read, has no host, or names a user, who would be told beside the bearer.
    #[error("control plane URL {url:?} is not an http or https URL without user name and password")]
    Url {
        /// The text as given, without user name and password.
        url: String,
    },
    /// Plain HTTP to another machine.
    #[error(
        "control plane URL {url:?} would send the credential in clear; use https, or --allow-insecure-http"
    )]
    Insecure {
        /// The text as given.
        url: String,
    },
    /// The CA text holds no certificate.
    #[error("the control plane's CA holds no readable PEM certificate")]
    Ca,
    /// The environment names something else as proxy.
    #[error(transparent)]
    Proxy(#[from] NotAProxy),
    /// A header value holds characters that HTTP forbids.
    #[error("{name} cannot be sent as an HTTP header")]
    Header {
        /// What the value is for.
        name: &'static str,
    },
    /// The HTTP client cannot be built, for example for want of CA certificates of the operating system.
    #[error("no HTTP client: {detail}")]
    Client {
        /// The cause.
        detail: String,
    },
}

/// The HTTP long-poll adapter of [`AgentLink`].
pub struct HttpLink {
    client: reqwest::Client,
    base: Url,
    way: Way,
    bearer: Option<Secret>,
    session: HeaderValue,
    witness: Arc<Witness>,
    /// Since when there is this link.
    born: Instant,
    /// The control plane's clock at that time, in milliseconds since 1970: our own clock may be set meanwhile.
    clock_at_birth: AtomicI64,
}

impl HttpLink {
    /// Makes a link; opens no connection.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(settings: &LinkSettings) -> Result<Self, SettingsError> {
        let base = base_url(settings)?;
        settings.bearer.as_ref().map(bearer_value).transpose()?;
        let way = proxy::Rules::from_env()?.way_to(&base);
        let client = client(settings, &base, &way)?;
        Ok(Self {
            client,
            base,
            way,
            bearer: settings.bearer.clone(),
            session: session_value(settings)?,
            witness: settings.witness.clone(),
            born: Instant::now(),
            clock_at_birth: AtomicI64::new(CLOCK_UNKNOWN),
        })
    }

    /// How the control plane is reached.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// The control plane's clock now, by the `Date` header of its last answer (±1 s) and the time since, whatever our
    /// own clock is set to; absent before the first answer.
    pub fn control_plane_now(&self) -> Option<Timestamp> {
        let at_birth = Some(self.clock_at_birth.load(Ordering::Relaxed)).filter(|at| *at != CLOCK_UNKNOWN);
        Timestamp::from_millisecond(at_birth?.saturating_add(self.age_ms())).ok()
    }

    fn age_ms(&self) -> i64 {
        i64::try_from(self.born.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The address of these path segments; `.` and `..`, which no path can tell, are left out.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        let mut path = url.path().trim_end_matches('/').to_owned();
        let told = segments.iter().filter(|segment| !matches!(**segment, "." | ".."));
        for segment in ["api", "agent"].iter().chain(told) {
            path.push('/');
            // Not by `path_segments_mut`, which loses tabs and line breaks, nor with `+`, which is no space in a path.
            path.push_str(&byte_serialize(segment.as_bytes()).collect::<String>().replace('+', "%20"));
        }
        url.set_path(&path);
        url
    }

    /// Makes the call and returns the body of a good answer.
    async fn call<B: Serialize + Sync>(&self, request: Request<'_, B>) -> Result<Bytes, LinkError> {
        self.exchange(request).await.map(|(_, body)| body)
    }

    /// Makes the call and returns a good answer. Whatever is not the control plane's word teaches nothing.
    async fn exchange<B: Serialize + Sync>(
        &self,
        request: Request<'_, B>,
    ) -> Result<(Head, Bytes), LinkError> {
        let expected = request.expected;
        let bearer = request.bearer.cloned().or_else(|| self.bearer.clone());
        let builder = self.builder(request, bearer.as_ref())?;
        let (head, Body { bytes, is_whole }) =
            answer(builder, expected).await.map_err(|error| error.by(&self.way)).inspect_err(|_| {
                if expected.is_poll() {
                    self.witness.note_unanswered_poll();
                }
            })?;
        let secrets = [bearer.as_ref().map(Secret::expose).unwrap_or_default()];
        let problem =
            if head.is_success() { None } else { form::problem(&head.content_type, &bytes, &secrets) };
        let is_good = head.is_success()
            && if is_whole {
                form::is_success(head.status, &head.content_type, &bytes, expected)
            } else {
                form::is_json(&head.content_type)
            };
        let evidence = Evidence {
            echoed: head.session.as_ref() == Some(&self.session),
            in_form: is_good || problem.is_some(),
            is_poll: expected.is_poll(),
        };
        if !self.witness.judge(evidence) {
            return Err(head.unexpected(&bytes, &secrets));
        }
        self.learn_clock(head.date);
        match problem {
            Some(problem) => Err(head.refused(problem, &secrets)),
            None if is_whole => Ok((head, bytes)),
            None => Err(LinkError::too_large()),
        }
    }

    /// The jobs of a poll; the error of an unreadable answer quotes a part of it, and no credential.
    fn read_jobs(&self, body: &[u8]) -> Result<Vec<Job>, LinkError> {
        let read: Result<JobsResponse, _> = serde_json::from_slice(body);
        let bearer = self.bearer.as_ref().map(Secret::expose).unwrap_or_default();
        let detail = |e: serde_json::Error| form::excerpt(e.to_string().as_bytes(), &[bearer]);
        read.map(|read| read.jobs).map_err(|e| LinkError::Malformed { detail: detail(e) })
    }

    fn builder<B: Serialize + Sync>(
        &self,
        request: Request<'_, B>,
        bearer: Option<&Secret>,
    ) -> Result<reqwest::RequestBuilder, LinkError> {
        let malformed = |detail: String| LinkError::Malformed { detail };
        let mut builder = self.client.request(request.method, request.url).timeout(request.timeout);
        if let Some(bearer) = bearer {
            let value = bearer_value(bearer).map_err(|e| malformed(e.to_string()))?;
            builder = builder.header(header::AUTHORIZATION, value);
        }
        if let Some(body) = request.body {
            let json = serde_json::to_vec(body).map_err(|e| malformed(e.to_string()))?;
            builder = builder.header(header::CONTENT_TYPE, headers::MEDIA_TYPE).body(json);
        }
        Ok(builder)
    }

    fn learn_clock(&self, theirs: Option<Timestamp>) {
        if let Some(theirs) = theirs {
            let at_birth = theirs.as_millisecond().saturating_sub(self.age_ms());
            self.clock_at_birth.store(at_birth, Ordering::Relaxed);
        }
    }

    /// Sends a message whose good answer holds nothing.
    async fn tell<B: Serialize + Sync>(&self, segments: &[&str], body: Option<&B>) -> Result<(), LinkError> {
        self.call(self.post(segments, body)).await.map(drop)
    }

    fn post<'a, B>(&self, segments: &[&str], body: Option<&'a B>) -> Request<'a, B> {
        let (url, expected) = (self.url(segments), Expected::Nothing);
        Request { method: Method::POST, url, bearer: None, body, timeout: CALL_TIMEOUT, expected }
    }
}

struct Request<'a, B> {
    method: Method,
    url: Url,
    /// Instead of the link's own.
    bearer: Option<&'a Secret>,
    body: Option<&'a B>,
    timeout: Duration,
    expected: Expected,
}

/// An answer but for its body.
struct Head {
    status: u16,
    content_type: String,
    session: Option<HeaderValue>,
    request_id: String,
    retry_after: Option<Duration>,
    date: Option<Timestamp>,
    report_digest: Option<String>,
}

impl Head {
    fn of(response: &reqwest::Response) -> Self {
        let head = response.headers();
        let text = |name: &str, most: usize| {
            let value = head.get(name).and_then(|value| value.to_str().ok());
            limits::clip(value.unwrap_or_default(), most).to_owned()
        };
        Self {
            status: response.status().as_u16(),
            content_type: text(header::CONTENT_TYPE.as_str(), CONTENT_TYPE_BYTES),
            session: head.get(headers::SESSION).cloned(),
            request_id: text(headers::REQUEST_ID, REQUEST_ID_BYTES),
            retry_after: retry_after(head),
            date: date(head, &header::DATE),
            report_digest: report_digest(head),
        }
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn refused(self, mut problem: Problem, secrets: &[&str]) -> LinkError {
        if problem.request_id.is_empty() {
            problem.request_id = form::bounded(&self.request_id, REQUEST_ID_BYTES, secrets);
        }
        LinkError::Refused { status: self.status, problem, retry_after: self.retry_after }
    }

    fn unexpected(self, body: &[u8], secrets: &[&str]) -> LinkError {
        LinkError::Unexpected {
            status: self.status,
            content_type: form::excerpt(self.content_type.as_bytes(), secrets),
            excerpt: form::excerpt(body, secrets),
            retry_after: self.retry_after,
        }
    }
}

impl AgentLink for HttpLink {
    async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, LinkError> {
        let bearer = Some(&request.registration_token);
        let call = Request { bearer, expected: Expected::Object, ..self.post(&["register"], Some(request)) };
        whole_registration(read_credential(&self.call(call).await?)?)
    }

    async fn jobs(&self, cluster: &ClusterId, wait: Duration) -> Result<Vec<Job>, LinkError> {
        let mut url = self.url(&["jobs"]);
        url.query_pairs_mut()
            .append_pair("cluster", cluster.as_str())
            .append_pair("wait", &wait.as_secs().to_string());
        let (timeout, expected) = (wait + POLL_MARGIN, Expected::Jobs);
        let call = Request { method: Method::GET, url, bearer: None, body: None::<&()>, timeout, expected };
        let body = self.call(call).await?;
        // A 204 is a poll without jobs.
        if body.is_empty() { Ok(Vec::new()) } else { self.read_jobs(&body) }
    }

    async fn ack(&self, job: &JobId) -> Result<(), LinkError> {
        self.tell(&["jobs", job.as_str(), "ack"], None::<&()>).await
    }

    async fn status(&self, job: &JobId, update: &StatusUpdate) -> Result<(), LinkError> {
        self.tell(&["jobs", job.as_str(), "status"], Some(update)).await
    }

    async fn result(&self, job: &JobId, result: &JobResult) -> Result<(), LinkError> {
        self.tell(&["jobs", job.as_str(), "result"], Some(result)).await
    }

    async fn events(&self, batch: &EventsRequest) -> Result<EventsAnswer, LinkError> {
        let (head, _) = self.exchange(self.post(&["events"], Some(batch))).await?;
        Ok(EventsAnswer { report_digest: head.report_digest })
    }

    async fn rotate(&self) -> Result<RotateResponse, LinkError> {
        let nothing = serde_json::Map::new();
        let rotate = self.post(&["credentials", "rotate"], Some(&nothing));
        let call = Request { expected: Expected::Object, ..rotate };
        whole_rotation(read_credential(&self.call(call).await?)?)
    }

    async fn decommission(&self) -> Result<(), LinkError> {
        self.tell(&["cluster", "decommission"], Some(&serde_json::Map::new())).await
    }
}

fn base_url(settings: &LinkSettings) -> Result<Url, SettingsError> {
    let text = settings.base_url.trim();
    let invalid = || SettingsError::Url { url: shown(text) };
    let mut url = Url::parse(text).map_err(|_| invalid())?;
    let host = url.host().ok_or_else(invalid)?;
    match url.scheme() {
        "https" => {}
        "http" if settings.allow_insecure_http || proxy::is_loopback(&host) => {}
        "http" => return Err(SettingsError::Insecure { url: shown(text) }),
        _ => return Err(invalid()),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid());
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// The URL without user name and password, should somebody have put a secret there.
fn shown(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…@{host}"),
        None => format!("…@{host}"),
    }
}

fn bearer_value(secret: &Secret) -> Result<HeaderValue, SettingsError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
        .map_err(|_| SettingsError::Header { name: "the credential" })?;
    value.set_sensitive(true);
    Ok(value)
}

fn client(settings: &LinkSettings, base: &Url, way: &Way) -> Result<reqwest::Client, SettingsError> {
    let builder = client_builder(base, way, settings.ca_pem.as_deref()).map_err(|_| SettingsError::Ca)?;
    let builder = builder
        .default_headers(default_headers(settings)?)
        .pool_max_idle_per_host(4)
        .pool_idle_timeout(POOL_IDLE);
    builder.build().map_err(|e| SettingsError::Client { detail: causes(&e) })
}

fn session_value(settings: &LinkSettings) -> Result<HeaderValue, SettingsError> {
    HeaderValue::from_str(settings.session.as_str())
        .map_err(|_| SettingsError::Header { name: "the session" })
}

fn default_headers(settings: &LinkSettings) -> Result<HeaderMap, SettingsError> {
    let value = |name, text: &str| HeaderValue::from_str(text).map_err(|_| SettingsError::Header { name });
    let mut head = HeaderMap::new();
    head.insert(header::ACCEPT, HeaderValue::from_static(headers::MEDIA_TYPE));
    head.insert(header::USER_AGENT, value("the user agent", &settings.user_agent)?);
    head.insert(headers::SESSION, session_value(settings)?);
    head.insert(headers::CAPABILITIES, value("the capabilities", &settings.capabilities)?);
    Ok(head)
}

/// A body, after decompression.
struct Body {
    bytes: Bytes,
    /// Whether it ends within the bound.
    is_whole: bool,
}

/// Sends the request and reads its answer, to the bound.
async fn answer(builder: reqwest::RequestBuilder, expected: Expected) -> Result<(Head, Body), LinkError> {
    let response = builder.send().await.map_err(|e| unreachable(&e))?;
    let head = Head::of(&response);
    let most = match expected {
        Expected::Object | Expected::Jobs if head.is_success() && form::is_json(&head.content_type) => {
            ANSWER_BYTES
        }
        Expected::Nothing | Expected::Object | Expected::Jobs => PROBLEM_BYTES,
    };
    let body = read(response, most).await?;
    Ok((head, body))
}

async fn read(mut response: reqwest::Response, most: usize) -> Result<Body, LinkError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok(Body { bytes: body.into(), is_whole: false });
        }
    }
    Ok(Body { bytes: body.into(), is_whole: true })
}

/// Reads a body that holds a credential: the error names the place and quotes nothing.
fn read_credential<T: DeserializeOwned>(body: &[u8]) -> Result<T, LinkError> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        LinkError::Malformed { detail: format!("no credential can be read at line {line}, column {column}") }
    })
}

/// The digest that the control plane sent; `None` if it sent none, or none that can be one.
fn report_digest(head: &HeaderMap) -> Option<String> {
    let text = head.get(headers::REPORT_DIGEST)?.to_str().ok()?;
    let is_digest = text.len() <= limits::REPORT_DIGEST_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
    (is_digest && !text.is_empty()).then(|| text.to_owned())
}

/// Seconds, as the protocol says, or a date, as proxies may: measured from the answer's own `Date`, so that neither
/// clock need be right. A date that has passed asks for no pause, which is no request at all.
fn retry_after(head: &HeaderMap) -> Option<Duration> {
    let text = head.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let now = date(head, &header::DATE).unwrap_or_else(Timestamp::now);
            Duration::try_from(date(head, &header::RETRY_AFTER)?.duration_since(now)).ok()?
        }
    };
    Some(asked.min(MAX_RETRY_AFTER)).filter(|asked| !asked.is_zero())
}

fn date(head: &HeaderMap, name: &header::HeaderName) -> Option<Timestamp> {
    let text = head.get(name)?.to_str().ok()?;
    Some(rfc2822::parse(text.trim()).ok()?.timestamp())
}

fn unreachable(error: &reqwest::Error) -> LinkError {
    let remedy = tls_fault(error).and_then(|fault| fault.remedy());
    let detail = causes(error);
    LinkError::Unreachable { detail: remedy.map_or(detail.clone(), |remedy| format!("{detail}; {remedy}")) }
}

#[cfg(test)]
mod tests;
