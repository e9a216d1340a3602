use super::*;
use crate::logs::recorded::{Lines, recording};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, client::Body, runtime::watcher::watcher};
use serde_json::{Value, json};
use std::{
    pin::pin,
    sync::{Arc, Mutex},
};
use tokio::time::{Instant, timeout};
use tower::BoxError;

type Calls = Arc<Mutex<Vec<Instant>>>;

/// An API server that answers list number n with `list(n)` and never answers a watch. Keeps the time of each list.
fn api_server(list: impl Fn(usize) -> (u16, Value) + Clone + Send + 'static) -> (Client, Calls) {
    let calls = Calls::default();
    let seen = calls.clone();
    let answers = tower::service_fn(move |request: http::Request<Body>| {
        let (list, seen) = (list.clone(), seen.clone());
        async move {
            if request.uri().query().unwrap_or_default().contains("watch=true") {
                return std::future::pending().await;
            }
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(Instant::now());
                seen.len()
            };
            let (status, body) = list(number);
            let response = http::Response::builder().status(status);
            Ok::<_, BoxError>(response.body(Body::from(body.to_string().into_bytes()))?)
        }
    });
    (Client::new(answers, "n"), calls)
}

fn refusal(code: u16) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": "r", "message": "m"}))
}

fn empty_list() -> (u16, Value) {
    (200, json!({"metadata": {"resourceVersion": "1"}, "items": []}))
}

fn config_maps(client: Client) -> impl Stream<Item = watcher::Result<Event<ConfigMap>>> + Send {
    steady("ConfigMaps", watcher(Api::all(client), watcher::Config::default()))
}

#[tokio::test(start_paused = true)]
async fn watch_that_cannot_list_asks_ever_less_often() {
    let (client, calls) = api_server(|_| refusal(403));
    let mut events = pin!(config_maps(client));
    let hour = async { while events.next().await.is_some() {} };
    assert!(timeout(Duration::from_secs(3_600), hour).await.is_err(), "it goes on");
    let calls = calls.lock().unwrap();
    let gaps: Vec<Duration> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_secs(1)), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(61)), "{gaps:?}");
    // Half a minute each on average; twice a second without the back-off.
    assert!((60..=360).contains(&calls.len()), "{} lists in an hour", calls.len());
}

#[tokio::test(start_paused = true)]
async fn retry_after_of_the_api_server_is_kept() {
    let (client, calls) = api_server(|number| {
        let (status, mut body) = refusal(429);
        body["details"] = json!({"retryAfterSeconds": 17});
        if number == 1 { (status, body) } else { empty_list() }
    });
    let mut events = pin!(config_maps(client));
    while !matches!(events.next().await, Some(Ok(Event::InitDone))) {}
    let calls = calls.lock().unwrap();
    let gap = calls[1] - calls[0];
    assert!((Duration::from_secs(17)..Duration::from_secs(18)).contains(&gap), "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_are_logged_once_per_kind_and_recovery_once() {
    let (client, _) = api_server(|number| match number {
        1..=5 => refusal(403),
        6..=8 => refusal(503),
        _ => empty_list(),
    });
    let lines = Lines::default();
    let _logging = recording(&lines, "info");
    let mut events = pin!(config_maps(client));
    while !matches!(events.next().await, Some(Ok(Event::InitDone))) {}
    let text = lines.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let levels: Vec<&Value> = lines.iter().map(|line| &line["level"]).collect();
    assert_eq!(levels, ["WARN", "WARN", "INFO"], "{text}");
    assert!(lines.iter().all(|line| line["watch"] == "ConfigMaps"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn one_object_is_watched_with_the_same_back_off() {
    let (client, calls) = api_server(|number| if number < 4 { refusal(403) } else { empty_list() });
    let api = Api::<ConfigMap>::namespaced(client, "n");
    let mut events = pin!(steady("the ConfigMap", watcher::watch_object(api, "x")));
    let mut failures = 0;
    let found = loop {
        match events.try_next().await {
            Ok(found) => break found,
            Err(_) => failures += 1,
        }
    };
    assert_eq!((failures, found), (3, Some(None)));
    let calls = calls.lock().unwrap();
    assert!(calls.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)));
}
