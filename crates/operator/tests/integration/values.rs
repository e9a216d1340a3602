//! Values that live in Secrets and ConfigMaps.

use crate::world::{World, condition, eventually, test};
use anyhow::ensure;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use vworkspace_crds::ApplicationInstance;
use vworkspace_operator::flux::written::FluxKind;

const READY: &str = "Ready=True/HelmReleaseReady";

fn secret(replicas: i32) -> Secret {
    let values = format!("replicas: {replicas}\ngreeting: hunter2\n");
    serde_json::from_value(json!({"metadata": {"name": "v"}, "stringData": {"values.yaml": values}})).unwrap()
}

fn referring(mut instance: Value, source: &str) -> Value {
    instance["spec"]["values"] = json!({"source": source, source: {"name": "v", "key": "values.yaml"}});
    instance
}

#[test]
fn changed_values_of_a_secret_run_and_are_never_copied() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("secret").await?;
        world.api::<Secret>(&namespace).create(&PostParams::default(), &secret(1)).await?;
        world.create(&namespace, referring(world.helm(&namespace, "hello", "1.0.0"), "secretRef")).await?;
        world.told(&namespace, &[READY]).await?;
        world.replicas(&namespace, "shop-hello", 1).await?;
        let patch = Patch::Merge(json!({"stringData": {"values.yaml": "replicas: 3\n"}}));
        world.api::<Secret>(&namespace).patch("v", &PatchParams::default(), &patch).await?;
        world.replicas(&namespace, "shop-hello", 3).await?;
        world.told(&namespace, &[READY]).await?;
        let release = world.flux(FluxKind::HelmRelease, &namespace).get("shop").await?;
        ensure!(!serde_json::to_string(&release)?.contains("hunter2"));
        Ok(())
    })
}

#[test]
fn a_secret_that_comes_late_is_waited_for() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("late").await?;
        world.create(&namespace, referring(world.helm(&namespace, "hello", "1.0.0"), "secretRef")).await?;
        let waits =
            world.told(&namespace, &["Ready=False/ValuesError", "Reconciling=True/Progressing"]).await?;
        ensure!(
            condition(&waits, "Ready")?.message.contains("\"v\"")
                || condition(&waits, "Ready")?.message.contains("/v")
        );
        world.api::<Secret>(&namespace).create(&PostParams::default(), &secret(1)).await?;
        world.told(&namespace, &[READY]).await?;
        world.replicas(&namespace, "shop-hello", 1).await
    })
}

#[test]
fn changed_values_of_a_config_map_run() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("configmap").await?;
        let values: ConfigMap = serde_json::from_value(
            json!({"metadata": {"name": "v"}, "data": {"values.yaml": "replicas: 1"}}),
        )?;
        world.api::<ConfigMap>(&namespace).create(&PostParams::default(), &values).await?;
        world.create(&namespace, referring(world.oci(&namespace, "hello", "1.0.0"), "configMapRef")).await?;
        world.told(&namespace, &[READY]).await?;
        let patch = Patch::Merge(json!({"data": {"values.yaml": "replicas: 2"}}));
        world.api::<ConfigMap>(&namespace).patch("v", &PatchParams::default(), &patch).await?;
        world.replicas(&namespace, "shop-hello", 2).await?;
        world.told(&namespace, &[READY]).await?;
        Ok(())
    })
}

/// Names of the Secrets with texts of the instance `shop`.
async fn texts(world: &World, namespace: &str) -> anyhow::Result<Vec<String>> {
    let secrets = world.api::<Secret>(namespace).list(&ListParams::default()).await?;
    let names = secrets.iter().map(|secret| secret.name_any());
    Ok(names.filter(|name| name.starts_with("shop-values-")).collect())
}

#[test]
fn texts_reach_helm_by_a_secret_that_comes_back_when_it_is_deleted() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("texts").await?;
        let mut instance = world.helm(&namespace, "hello", "1.0.0");
        let texts_of =
            |replicas: &str| json!([{"text": "replicas: 1\n"}, {"text": replicas, "targetPath": "replicas"}]);
        instance["spec"]["values"] = json!({"source": "text", "texts": texts_of("2")});
        world.create(&namespace, instance).await?;
        world.told(&namespace, &[READY]).await?;
        world.replicas(&namespace, "shop-hello", 2).await?;
        let first = texts(world, &namespace).await?;
        ensure!(first.len() == 1, "{first:?}");
        world.api::<Secret>(&namespace).delete(&first[0], &DeleteParams::default()).await?;
        eventually("the Secret is back", async || Ok(texts(world, &namespace).await? == first)).await?;

        world.patch(&namespace, json!({"spec": {"values": {"texts": texts_of("3")}}})).await?;
        world.replicas(&namespace, "shop-hello", 3).await?;
        let is_replaced = async || {
            let now = texts(world, &namespace).await?;
            Ok(now.len() == 1 && now != first)
        };
        eventually("the former Secret is gone", is_replaced).await?;

        world.patch(&namespace, json!({"spec": {"values": null}})).await?;
        let is_clean = async || {
            let instance = world.api::<ApplicationInstance>(&namespace).get("shop").await?;
            let named = instance.status.is_some_and(|status| !status.values_secrets.is_empty());
            Ok(!named && texts(world, &namespace).await?.is_empty())
        };
        eventually("no Secret is left or named", is_clean).await?;
        Ok(())
    })
}
