//! Charts from private sources, whose credentials and certificates are in a Secret.

use crate::world::{World, condition, eventually, test};
use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    api::core::v1::Secret, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, CustomResourceExt as _, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use vworkspace_crds::ApplicationInstance;
use vworkspace_operator::flux::written::FluxKind;
use vworkspace_testbed::PrivateCharts;

const READY: &str = "Ready=True/HelmReleaseReady";
const USER: &str = PrivateCharts::USER;
const PASSWORD: &str = PrivateCharts::PASSWORD;

fn at(mut instance: Value, url: &str) -> Value {
    instance["spec"]["chart"]["url"] = json!(url);
    instance["spec"]["chart"]["insecure"] = json!(false);
    instance["spec"]["chart"]["secretRef"] = json!({"name": "source"});
    instance
}

async fn keep(world: &World, namespace: &str, type_: &str, data: Value) -> anyhow::Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "source"}, "type": type_, "stringData": data,
    });
    let params = PatchParams::apply("admin").force();
    world.api::<Secret>(namespace).patch("source", &params, &Patch::Apply(secret)).await?;
    Ok(())
}

/// No object but the Secret itself holds the password, in any spelling.
async fn ensure_hidden(world: &World, namespace: &str) -> anyhow::Result<()> {
    let mut texts = vec![serde_json::to_string(&world.instance(namespace).await?)?];
    for kind in FluxKind::ALL {
        let objects = world.flux(kind, namespace).list(&ListParams::default()).await?;
        texts.push(serde_json::to_string::<Vec<DynamicObject>>(&objects.items)?);
    }
    let encoded = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    ensure!(texts.iter().all(|text| !text.contains(PASSWORD) && !text.contains(&encoded)));
    Ok(())
}

#[test]
fn private_chart_repository_is_read_with_credentials_and_its_own_authority() -> anyhow::Result<()> {
    test(|world| async {
        let private = world.testbed.private_charts()?;
        let namespace = world.gated("private").await?;
        let url = format!("https://{}/stable", private.address);
        world.create(&namespace, at(world.helm(&namespace, "hello", "1.0.0"), &url)).await?;
        // What is missing is named at once, and each step mends one thing.
        let missing = world.told(&namespace, &["Ready=False/ChartSecretIncomplete"]).await?;
        ensure!(condition(&missing, "Ready")?.message.contains("does not exist"));
        keep(world, &namespace, "Opaque", json!({"token": PASSWORD, "ca.crt": private.ca})).await?;
        world.told_message(&namespace, "Ready", "under password").await?;
        let whole = json!({"username": USER, "password": PASSWORD, "ca.crt": private.ca});
        keep(world, &namespace, "Opaque", whole).await?;
        world.told(&namespace, &[READY]).await?;
        ensure_hidden(world, &namespace).await
    })
}

#[test]
fn private_registry_is_read_with_a_docker_config_and_its_own_authority() -> anyhow::Result<()> {
    test(|world| async {
        let private = world.testbed.private_charts()?;
        let namespace = world.gated("private").await?;
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let auths = json!({"auths": {&private.address: {"auth": auth}}}).to_string();
        let data = json!({".dockerconfigjson": auths, "ca.crt": private.ca});
        keep(world, &namespace, "kubernetes.io/dockerconfigjson", data).await?;
        let url = format!("oci://{}/charts", private.address);
        world.create(&namespace, at(world.oci(&namespace, "hello", "1.0.0"), &url)).await?;
        world.told(&namespace, &[READY]).await?;
        ensure_hidden(world, &namespace).await
    })
}

#[test]
fn wrong_password_is_told_in_the_words_of_the_source_without_it() -> anyhow::Result<()> {
    test(|world| async {
        let private = world.testbed.private_charts()?;
        let namespace = world.gated("private").await?;
        let data = json!({"username": USER, "password": "wrong", "ca.crt": private.ca});
        keep(world, &namespace, "Opaque", data).await?;
        let url = format!("https://{}/stable", private.address);
        world.create(&namespace, at(world.helm(&namespace, "hello", "1.0.0"), &url)).await?;
        world.told_message(&namespace, "Ready", "401 Unauthorized").await
    })
}

/// The definition of [`ApplicationInstance`] under another group, as of an earlier version: without rules about addresses.
fn earlier_definition() -> anyhow::Result<(CustomResourceDefinition, CustomResourceDefinition)> {
    let now = serde_json::to_string(&ApplicationInstance::crd())?
        .replace("apps.vworkspace.io", "unruled.vworkspace.io")
        .replace("appinst", "unruledinst");
    let now: Value = serde_json::from_str(&now)?;
    let mut before = now.clone();
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/chart/properties/url";
    let url = before.pointer_mut(path).and_then(Value::as_object_mut).context("there is no chart.url")?;
    url.remove("x-kubernetes-validations").context("chart.url has no rules")?;
    Ok((serde_json::from_value(before)?, serde_json::from_value(now)?))
}

#[test]
fn address_with_credentials_from_before_goes_on_and_can_be_deleted() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("before").await?;
        let (before, now) = earlier_definition()?;
        let definitions: Api<CustomResourceDefinition> = Api::all(world.admin.clone());
        let name = before.name_any();
        definitions.create(&PostParams::default(), &before).await?;
        let kind = GroupVersionKind::gvk("unruled.vworkspace.io", "v1alpha1", "ApplicationInstance");
        let api: Api<DynamicObject> =
            Api::namespaced_with(world.admin.clone(), &namespace, &ApiResource::from_gvk(&kind));
        let mut instance = world.helm(&namespace, "hello", "1.0.0");
        instance["apiVersion"] = json!("unruled.vworkspace.io/v1alpha1");
        instance["metadata"]["finalizers"] = json!(["example.org/held"]);
        instance["spec"]["chart"]["url"] = json!("https://user:hunter2@charts.example");
        let instance: DynamicObject = serde_json::from_value(instance)?;
        let made = async || Ok(api.create(&PostParams::default(), &instance).await.is_ok());
        eventually("the kind is served", made).await?;

        definitions.patch(&name, &PatchParams::default(), &Patch::Merge(&json!({"spec": now.spec}))).await?;
        let (params, dry) = (PatchParams::default(), PatchParams { dry_run: true, ..PatchParams::default() });
        let other = Patch::Merge(json!({"spec": {"chart": {"url": "https://user:pw@charts.example"}}}));
        let refused = async || Ok(api.patch("shop", &dry, &other).await.is_err());
        eventually("the rule is served", refused).await?;
        let words = api.patch("shop", &dry, &other).await.err().map(|error| error.to_string());
        ensure!(words.is_some_and(|words| words.contains("chart.secretRef")));
        // Another version is no other address, and what holds the object lets go.
        let version = Patch::Merge(json!({"spec": {"chart": {"version": "1.1.0"}}}));
        api.patch("shop", &params, &version).await?;
        api.delete("shop", &DeleteParams::default()).await?;
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        api.patch("shop", &params, &free).await?;
        ensure!(api.get_opt("shop").await?.is_none());
        definitions.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    })
}
