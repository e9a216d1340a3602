//! What is refused, and how it is told.

use crate::world::{condition, test};
use anyhow::ensure;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::json;
use vworkspace_crds::{ApplicationInstance, key};
use vworkspace_operator::{
    controllers::application_instance::error::{is_absent, is_unserved},
    flux::written::FluxKind,
};

const REFUSED: [&str; 2] = ["Ready=False/ValidationFailed", "Reconciling=False/Stable"];

#[test]
fn fields_that_others_own_are_told_and_left_alone_until_they_let_go() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("conflict").await?;
        let theirs = json!({
            "apiVersion": "helm.toolkit.fluxcd.io/v2",
            "kind": "HelmRelease",
            "metadata": {"name": "shop"},
            "spec": {
                "interval": "7m",
                "suspend": true,
                "chart": {"spec": {"chart": "other", "sourceRef": {"kind": "HelmRepository", "name": "theirs"}}},
            },
        });
        let releases = world.flux(FluxKind::HelmRelease, &namespace);
        releases.patch("shop", &PatchParams::apply("a-person"), &Patch::Apply(&theirs)).await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let told =
            world.told(&namespace, &["Ready=False/FieldConflict", "Blocked=True/FieldConflict"]).await?;
        let message = &condition(&told, "Blocked")?.message;
        ensure!(message.contains("a-person has .spec.interval"), "{message}");
        let release = releases.get("shop").await?;
        ensure!(
            release.data["spec"]["interval"] == "7m"
                && release.data["spec"]["chart"]["spec"]["chart"] == "other"
        );
        releases.delete("shop", &DeleteParams::default()).await?;
        world.told(&namespace, &["Ready=True/HelmReleaseReady", "Blocked=False/Unblocked"]).await?;
        Ok(())
    })
}

#[test]
fn secrets_in_values_are_a_warning_without_showing_them() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("inline").await?;
        let mut instance = world.helm(&namespace, "hello", "1.0.0");
        instance["spec"]["values"] = json!({"source": "inline", "inline": {"db": {"password": "hunter2"}}});
        world.create(&namespace, instance).await?;
        let told =
            world.told(&namespace, &["Ready=True/HelmReleaseReady", "Insecure=True/SecretsInValues"]).await?;
        let message = &condition(&told, "Insecure")?.message;
        ensure!(message.contains("values.inline.db.password") && !message.contains("hunter2"), "{message}");
        let mended = json!({"spec": {"values": {"inline": {"db": null, "replicas": 1}}}});
        world.patch(&namespace, mended).await?;
        world.told(&namespace, &["Ready=True/HelmReleaseReady", "Insecure=False/Secured"]).await?;
        world.replicas(&namespace, "shop-hello", 1).await
    })
}

#[test]
fn a_release_that_another_instance_has_is_refused_until_it_is_free() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("taken").await?;
        let mut first = world.helm(&namespace, "hello", "1.0.0");
        first["metadata"]["name"] = json!("first");
        world.create(&namespace, first).await?;
        let is_there = |release: &kube::core::DynamicObject| release.metadata.uid.is_some();
        world.until(world.flux(FluxKind::HelmRelease, &namespace), "shop", is_there).await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.1.0")).await?;
        let told = world.told(&namespace, &[REFUSED[0], REFUSED[1], "Blocked=True/ValidationFailed"]).await?;
        ensure!(condition(&told, "Blocked")?.message.contains("belongs to first"));
        world.api::<ApplicationInstance>(&namespace).delete("first", &DeleteParams::default()).await?;
        world.told(&namespace, &["Ready=True/HelmReleaseReady", "Blocked=False/Unblocked"]).await?;
        Ok(())
    })
}

#[test]
fn a_placeholder_is_ready_and_installs_nothing() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("placeholder").await?;
        let mut instance = world.helm(&namespace, "hello", "1.0.0");
        instance["spec"] = json!({"appRef": {"catalogId": "hello"}, "mode": "placeholder"});
        instance["metadata"]["annotations"] = json!({ key::REQUEST: "j1" });
        world.create(&namespace, instance).await?;
        let told = world.told(&namespace, &["Ready=True/Placeholder", "Reconciling=False/Stable"]).await?;
        let handled = told.status.as_ref().and_then(|status| status.handled_request.as_deref());
        ensure!(handled == Some("j1"), "nobody else answers the job");
        ensure!(told.metadata.finalizers.is_none());
        Ok(())
    })
}

#[test]
fn an_unserved_kind_is_told_from_an_absent_object() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("unserved").await?;
        let operator = world.testbed.operator().await?;
        let served = FluxKind::HelmRelease.resource();
        let mut older = served.clone();
        older.version = "v0".to_owned();
        older.api_version = format!("{}/v0", older.group);
        for (resource, is_served) in [(served, true), (older, false)] {
            let api = Api::<DynamicObject>::namespaced_with(operator.clone(), &namespace, &resource);
            let Err(error) = api.get("shop").await else { anyhow::bail!("it is there") };
            ensure!(is_absent(&error) == is_served && is_unserved(&error) != is_served, "{error:?}");
        }
        Ok(())
    })
}
