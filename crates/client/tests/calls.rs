//! The client against real sockets: what it sends, what it makes of answers, its bounds.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test")]

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect},
    routing::{delete, get, post},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use vworkspace_client::{Client, Error};
use vworkspace_protocol::{
    ClusterId, JobId, Secret,
    admin::JobState,
    id::{OrganizationId, TokenId},
};

type Params = Query<BTreeMap<String, String>>;

async fn client_of(router: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().nest("/base", router)).await });
    Client::new(&url, Secret::new("vwksp-adm-test"), None).unwrap()
}

fn job(id: &str) -> Value {
    json!({
        "id": id, "clusterId": "c", "kind": "apply", "state": "queued", "idempotencyKey": "k", "deliveries": 0,
        "target": {"kind": "ApplicationInstance", "namespace": "n", "name": "web"},
        "createdAt": "2026-01-01T00:00:00Z", "asOf": "2026-01-01T00:00:01Z", "later": {"unknown": true},
    })
}

#[tokio::test]
async fn a_call_says_who_asks_and_escapes_ids() {
    let router = Router::new().route(
        "/api/v1/jobs/{id}",
        get(|Path(id): Path<String>, Query(query): Params, head: HeaderMap| async move {
            assert_eq!(head["authorization"], "Bearer vwksp-adm-test");
            assert!(head["user-agent"].to_str().unwrap().starts_with("vworkspace-client/"));
            assert_eq!((id.as_str(), query["after"].as_str(), query["wait"].as_str()), ("a/b", "3", "60"));
            Json(job("a/b"))
        }),
    );
    let client = client_of(router).await;
    let job = client.watch_job(&JobId::new("a/b"), 3, Duration::from_secs(600)).await.unwrap();
    assert_eq!((job.id.as_str(), job.state), ("a/b", JobState::Queued));
}

#[tokio::test]
async fn pages_become_one_list_up_to_the_bound() {
    let router = Router::new().route(
        "/api/v1/clusters/{id}/jobs",
        get(|Query(query): Params| async move {
            assert!(!query.contains_key("state"), "an empty filter is left out");
            let start: usize = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
            let limit: usize = query["limit"].parse().unwrap();
            assert!(limit <= 200);
            let items: Vec<_> = (start..500.min(start + limit)).map(|n| job(&n.to_string())).collect();
            let end = start + items.len();
            Json(json!({"items": items, "nextCursor": (end < 500).then(|| end.to_string())}))
        }),
    );
    let client = client_of(router).await;
    let cluster = ClusterId::new("c");
    let all = client.jobs(&cluster, None, usize::MAX).await.unwrap();
    assert_eq!((all.items.len(), all.next_cursor), (500, None));
    assert_eq!(all.items[499].id.as_str(), "499");
    let cut = client.jobs(&cluster, None, 250).await.unwrap();
    assert_eq!((cut.items.len(), cut.next_cursor.as_deref()), (250, Some("250")));
}

#[tokio::test]
async fn revocations_name_the_token_and_force_only_where_asked() {
    let told = |query: &BTreeMap<String, String>, owner: &str| {
        let force = query.get("force").map_or("unforced", |force| force.as_str()).to_owned();
        let answer = json!({ "error": "last_token", "message": format!("{owner} {force}") });
        (StatusCode::CONFLICT, Json(answer))
    };
    let router = Router::new()
        .route(
            "/api/v1/organizations/o/api-tokens/{id}",
            delete(move |Path(id): Path<String>, Query(query): Params| async move { told(&query, &id) }),
        )
        .route(
            "/api/v1/api-tokens/t",
            delete(move |Query(query): Params| async move { told(&query, "admin") }),
        )
        .route("/api/v1/clusters/c/registration-tokens/t", delete(async || StatusCode::NO_CONTENT));
    let client = client_of(router).await;
    let (organization, token) = (OrganizationId::new("o"), TokenId::new("t"));
    for (owner, force, expected) in [
        (Some(&organization), false, "t unforced"),
        (Some(&organization), true, "t true"),
        (None, true, "admin true"),
    ] {
        let refused = client.revoke_api_token(owner, &token, force).await.unwrap_err();
        let Error::Refused { problem, .. } = refused else { panic!("{refused}") };
        assert_eq!(problem.message, expected);
    }
    client.revoke_registration_token(&ClusterId::new("c"), &token).await.unwrap();
}

#[tokio::test]
async fn refusals_keep_status_body_and_retry_after_whatever_the_body_is() {
    let router = Router::new()
        .route(
            "/api/v1/whoami",
            get(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], "<html>") }),
        )
        .route(
            "/api/v1/jobs/{id}/cancel",
            post(|| async {
                let body = json!({"error": "job_closed", "message": "the job is closed", "requestId": "r-1"});
                (StatusCode::CONFLICT, Json(body))
            }),
        );
    let client = client_of(router).await;
    let Error::Refused { status, problem, retry_after } = client.whoami().await.unwrap_err() else {
        panic!()
    };
    assert_eq!((status, retry_after), (503, Some(Duration::from_secs(7))));
    assert_eq!(problem.message, "503 Service Unavailable");
    let error = client.cancel_job(&JobId::new("j")).await.unwrap_err();
    assert_eq!(error.to_string(), "the job is closed (409 job_closed, request r-1)");
}

#[tokio::test]
async fn redirects_are_not_followed_so_that_the_token_stays_here() {
    let router =
        Router::new().route("/api/v1/whoami", get(|| async { Redirect::temporary("http://192.0.2.1/") }));
    let error = client_of(router).await.whoami().await.unwrap_err();
    assert_eq!(error.status(), Some(307));
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_a_strange_one_is_told() {
    let endless = || async {
        let chunk = axum::body::Bytes::from(vec![b' '; 1 << 20]);
        let chunks = (0..17).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
        Body::from_stream(futures::stream::iter(chunks)).into_response()
    };
    let router = Router::new()
        .route("/metrics", get(endless))
        .route("/api/v1/whoami", get(|| async { Json(json!({"role": "emperor"})) }));
    let client = client_of(router).await;
    assert!(matches!(client.metrics().await, Err(Error::Malformed { .. })));
    assert!(matches!(client.whoami().await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let client = Client::new("http://127.0.0.1:1", Secret::new("vwksp-adm-test"), None).unwrap();
    let error = client.whoami().await.unwrap_err();
    let Error::Unreachable { server, tls: None, detail } = &error else { panic!("{error}") };
    assert!(server == "http://127.0.0.1:1/" && !detail.contains("vwksp"), "{error}");
}

#[tokio::test]
async fn a_given_ca_is_enough_on_a_machine_without_any() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    // Nothing listens: only that the client can be made, whatever the operating system trusts, is asked here.
    let client =
        Client::new("https://localhost:1", Secret::new("t"), Some(pair.cert.pem().as_bytes())).unwrap();
    assert!(matches!(client.whoami().await, Err(Error::Unreachable { .. })));
}
