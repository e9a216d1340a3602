//! Namespaces that their admin opens, in either order of label and rights.

use crate::world::test;
use anyhow::ensure;
use k8s_openapi::api::{core::v1::Namespace, rbac::v1::RoleBinding};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use vworkspace_operator::flux::written::FluxKind;

const READY: &str = "Ready=True/HelmReleaseReady";

pub fn binding() -> RoleBinding {
    serde_json::from_value(json!({
        "metadata": {"name": "vworkspace-operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "vworkspace-operator-namespace"},
        "subjects": [{"kind": "ServiceAccount", "name": "vworkspace-operator", "namespace": "vworkspace-system"}],
    }))
    .unwrap()
}

pub fn label(value: &Value) -> Patch<Value> {
    Patch::Merge(json!({"metadata": {"labels": {"managed-by": value}}}))
}

#[test]
fn nothing_is_touched_in_a_namespace_that_nobody_opened() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.closed("gate").await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let blocked = world
            .told(&namespace, &["Ready=False/ValidationFailed", "Blocked=True/NamespaceNotGated"])
            .await?;
        ensure!(blocked.finalizers().is_empty());
        for kind in FluxKind::ALL {
            ensure!(world.flux(kind, &namespace).list(&ListParams::default()).await?.items.is_empty());
        }
        Ok(())
    })
}

#[test]
fn a_label_without_rights_is_told_and_rights_that_come_later_are_used() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.closed("late-rights").await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        world.told(&namespace, &["Blocked=True/NamespaceNotGated"]).await?;
        let namespaces: Api<Namespace> = Api::all(world.admin.clone());
        namespaces.patch(&namespace, &PatchParams::default(), &label(&json!("vworkspace"))).await?;
        world.told(&namespace, &["Ready=False/AccessDenied", "Blocked=True/AccessDenied"]).await?;
        world.api::<RoleBinding>(&namespace).create(&PostParams::default(), &binding()).await?;
        world.told(&namespace, &[READY, "Blocked=False/Unblocked"]).await?;
        namespaces.patch(&namespace, &PatchParams::default(), &label(&Value::Null)).await?;
        world.told(&namespace, &["Blocked=True/NamespaceNotGated"]).await?;
        ensure!(world.flux(FluxKind::HelmRelease, &namespace).get_opt("shop").await?.is_some());
        Ok(())
    })
}
