//! Static rules of Operation and Cluster.

use crate::objects::{Specs, expect, with};
use serde_json::json;

#[tokio::test]
async fn operations() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let namespace = testbed.namespace("rules").await;
    let specs = Specs::namespaced(testbed.admin(), "ops.vworkspace.io", "Operation", &namespace);
    let target = json!({ "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "name": "hello" });
    let backup = json!({ "type": "Backup", "engine": "velero", "targetRef": target });
    let foreign = "targetRef names an apps.vworkspace.io/v1alpha1 ApplicationInstance";
    let made = [
        ("as it is", json!({}), None),
        ("with parameters of its engine", json!({ "parameters": { "ttl": "24h", "paths": ["/a"] } }), None),
        ("of an unknown type", json!({ "type": "Destroy" }), Some("spec.type")),
        ("of an unknown engine", json!({ "engine": "magic" }), Some("spec.engine")),
        ("on nothing", json!({ "targetRef": null }), Some("spec.targetRef")),
        (
            "on a Deployment",
            json!({ "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment" } }),
            Some(foreign),
        ),
        ("on a target without a name", json!({ "targetRef": { "name": "" } }), Some("spec.targetRef.name")),
    ];
    for (case, change, refusal) in made {
        expect(case, specs.verdict(&with(&backup, &change)).await, refusal);
    }

    specs.make("backup", &backup).await;
    let changed = [
        ("the approval", json!({ "approvals": { "required": true } }), None),
        ("the target", json!({ "targetRef": { "name": "other" } }), Some("spec.targetRef cannot change")),
        ("the type", json!({ "type": "Restore" }), Some("spec.type and spec.engine cannot change")),
        ("the engine", json!({ "engine": "volsync" }), Some("spec.type and spec.engine cannot change")),
    ];
    for (case, change, refusal) in changed {
        expect(case, specs.verdict_on_change("backup", &change).await, refusal);
    }
}

#[tokio::test]
async fn clusters() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let specs = Specs::cluster_wide(testbed.admin(), "ops.vworkspace.io", "Cluster");
    let made = [
        ("empty", json!({}), None),
        ("over TLS", json!({ "controlPlaneEndpoint": "https://control.example" }), None),
        ("by its old name", json!({ "controlPlaneBaseUrl": "http://control.example" }), None),
        (
            "without a scheme",
            json!({ "controlPlaneEndpoint": "control.example" }),
            Some("spec.controlPlaneEndpoint"),
        ),
        (
            "old name, no scheme",
            json!({ "controlPlaneBaseUrl": "control.example" }),
            Some("spec.controlPlaneBaseUrl"),
        ),
        (
            "a Secret without a name",
            json!({ "registrationTokenSecretRef": { "key": "k" } }),
            Some("SecretRef.name"),
        ),
        ("a Secret with the default key", json!({ "registrationTokenSecretRef": { "name": "s" } }), None),
    ];
    for (case, spec, refusal) in made {
        expect(case, specs.verdict(&spec).await, refusal);
    }
}
