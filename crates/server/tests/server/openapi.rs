use crate::support::TestServer;
use std::path::Path;

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let server = TestServer::start().await;
    let served = server.client(None).get("/api/v1/openapi.json").await;
    assert_eq!(served.status, 200);
    assert!(
        served.text == committed,
        "docs/openapi.json is not what the code says; write it again: vworkspace-server openapi > docs/openapi.json"
    );
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document: serde_json::Value = serde_json::from_str(&vworkspace_server::api::openapi::text()).unwrap();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(target) = value.get("$ref").and_then(|target| target.as_str()) {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
        match value {
            serde_json::Value::Array(items) => open.extend(items),
            serde_json::Value::Object(members) => open.extend(members.values()),
            _ => {}
        }
    }
}

/// How something stands is told as of a time, how it stood at one.
#[test]
fn every_status_answer_says_as_of_when() {
    let document: serde_json::Value = serde_json::from_str(&vworkspace_server::api::openapi::text()).unwrap();
    let mut as_of = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let Some(properties) = schema["properties"].as_object() else { continue };
        let has = |members: &[&str]| members.iter().any(|member| properties.contains_key(*member));
        if has(&["state", "presence", "conditions"]) {
            assert!(has(&["asOf", "at", "receivedAt", "timestamp"]), "{name} does not say when");
        }
        if has(&["asOf"]) {
            as_of.push(name.as_str());
        }
    }
    assert_eq!(as_of, ["AdminJob", "Cluster", "Resource", "ResourcePage"]);
}
