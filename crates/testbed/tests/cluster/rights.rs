//! What the shipped roles let the operator's account do, as the API server itself decides.

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use vworkspace_crds::ApplicationInstance;

async fn may(operator: &Client, verb: &str, resource: &str, namespace: Option<&str>) -> bool {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s)));
    let question = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.map(str::to_owned),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(operator.clone());
    reviews.create(&PostParams::default(), &question).await.unwrap().status.unwrap().allowed
}

#[tokio::test]
async fn the_account_may_what_the_roles_say_and_no_more() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let operator = testbed.operator().await.unwrap();
    let (open, closed) = (testbed.gated_namespace("open").await, testbed.namespace("closed").await);
    let (open, closed) = (Some(open.as_str()), Some(closed.as_str()));
    let own = Some("vworkspace-system");
    let cases = [
        ("patch", "applicationinstances.apps.vworkspace.io", None, true),
        ("patch", "applicationinstances/status.apps.vworkspace.io", None, true),
        ("watch", "clusters.ops.vworkspace.io", None, true),
        ("watch", "operations.ops.vworkspace.io", None, true),
        ("watch", "namespaces", None, true),
        ("create", "namespaces", None, false),
        ("patch", "namespaces", None, false),
        ("create", "events", closed, true),
        ("list", "secrets", None, false),
        ("get", "secrets", closed, false),
        ("get", "secrets", open, true),
        ("watch", "secrets", open, true),
        ("list", "secrets", open, false),
        ("create", "secrets", open, true),
        ("delete", "secrets", open, true),
        ("update", "secrets", open, false),
        ("patch", "secrets", open, false),
        ("create", "secrets", closed, false),
        ("list", "configmaps", open, false),
        ("patch", "secrets", own, true),
        ("update", "leases.coordination.k8s.io", own, true),
        ("create", "helmreleases.helm.toolkit.fluxcd.io", open, true),
        ("create", "ocirepositories.source.toolkit.fluxcd.io", open, true),
        ("create", "helmreleases.helm.toolkit.fluxcd.io", closed, false),
        ("list", "helmreleases.helm.toolkit.fluxcd.io", None, false),
        ("create", "deployments.apps", open, false),
        ("create", "pods", open, false),
        ("create", "rolebindings.rbac.authorization.k8s.io", open, false),
        ("escalate", "clusterroles.rbac.authorization.k8s.io", None, false),
        ("impersonate", "users", None, false),
        ("create", "serviceaccounts/token", own, false),
        ("patch", "customresourcedefinitions.apiextensions.k8s.io", None, false),
    ];
    for (verb, resource, namespace, expected) in cases {
        let allowed = may(&operator, verb, resource, namespace).await;
        assert_eq!(allowed, expected, "{verb} {resource} in {namespace:?}");
    }
}

#[tokio::test]
async fn requests_of_the_account_end_accordingly() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let operator = testbed.operator().await.unwrap();
    let namespace = testbed.namespace("rights").await;

    let instances: Api<ApplicationInstance> = Api::namespaced(operator.clone(), &namespace);
    let placeholder = json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1",
        "kind": "ApplicationInstance",
        "metadata": { "name": "reserved" },
        "spec": { "appRef": { "catalogId": "hello" }, "mode": "placeholder" },
    });
    instances.patch("reserved", &PatchParams::apply("test"), &Patch::Apply(placeholder)).await.unwrap();

    let secrets: Api<Secret> = Api::all(operator.clone());
    assert!(is_forbidden(secrets.list(&ListParams::default()).await));
    let namespaces: Api<Namespace> = Api::all(operator);
    let new = ObjectMeta { name: Some("made-by-the-operator".to_owned()), ..ObjectMeta::default() };
    let new = Namespace { metadata: new, ..Namespace::default() };
    assert!(is_forbidden(namespaces.create(&PostParams::default(), &new).await));
}

fn is_forbidden<T>(answer: kube::Result<T>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 403)
}
