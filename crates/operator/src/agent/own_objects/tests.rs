use super::*;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use serde_json::json;
use tower::BoxError;

/// An API server that holds one object, with the conditions that writes may have.
#[derive(Default)]
struct ApiServer {
    version: u64,
    /// Its data, and its life.
    held: Option<(Value, u64)>,
    lives: u64,
    /// The next answer is lost.
    loses: bool,
    /// Every write as it was sent.
    sent: Vec<(http::Method, Value)>,
}

impl ApiServer {
    fn answer(&mut self, method: &http::Method, body: &Value) -> (u16, Value) {
        let metadata = |server: &Self| match &server.held {
            Some((_, life)) => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata":
                {"name": "o", "uid": format!("u{life}"), "resourceVersion": server.version.to_string()}})
            }
            None => Value::Null,
        };
        let condition =
            if *method == http::Method::DELETE { &body["preconditions"] } else { &body["metadata"] };
        let holds = |name| condition.get(name).is_none_or(|value| *value == metadata(self)["metadata"][name]);
        let refused = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "Conflict" };
            (code, json!({"status": "Failure", "code": code, "reason": reason, "message": "m"}))
        };
        let is_so = holds("uid") && holds("resourceVersion");
        match (method.as_str(), &mut self.held) {
            ("GET" | "DELETE", None) => return refused(404),
            _ if !is_so => return refused(409),
            ("POST", Some(_)) => return refused(409),
            ("GET", Some(_)) => {}
            ("DELETE", Some(_)) => {
                self.held = None;
                return (200, json!({"kind": "Status", "status": "Success"}));
            }
            (_, held) => {
                self.version += 1;
                let life = held.as_ref().map_or(self.lives + 1, |(_, life)| *life);
                self.lives = life;
                *held = Some((body["data"].clone(), life));
            }
        }
        (200, metadata(self))
    }
}

fn served() -> (OwnObjects<ConfigMap>, Arc<Mutex<ApiServer>>) {
    let server = Arc::<Mutex<ApiServer>>::default();
    let of_service = server.clone();
    let answers = tower::service_fn(move |request: http::Request<Body>| {
        let server = of_service.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
            let mut server = server.lock().unwrap();
            if parts.method != http::Method::GET {
                server.sent.push((parts.method.clone(), body.clone()));
            }
            let (status, answer) = server.answer(&parts.method, &body);
            if std::mem::take(&mut server.loses) {
                return Err(BoxError::from("the connection broke"));
            }
            let response = http::Response::builder().status(status);
            Ok(response.body(Body::from(answer.to_string().into_bytes()))?)
        }
    });
    (OwnObjects::new(Client::new(answers, "n"), "n"), server)
}

fn object(data: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "o"}, "data": {"n": data.to_string()}})
}

fn held(server: &Mutex<ApiServer>) -> Option<Value> {
    server.lock().unwrap().held.as_ref().map(|(data, _)| data["n"].clone())
}

#[tokio::test]
async fn a_write_of_our_own_that_comes_late_changes_nothing() {
    let (objects, server) = served();
    for data in 1..4 {
        objects.put("o", &object(data)).await.unwrap();
    }
    let sent = server.lock().unwrap().sent.clone();
    for (method, body) in &sent {
        assert_eq!(server.lock().unwrap().answer(method, body).0, 409);
    }
    assert_eq!(held(&server), Some(json!("3")));

    objects.delete("o").await.unwrap();
    objects.put("o", &object(4)).await.unwrap();
    let sent = server.lock().unwrap().sent.clone();
    let (method, body) = sent.iter().find(|(method, _)| *method == http::Method::DELETE).unwrap();
    assert_eq!(server.lock().unwrap().answer(method, body).0, 409, "a deletion that comes late");
    assert_eq!(held(&server), Some(json!("4")));
}

#[tokio::test]
async fn a_write_of_our_own_whose_answer_was_lost_is_made_again() {
    let (objects, server) = served();
    for data in 1..4 {
        server.lock().unwrap().loses = true;
        assert!(objects.put("o", &object(data)).await.is_err());
        objects.put("o", &object(data)).await.unwrap();
        assert_eq!(held(&server), Some(json!(data.to_string())));
    }
    server.lock().unwrap().loses = true;
    assert!(objects.delete("o").await.is_err());
    objects.delete("o").await.unwrap();
    assert_eq!(held(&server), None);
    objects.put("o", &object(4)).await.unwrap();
    assert_eq!(held(&server), Some(json!("4")));
}

#[tokio::test]
async fn what_somebody_else_did_to_our_own_is_found_out() {
    let (objects, server) = served();
    objects.put("o", &object(1)).await.unwrap();
    server.lock().unwrap().held = None;
    objects.put("o", &object(2)).await.unwrap();
    assert_eq!(held(&server), Some(json!("2")));
    server.lock().unwrap().version += 1;
    objects.delete("o").await.unwrap();
    assert_eq!(held(&server), None);
}
