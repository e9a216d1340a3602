//! The sample charts run, from both kinds of source, by the real `helm`.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use std::process::Command;
use vworkspace_testbed::{Testbed, process};

async fn helm(testbed: &Testbed, namespace: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut helm = Command::new(testbed.helm_path());
    helm.env("KUBECONFIG", testbed.kubeconfig()).args(arguments).args([
        "--namespace",
        namespace,
        "--timeout=60s",
    ]);
    process::output(helm).await
}

async fn phases(testbed: &Testbed, namespace: &str) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(testbed.admin(), namespace);
    let pods = pods.list(&ListParams::default()).await.unwrap();
    pods.into_iter().filter_map(|pod| pod.status?.phase).collect()
}

#[tokio::test]
async fn hello_from_the_repository_runs() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let namespace = testbed.namespace("charts").await;
    let install = ["install", "web", "hello", "--repo", testbed.charts_url(), "--version", "1.0.0", "--wait"];
    helm(testbed, &namespace, &install).await.unwrap();
    assert_eq!(phases(testbed, &namespace).await, ["Running", "Running"]);
    let upgrade = ["upgrade", "web", "hello", "--repo", testbed.charts_url(), "--version", "1.1.0", "--wait"];
    helm(testbed, &namespace, &upgrade).await.unwrap();
}

#[tokio::test]
async fn hello_from_the_registry_runs() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let namespace = testbed.namespace("charts").await;
    let chart = format!("oci://{}/charts/hello", testbed.registry());
    helm(testbed, &namespace, &["install", "web", &chart, "--version", "1.1.0", "--plain-http", "--wait"])
        .await
        .unwrap();
    assert_eq!(phases(testbed, &namespace).await, ["Running", "Running"]);
}

#[tokio::test]
async fn pods_of_hello_2_never_get_a_node() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let namespace = testbed.namespace("charts").await;
    let chart = format!("oci://{}/charts/hello", testbed.registry());
    let install = ["install", "web", &chart, "--version", "2.0.0", "--plain-http", "--wait", "--timeout=3s"];
    let mut command = Command::new(testbed.helm_path());
    command.env("KUBECONFIG", testbed.kubeconfig()).args(install).args(["--namespace", &namespace]);
    process::output(command).await.unwrap_err();
    assert_eq!(phases(testbed, &namespace).await, ["Pending", "Pending"]);
}

#[tokio::test]
async fn the_other_charts_fail_as_they_should() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let namespace = testbed.namespace("charts").await;
    for (chart, reason) in [("broken", "greeting is required"), ("refused", "99999")] {
        let source = format!("oci://{}/charts/{chart}", testbed.registry());
        let said = helm(testbed, &namespace, &["install", chart, &source, "--plain-http"]).await.unwrap_err();
        assert!(said.to_string().contains(reason), "{said}");
    }
}
