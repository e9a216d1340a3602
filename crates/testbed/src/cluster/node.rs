//! The one node: an object only; kwok keeps it Ready and "runs" its pods.

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

/// Makes it, Ready from the start.
pub(super) async fn make(client: &Client) -> anyhow::Result<()> {
    let now = Timestamp::now().round(jiff::Unit::Second)?.to_string();
    let room = json!({ "cpu": "64", "memory": "256Gi", "pods": "1000" });
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": "testbed", "labels": { "kubernetes.io/os": "linux", "kubernetes.io/hostname": "testbed" } },
        "status": {
            "allocatable": room,
            "capacity": room,
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "FakeNode", "message": "kwok keeps this node",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        },
    }))?;
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.context("cannot make the node")?;
    Ok(())
}
