//! A server to talk to, and clients that are somebody.

use clap::Parser;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use vworkspace_server::{
    args::{Arguments, Command, Serve},
    serve::Running,
};

/// How long a condition may take to come true before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server with a database of its own.
pub struct TestServer {
    pub running: Running,
    pub admin: Client,
    /// Holds the database; dropping it removes that.
    pub folder: TempDir,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with further flags.
    pub async fn with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::start(settings(&folder, flags)).await.unwrap();
        let token = running.first_admin_token.clone().expect("a new data folder has a first admin token");
        let admin = Client::plain(&running.url, Some(token.expose()));
        Self { running, admin, folder }
    }

    pub fn client(&self, bearer: Option<&str>) -> Client {
        Client::plain(&self.running.url, bearer)
    }

    pub async fn organization(&self, name: &str) -> Tenant {
        let made = self.admin.post("/api/v1/organizations", json!({ "name": name })).await.expect(201);
        let id = made["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/organizations/{id}/api-tokens");
        let token = self.admin.post(&path, json!({ "description": "test" })).await.expect(201);
        Tenant { id, client: self.client(token["token"].as_str()) }
    }

    /// A cluster of the tenant whose agent has registered.
    pub async fn agent(&self, tenant: &Tenant, name: &str) -> Agent {
        let cluster = tenant.cluster(name).await;
        let token = tenant.registration_token(&cluster).await;
        let answer = self.client(Some(&token)).post("/api/agent/register", json!({})).await.expect(200);
        assert_eq!(answer["clusterId"], cluster.as_str());
        let credential = answer["token"].as_str().unwrap().to_owned();
        Agent { cluster, client: self.client(Some(&credential)) }
    }

    /// One tenant with one registered cluster.
    pub async fn tenant_and_agent(&self) -> (Tenant, Agent) {
        let tenant = self.organization("org-a").await;
        let agent = self.agent(&tenant, "cluster-a").await;
        (tenant, agent)
    }

    /// What the metrics listener answers.
    pub async fn metrics(&self) -> String {
        scrape(self.running.metrics_url.as_deref().expect("the settings ask for a metrics listener")).await
    }

    /// Waits until a line of `/metrics` reads as given.
    pub async fn until_metric(&self, line: &str) {
        eventually(async || self.metrics().await.lines().any(|l| l == line).then_some(())).await;
    }
}

/// What the metrics listener at `url` answers, asked without a bearer.
pub async fn scrape(url: &str) -> String {
    let base = url.strip_suffix("/metrics").unwrap();
    let answer = Client::plain(base, None).get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

/// Asks again until there is an answer; gives up after [`PATIENCE`].
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the condition never came true")
}

pub fn settings(folder: &TempDir, flags: &[&str]) -> Serve {
    let data = folder.path().join("data");
    let loopback = "127.0.0.1:0";
    let line = [
        "vworkspace-server",
        "serve",
        "--listen",
        loopback,
        "--metrics-listen",
        loopback,
        "--data-dir",
        data.to_str().unwrap(),
    ];
    match Arguments::parse_from(line.iter().chain(flags)).command {
        Command::Serve(settings) => settings,
        Command::Certificate(_) | Command::Openapi => unreachable!("the line says serve"),
    }
}

pub struct Tenant {
    pub id: String,
    pub client: Client,
}

impl Tenant {
    pub async fn cluster(&self, name: &str) -> String {
        let made = self.client.post("/api/v1/clusters", json!({ "name": name })).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    }

    pub async fn registration_token(&self, cluster: &str) -> String {
        let path = format!("/api/v1/clusters/{cluster}/registration-tokens");
        let made = self.client.post(&path, json!({})).await.expect(201);
        made["token"].as_str().unwrap().to_owned()
    }

    /// Enqueues a job and answers its id.
    pub async fn enqueue(&self, cluster: &str, job: Value) -> String {
        let made = self.client.post(&format!("/api/v1/clusters/{cluster}/jobs"), job).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    }

    pub async fn job(&self, id: &str) -> Value {
        self.client.get(&format!("/api/v1/jobs/{id}")).await.expect(200)
    }
}

pub struct Agent {
    pub cluster: String,
    pub client: Client,
}

impl Agent {
    /// Asks for jobs, waiting so many seconds; answers their ids.
    pub async fn poll(&self, wait: u32) -> Vec<String> {
        let answer = self.client.get(&self.poll_path(wait)).await.expect(200);
        let id = |job: &Value| job["id"].as_str().unwrap().to_owned();
        answer["jobs"].as_array().unwrap().iter().map(id).collect()
    }

    pub fn poll_path(&self, wait: u32) -> String {
        format!("/api/agent/jobs?cluster={}&wait={wait}", self.cluster)
    }

    pub async fn ack(&self, job: &str) -> Answer {
        self.client.send(Method::POST, &format!("/api/agent/jobs/{job}/ack"), None).await
    }

    pub async fn result(&self, job: &str, result: Value) -> Answer {
        self.client.post(&format!("/api/agent/jobs/{job}/result"), result).await
    }
}

/// A payload for an object of this name; `version` makes payloads differ.
pub fn manifest(name: &str, version: u32) -> Value {
    json!({ "kind": "apply", "payload": {
        "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
        "metadata": { "name": name, "namespace": "apps" },
        "spec": { "release": { "values": { "version": version } } } } })
}

/// Talks as one bearer.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    bearer: Option<String>,
    session: Option<String>,
    /// A second `Authorization` header.
    second_bearer: Option<String>,
}

impl Client {
    pub fn plain(url: &str, bearer: Option<&str>) -> Self {
        Self::over(reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap(), url, bearer)
    }

    pub fn over(http: reqwest::Client, url: &str, bearer: Option<&str>) -> Self {
        Self {
            http,
            url: url.to_owned(),
            bearer: bearer.map(str::to_owned),
            session: None,
            second_bearer: None,
        }
    }

    /// The same caller, who sends a second `Authorization` header.
    pub fn and_authorization(&self, value: &str) -> Self {
        Self { second_bearer: Some(value.to_owned()), ..self.clone() }
    }

    /// The same client as somebody else.
    pub fn with_bearer(&self, bearer: &str) -> Self {
        Self { bearer: Some(bearer.to_owned()), ..self.clone() }
    }

    /// The same caller of a server that has moved.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// Who it talks as.
    pub fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// The same caller as another run of its process.
    pub fn in_session(&self, session: &str) -> Self {
        Self { session: Some(session.to_owned()), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string())).await
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<String>) -> Answer {
        self.try_send(method, path, body).await.unwrap()
    }

    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        if let Some(second) = &self.second_bearer {
            request = request.header("authorization", second);
        }
        if let Some(session) = &self.session {
            request = request.header("x-vworkspace-session", session);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// Asserts a refusal: its status, its code, a message, and the request id in body and header.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        let body = self.json();
        assert_eq!(body["error"], code, "{}", self.text);
        assert!(!body["message"].as_str().unwrap().is_empty());
        assert_eq!(body["requestId"].as_str().unwrap(), self.headers["x-request-id"]);
        self
    }

    pub fn json(&self) -> Value {
        if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).unwrap() }
    }

    /// The answer as sent, with the request id left out.
    pub fn without_request_id(&self) -> String {
        let id = self.headers["x-request-id"].to_str().unwrap();
        format!("{} {:?} {}", self.status, self.headers.get("content-type"), self.text.replace(id, "ID"))
    }
}
