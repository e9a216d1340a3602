use super::*;
use kube::client::Body;
use serde_json::json;
use std::sync::{Arc, Mutex};
use tower::BoxError;

fn status(value: Value) -> Status {
    serde_json::from_value(value).unwrap()
}

#[test]
fn field_owners_are_read_from_the_causes() {
    let error = classify_status(&status(json!({
        "status": "Failure", "code": 409, "reason": "Conflict", "message": "Apply failed with 1 conflict",
        "details": {"causes": [{
            "reason": "FieldManagerConflict",
            "message": "conflict with \"kubectl-edit\" using apps.vworkspace.io/v1alpha1 at 2026-01-01T00:00:00Z",
            "field": ".spec.chart.version"}]}
    })));
    let ApplyError::Conflict { message, conflicts } = error else { panic!("{error}") };
    assert_eq!(
        conflicts,
        [FieldConflict { manager: "kubectl-edit".into(), field_path: ".spec.chart.version".into() }]
    );
    assert_eq!(message, r#"conflict: .spec.chart.version is owned by "kubectl-edit""#);
}

#[test]
fn what_is_being_deleted_is_applied_again_later() {
    let live = |deleted: Value| {
        let metadata = json!({"name": "web", "uid": "u", "generation": 2, "deletionTimestamp": deleted});
        serde_json::from_value::<DynamicObject>(json!({"metadata": metadata})).unwrap()
    };
    let object = ObjectRef { name: "web".into(), ..ObjectRef::default() };
    assert_eq!(lasting(&object, &live(Value::Null)).unwrap().uid, "u");
    let dying = lasting(&object, &live(json!("2026-01-01T00:00:00Z")));
    assert!(matches!(dying, Err(ApplyError::Declined(_))));
}

#[test]
fn a_field_that_no_schema_has_is_refused_though_the_api_server_calls_it_an_internal_error() {
    let message = "failed to create typed patch object (demo/x; apps.vworkspace.io/v1alpha1, \
         Kind=ApplicationInstance): .spec.chrat: field not declared in schema";
    let unknown = classify_status(&status(json!({"code": 500, "message": message})));
    assert!(matches!(unknown, ApplyError::Refused(why) if why.contains(".spec.chrat")));
}

#[test]
fn that_the_api_server_does_not_know_us_at_the_moment_says_nothing_about_the_job() {
    let unknown = json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"});
    assert!(matches!(classify_status(&status(unknown)), ApplyError::Unsettled(_)));
}

#[test]
fn races_and_overload_are_tried_again_and_refusals_are_not() {
    let classified = |code: u16| classify_status(&status(json!({"code": code, "message": "m"})));
    for code in [409, 429, 500, 503] {
        assert!(matches!(classified(code), ApplyError::Declined(_)), "{code}");
    }
    for code in [400, 403, 404, 422] {
        assert!(matches!(classified(code), ApplyError::Refused(m) if m == "m"), "{code}");
    }
}

/// The API server may have the write, and do it later.
#[test]
fn that_a_gateway_had_no_answer_of_the_api_server_leaves_open_what_that_did() {
    for code in [502, 504] {
        let classified = classify_status(&status(json!({"code": code, "message": "m"})));
        assert!(matches!(classified, ApplyError::Unsettled(_)), "{code}");
    }
}

fn web() -> ObjectRef {
    ObjectRef {
        api_version: "apps.vworkspace.io/v1alpha1".into(),
        kind: "ApplicationInstance".into(),
        namespace: "team".into(),
        name: "web".into(),
        ..ObjectRef::default()
    }
}

/// What is there, as of a version.
fn live(version: &str) -> Value {
    json!({"apiVersion": web().api_version, "kind": web().kind, "metadata": {
        "namespace": "team", "name": "web", "uid": "u", "resourceVersion": version, "generation": 1,
        "finalizers": ["keep"]}})
}

/// An API server in which the object is at the next version whenever it is read, and was changed by others since it was
/// read at version 1. Keeps every write.
fn busy_api_server(written: Arc<Mutex<Vec<Value>>>) -> Client {
    let reads = Arc::new(Mutex::new(0));
    let answers = tower::service_fn(move |request: http::Request<Body>| {
        let (written, reads) = (written.clone(), reads.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let open = json!({"metadata": {"name": "team", "labels": {NAMESPACE_GATE: NAMESPACE_GATE_OPEN}}});
            let (status, answer) = if parts.uri.path().ends_with("/selfsubjectaccessreviews") {
                (201, json!({"spec": {}, "status": {"allowed": true}}))
            } else if parts.uri.path().ends_with("/namespaces/team") {
                (200, open)
            } else if parts.method == http::Method::GET {
                let mut reads = reads.lock().unwrap();
                *reads += 1;
                (200, live(&reads.to_string()))
            } else {
                let body: Value = serde_json::from_slice(&body)?;
                let late = Some(&json!("1"));
                let is_late = ["/metadata/resourceVersion", "/preconditions/resourceVersion"]
                    .into_iter()
                    .any(|version| body.pointer(version) == late);
                written.lock().unwrap().push(body);
                let race = json!({"status": "Failure", "code": 409, "reason": "Conflict", "message": "it was modified"});
                if is_late { (409, race) } else { (200, live("9")) }
            };
            let response = http::Response::builder().status(status);
            Ok::<_, BoxError>(response.body(Body::from(answer.to_string().into_bytes()))?)
        }
    });
    Client::new(answers, "team")
}

#[tokio::test]
async fn a_write_is_for_what_was_found_and_is_made_again_for_what_took_its_place() {
    let written = Arc::<Mutex<Vec<Value>>>::default();
    let applier = applier(busy_api_server(written.clone()));
    let manifest = json!({"apiVersion": web().api_version, "kind": web().kind, "metadata": {"name": "web"}});
    assert_eq!(applier.apply(&web(), &manifest).await.unwrap().uid, "u");

    let conditions = |version: &str| json!({"name": "web", "uid": "u", "resourceVersion": version});
    let written = written.lock().unwrap();
    let metadata: Vec<&Value> = written.iter().map(|write| &write["metadata"]).collect();
    assert_eq!(metadata, [&conditions("1"), &conditions("2")]);
}

/// A deletion that comes late finds what the next job has applied.
#[tokio::test]
async fn a_deletion_is_for_what_was_found_too() {
    let written = Arc::<Mutex<Vec<Value>>>::default();
    let applier = applier(busy_api_server(written.clone()));
    assert!(matches!(applier.delete(&web()).await.unwrap(), Deletion::Pending(object) if object.uid == "u"));
    let conditions = |version: &str| json!({"uid": "u", "resourceVersion": version});
    let written = written.lock().unwrap();
    let preconditions: Vec<&Value> = written.iter().map(|write| &write["preconditions"]).collect();
    assert_eq!(preconditions, [&conditions("1"), &conditions("2")]);
}

fn applier(client: Client) -> Applier {
    Applier::new(client.clone(), NamespaceAccess::new(client))
}

/// An API server without the namespace, or with one that is open; reviews are answered as `review` says. Refuses
/// everything else with 409, by which one sees that it came that far.
fn api_server(namespace: Option<Value>, review: fn() -> (u16, Value)) -> Client {
    let answers = tower::service_fn(move |request: http::Request<Body>| {
        let namespace = namespace.clone();
        async move {
            let path = request.uri().path();
            let refusal = |code: u16| (code, json!({"kind": "Status", "code": code, "message": "m"}));
            let (status, answer) = if path.ends_with("/namespaces/team") {
                namespace.map_or_else(not_found_answer, |namespace| (200, namespace))
            } else if path.ends_with("/selfsubjectaccessreviews") {
                review()
            } else {
                refusal(409)
            };
            let response = http::Response::builder().status(status);
            Ok::<_, BoxError>(response.body(Body::from(answer.to_string().into_bytes()))?)
        }
    });
    Client::new(answers, "team")
}

fn not_found_answer() -> (u16, Value) {
    (404, json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "m"}))
}

fn open_namespace(deleted: &Value) -> Option<Value> {
    let labels = json!({NAMESPACE_GATE: NAMESPACE_GATE_OPEN});
    Some(json!({"metadata": {"name": "team", "labels": labels, "deletionTimestamp": deleted}}))
}

fn refused() -> (u16, Value) {
    (201, json!({"spec": {}, "status": {"allowed": false}}))
}

async fn deleted(client: Client) -> ApplyError {
    applier(client).delete(&web()).await.unwrap_err()
}

#[tokio::test]
async fn job_for_a_missing_namespace_says_so() {
    let error = deleted(api_server(None, refused)).await;
    let ApplyError::Refused(text) = error else { panic!("{error}") };
    assert!(text.starts_with("NamespaceNotFound: namespace \"team\" does not exist"), "{text}");
    assert!(text.contains("NamespaceNotGated"), "{text}");
}

#[tokio::test]
async fn job_without_rolebinding_waits_for_a_second_refusal() {
    let error = deleted(api_server(open_namespace(&Value::Null), refused)).await;
    let ApplyError::Declined(text) = error else { panic!("{error}") };
    assert!(text.starts_with("NamespaceNotAuthorized: "), "{text}");
    assert!(text.contains("kubectl create rolebinding vworkspace-operator --namespace team "), "{text}");
}

#[tokio::test]
async fn ending_namespace_is_not_asked_about() {
    let error = deleted(api_server(open_namespace(&json!("2026-01-01T00:00:00Z")), refused)).await;
    assert!(matches!(&error, ApplyError::Declined(text) if text == "m"), "{error}");
}

#[tokio::test]
async fn failed_access_review_is_no_refusal() {
    let not_served = || (404, json!({"kind": "Status", "code": 404, "message": "not served"}));
    let error = deleted(api_server(open_namespace(&Value::Null), not_served)).await;
    assert!(matches!(&error, ApplyError::Declined(text) if text == "m"), "it goes on: {error}");
    let overloaded = || (503, json!({"kind": "Status", "code": 503, "message": "overloaded"}));
    let error = deleted(api_server(open_namespace(&Value::Null), overloaded)).await;
    assert!(matches!(&error, ApplyError::Declined(text) if text == "overloaded"), "{error}");
}
