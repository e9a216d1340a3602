//! Namespaces made for tests.

use k8s_openapi::api::{core::v1::Namespace, rbac::v1::RoleBinding};
use kube::Api;

#[tokio::test]
async fn only_a_gated_namespace_has_the_label_and_the_binding() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let (open, closed) = (testbed.gated_namespace("gate").await, testbed.namespace("gate").await);
    assert_ne!(open, closed);
    for (name, expected) in [(&open, true), (&closed, false)] {
        let namespaces: Api<Namespace> = Api::all(testbed.admin());
        let labels = namespaces.get(name).await.unwrap().metadata.labels.unwrap_or_default();
        assert_eq!(labels.get("managed-by").is_some_and(|value| value == "vworkspace"), expected, "{name}");
        let bindings: Api<RoleBinding> = Api::namespaced(testbed.admin(), name);
        assert_eq!(bindings.get_opt("vworkspace-operator").await.unwrap().is_some(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_namespace_can_be_opened_later_and_again() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let name = testbed.namespace("later").await;
    testbed.open_namespace(&name).await.unwrap();
    testbed.open_namespace(&name).await.unwrap();
}
