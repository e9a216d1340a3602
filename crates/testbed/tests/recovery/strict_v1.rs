//! A plain v1 control plane that is strict: it never echoes a session, and a rotation ends the old credential at once.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::{sync::watch, task::JoinHandle};

/// The identity it gives to whoever asks for none.
pub const CLUSTER: &str = "v1-cluster";

/// A running control plane; ends with this value.
pub struct StrictV1 {
    pub url: String,
    state: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    books: Mutex<Books>,
    /// Polls with the credential that is valid.
    polls: watch::Sender<usize>,
}

#[derive(Default)]
struct Books {
    /// Registration tokens that are accepted, however often.
    tokens: Vec<String>,
    credential: String,
    given_out: usize,
    loses_next_rotation: bool,
    /// The cluster ids that registrations asked for.
    registrations: Vec<Option<String>>,
}

impl StrictV1 {
    /// Starts one that accepts this registration token.
    pub async fn start(token: &str) -> Self {
        let state = Arc::new(Shared::default());
        let app = Router::new()
            .route("/api/agent/register", post(register))
            .route("/api/agent/credentials/rotate", post(rotate))
            .route("/api/agent/jobs", get(poll))
            .fallback(any_other)
            .with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let control_plane = Self { url, state, serving };
        control_plane.accept(&[token]);
        control_plane
    }

    /// Accepts these registration tokens from here on, and no other.
    pub fn accept(&self, tokens: &[&str]) {
        self.state.books().tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
    }

    /// The next rotation takes effect, and its answer does not arrive.
    pub fn lose_next_rotation(&self) {
        self.state.books().loses_next_rotation = true;
    }

    /// The cluster ids that registrations asked for.
    pub fn registrations(&self) -> Vec<Option<String>> {
        self.state.books().registrations.clone()
    }

    /// Whether the answer to a rotation was lost.
    pub fn has_lost_a_rotation(&self) -> bool {
        !self.state.books().loses_next_rotation
    }

    /// Waits for a poll with the credential that is valid.
    pub async fn polled(&self) {
        let before = *self.state.polls.borrow();
        self.state.polls.subscribe().wait_for(|polls| *polls > before).await.unwrap();
    }
}

impl Drop for StrictV1 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        bearer.and_then(|value| value.strip_prefix("Bearer ")) == Some(&self.books().credential)
    }
}

impl Books {
    fn another_credential(&mut self) -> String {
        self.given_out += 1;
        self.credential = format!("v1-credential-{}", self.given_out);
        self.credential.clone()
    }
}

async fn register(State(state): State<Arc<Shared>>, Json(asked): Json<Value>) -> Response {
    let mut books = state.books();
    books.registrations.push(asked["clusterId"].as_str().map(str::to_owned));
    if !books.tokens.iter().any(|token| asked["registrationToken"] == token.as_str()) {
        return refusal("the registration token is spent");
    }
    let id = asked["clusterId"].as_str().unwrap_or(CLUSTER);
    Json(json!({ "clusterId": id, "token": books.another_credential() })).into_response()
}

async fn rotate(State(state): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !state.knows(&headers) {
        return refusal("no such credential");
    }
    let mut books = state.books();
    let token = books.another_credential();
    if std::mem::take(&mut books.loses_next_rotation) {
        return (StatusCode::BAD_GATEWAY, Html("<h1>502 Bad Gateway</h1>")).into_response();
    }
    Json(json!({ "token": token })).into_response()
}

async fn poll(State(state): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !state.knows(&headers) {
        return refusal("no such credential");
    }
    state.polls.send_modify(|polls| *polls += 1);
    // Long enough that it is not asked all the time.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    Json(json!({ "jobs": [] })).into_response()
}

async fn any_other(State(state): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if state.knows(&headers) { StatusCode::NO_CONTENT.into_response() } else { refusal("no such credential") }
}

fn refusal(message: &str) -> Response {
    (StatusCode::UNAUTHORIZED, Json(json!({ "error": "unauthorized", "message": message }))).into_response()
}
