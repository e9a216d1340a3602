//! The link against a real socket: headers, leniency, bounds.

mod answers;

use super::*;
use axum::{
    Json, Router,
    extract::{Path, Query},
    http::{HeaderMap as Headers, StatusCode},
    response::IntoResponse,
    routing::{get, post},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn settings(base_url: &str) -> LinkSettings {
    LinkSettings {
        base_url: base_url.to_owned(),
        ca_pem: None,
        bearer: Some(Secret::new("vwksp-agt-test")),
        session: SessionId::new("s-1"),
        user_agent: "vworkspace-operator/0.0.0".to_owned(),
        capabilities: headers::AGENT_CAPABILITIES.to_owned(),
        allow_insecure_http: false,
        witness: Arc::default(),
    }
}

async fn link_to(router: Router) -> HttpLink {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    HttpLink::new(&settings(&base)).unwrap()
}

#[tokio::test]
async fn a_poll_says_who_asks_and_for_what() {
    let router = Router::new().route(
        "/api/agent/jobs",
        get(|Query(query): Query<BTreeMap<String, String>>, head: Headers| async move {
            assert_eq!(head["authorization"], "Bearer vwksp-agt-test");
            assert_eq!(head["accept"], headers::MEDIA_TYPE);
            assert_eq!(head[headers::SESSION], "s-1");
            assert_eq!(head["user-agent"], "vworkspace-operator/0.0.0");
            assert!(!head.contains_key("content-type"));
            assert_eq!((query["cluster"].as_str(), query["wait"].as_str()), ("c 1", "30"));
            Json(json!({"jobs": [{"id": "j", "kind": "apply", "payload": {}}]}))
        }),
    );
    let link = link_to(router).await;
    let jobs = link.jobs(&ClusterId::new("c 1"), Duration::from_secs(30)).await.unwrap();
    assert_eq!(jobs[0].id.as_str(), "j");
    let error = link.control_plane_now().unwrap().duration_since(jiff::Timestamp::now());
    assert!(error.abs() < jiff::SignedDuration::from_secs(5), "{error}");
}

#[tokio::test]
async fn any_2xx_in_form_is_good_and_ids_are_escaped() {
    let router = Router::new()
        .route(
            "/api/agent/jobs/{id}/ack",
            post(|Path(id): Path<String>| async move {
                assert_eq!(id, "a/b");
                StatusCode::NO_CONTENT
            }),
        )
        .route("/api/agent/events", post(|| async { (StatusCode::ACCEPTED, Json("taken")) }))
        .route("/api/agent/jobs", get(|| async { Json(Value::Object(serde_json::Map::new())) }));
    let link = link_to(router).await;
    link.ack(&JobId::new("a/b")).await.unwrap();
    link.events(&EventsRequest::default()).await.unwrap();
    assert!(link.jobs(&ClusterId::new("c"), Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn refusals_keep_status_code_and_retry_after() {
    let router = Router::new()
        .route(
            "/api/agent/events",
            post(|| async {
                let busy = Json(json!({"error": "busy", "message": "m"}));
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], busy)
            }),
        )
        .route(
            "/api/agent/jobs/{id}/ack",
            post(|| async {
                (StatusCode::CONFLICT, Json(json!({"error": "job_closed", "message": "m"}))).into_response()
            }),
        );
    let link = link_to(router).await;
    let error = link.events(&EventsRequest::default()).await.unwrap_err();
    let LinkError::Refused { status, problem, retry_after } = error else { panic!("{error}") };
    assert_eq!((status, retry_after), (429, Some(Duration::from_secs(7))));
    assert_eq!(problem.error, "busy");
    let error = link.ack(&JobId::new("x")).await.unwrap_err();
    assert!(
        matches!(error, LinkError::Refused { status: 409, problem, .. } if problem.error == "job_closed")
    );
}

#[tokio::test]
async fn a_refusal_names_its_request_by_its_body_or_else_by_its_header() {
    let refusal =
        |body: Value| async move { (StatusCode::NOT_FOUND, [("x-request-id", "head")], Json(body)) };
    let named = json!({"error": "e", "message": "m", "requestId": "body"});
    let router = Router::new()
        .route("/api/agent/events", post(move || refusal(named)))
        .route("/api/agent/jobs/{id}/ack", post(move || refusal(json!({"error": "e", "message": "m"}))));
    let link = link_to(router).await;
    let error = link.events(&EventsRequest::default()).await.unwrap_err();
    assert_eq!(error.request_id(), Some("body"));
    let error = link.ack(&JobId::new("x")).await.unwrap_err();
    assert_eq!(error.request_id(), Some("head"));
    assert!(!error.to_string().contains("head"), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let big = vec![b' '; ANSWER_BYTES + 1];
    let answer = ([("content-type", "application/json")], big);
    let link = link_to(Router::new().route("/api/agent/jobs", get(|| async move { answer }))).await;
    let error = link.jobs(&ClusterId::new("c"), Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, LinkError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let link = HttpLink::new(&settings("http://127.0.0.1:1")).unwrap();
    assert!(matches!(link.rotate().await.err().unwrap(), LinkError::Unreachable { .. }));
}

#[test]
fn plain_http_stays_on_this_machine_unless_allowed() {
    assert!(matches!(HttpLink::new(&settings("http://example.org")), Err(SettingsError::Insecure { .. })));
    assert!(matches!(HttpLink::new(&settings("ftp://localhost")), Err(SettingsError::Url { .. })));
    let allowed = LinkSettings { allow_insecure_http: true, ..settings("http://example.org") };
    assert!(HttpLink::new(&allowed).is_ok());
    for url in ["http://localhost:1/base/", "http://127.0.0.1", "http://[::1]:8"] {
        assert!(HttpLink::new(&settings(url)).is_ok(), "{url}");
    }
}

/// Runs one of these tests once more, in a process of its own where a proxy is named that nobody serves.
#[test]
fn what_stays_on_this_machine_passes_no_proxy() {
    let test = "http::client::tests::a_poll_says_who_asks_and_for_what";
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("http_proxy", "http://127.0.0.1:1")
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && told.contains("1 passed"), "{told}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_tells_nothing_of_the_credential_in_it() {
    let router = Router::new()
        .route("/api/agent/register", post(|| async { Json(json!({"token": ["vwksp-agt-new"]})) }))
        .route("/api/agent/credentials/rotate", post(|| async { Json(json!({"token": ["vwksp-agt-new"]})) }));
    let link = link_to(router).await;
    let request = RegisterRequest {
        registration_token: Secret::new("vwksp-reg-test"),
        cluster_id: None,
        display_name: String::new(),
        registration_id: String::new(),
    };
    for error in [link.register(&request).await.err().unwrap(), link.rotate().await.err().unwrap()] {
        assert!(matches!(error, LinkError::Malformed { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("vwksp"), "{error}");
    }
}

#[test]
fn a_ca_without_certificates_is_refused_and_secrets_in_urls_are_not_shown() {
    let empty = LinkSettings { ca_pem: Some(b"nothing".to_vec()), ..settings("https://localhost") };
    assert!(matches!(HttpLink::new(&empty), Err(SettingsError::Ca)));
    let error = HttpLink::new(&settings("http://user:secret@example.org")).err().unwrap().to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn whatever_a_url_is_like_what_stands_before_its_host_is_not_shown() {
    for url in
        ["ftp://u:se@cret@h", "u:se@cret@h", "https:/u:secret@h", "http://u:secret@h/a@b", "//secret@h"]
    {
        let error = HttpLink::new(&settings(url)).err().unwrap().to_string();
        assert!(!error.contains("cret"), "{error}");
    }
}

#[test]
fn a_url_brings_no_second_authorization_beside_the_bearer() {
    for url in ["https://user:secret@example.org", "https://user@example.org", "http://:secret@localhost"] {
        let error = HttpLink::new(&settings(url)).err();
        assert!(matches!(&error, Some(SettingsError::Url { url }) if !url.contains("secret")), "{url}");
    }
}

#[test]
fn a_base_path_is_kept() {
    let link = HttpLink::new(&settings("http://localhost/base/")).unwrap();
    assert_eq!(link.url(&["jobs", "a b", "ack"]).as_str(), "http://localhost/base/api/agent/jobs/a%20b/ack");
}
