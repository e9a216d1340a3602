//! A server in this process whose time the test decides, asked without a socket.

use crate::support::Answer;
use axum::{Router, body::Body, http::Request};
use futures::future::BoxFuture;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;
use vworkspace_server::{api, app::App, clock::Clock};
use vworkspace_store::{Settings, Store};
use vworkspace_transport::http::server::Peer;

/// Stands still until the test moves it on.
struct TestClock(watch::Sender<Timestamp>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (due, mut now) = (self.now() + duration, self.0.subscribe());
        Box::pin(async move {
            // It ends, too, when there is no clock any more.
            let _ = now.wait_for(|now| *now >= due).await;
        })
    }
}

/// A server with one organization and one cluster in it.
pub struct TimedServer {
    pub app: Arc<App>,
    pub cluster: String,
    pub registration_token: String,
    router: Router,
    clock: Arc<TestClock>,
    admin: String,
    _folder: TempDir,
}

impl TimedServer {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db"), &Settings::default()).unwrap();
        let clock = Arc::new(TestClock(watch::Sender::new(Timestamp::from_second(1_800_000_000).unwrap())));
        let admin = store.bootstrap_admin(clock.now()).await.unwrap().unwrap().expose().to_owned();
        let app = Arc::new(App::over(store, clock.clone(), 100));
        let router = api::router(app.clone());
        let (cluster, registration_token) = (String::new(), String::new());
        let mut server = Self { app, cluster, registration_token, router, clock, admin, _folder: folder };
        let organization =
            server.admin("/api/v1/organizations", json!({ "name": "org-a" })).await.expect(201);
        let wanted = json!({ "name": "cluster-a", "organizationId": organization["id"] });
        let cluster = server.admin("/api/v1/clusters", wanted).await.expect(201);
        server.cluster = cluster["id"].as_str().unwrap().to_owned();
        server.registration_token = server.new_token().await;
        server
    }

    pub async fn new_token(&self) -> String {
        let path = format!("/api/v1/clusters/{}/registration-tokens", self.cluster);
        self.admin(&path, json!({})).await.expect(201)["token"].as_str().unwrap().to_owned()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.0.send_modify(|now| *now += Duration::from_secs(seconds));
    }

    pub async fn admin(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &self.admin, None, Some(body)).await
    }

    pub async fn read(&self, path: &str) -> Value {
        self.ask(Method::GET, path, &self.admin, None, None).await.expect(200)
    }

    pub async fn record(&self) -> Value {
        self.read(&format!("/api/v1/clusters/{}", self.cluster)).await
    }

    pub async fn enqueue(&self, job: Value) -> String {
        let made = self.admin(&format!("/api/v1/clusters/{}/jobs", self.cluster), job).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    }

    /// Registers the cluster and answers its credential.
    pub async fn register(&self) -> String {
        let body = json!({ "registrationToken": self.registration_token, "registrationId": "r" });
        let path = "/api/agent/register";
        let answer =
            self.ask(Method::POST, path, &self.registration_token, None, Some(body)).await.expect(200);
        answer["token"].as_str().unwrap().to_owned()
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        bearer: &str,
        caller: Option<(&str, IpAddr)>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {bearer}"));
        if let Some((session, address)) = caller {
            request = request.header("x-vworkspace-session", session).extension(Peer(address));
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }
}

/// One run of an agent.
pub struct Run<'s> {
    pub server: &'s TimedServer,
    pub session: &'static str,
    pub credential: String,
    pub address: IpAddr,
}

impl<'s> Run<'s> {
    pub fn new(server: &'s TimedServer, session: &'static str, credential: &str, address: &str) -> Self {
        Self { server, session, credential: credential.to_owned(), address: address.parse().unwrap() }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let caller = Some((self.session, self.address));
        self.server.ask(method, path, &self.credential, caller, body).await
    }

    pub async fn poll(&self, wait: u32) -> Answer {
        let path = format!("/api/agent/jobs?cluster={}&wait={wait}", self.server.cluster);
        self.call(Method::GET, &path, None).await
    }

    /// Ids of the jobs that a good poll gets.
    pub async fn jobs(&self) -> Vec<String> {
        let answer = self.poll(0).await.expect(200);
        answer["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, &format!("/api/agent/{path}"), Some(body)).await
    }
}
