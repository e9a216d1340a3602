//! Charts from private sources, whose credentials and certificates are in a Secret.

use crate::world::{World, condition, eventually, test};
use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    api::core::v1::Secret, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
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

/// Takes the rule about credentials out of the definition, or puts it back, and waits until the API server goes by it.
async fn with_rule(
    world: &World,
    rule: Option<Value>,
    exposed: &ApplicationInstance,
) -> anyhow::Result<Value> {
    let name = "applicationinstances.apps.vworkspace.io";
    let definitions: Api<CustomResourceDefinition> = Api::all(world.admin.clone());
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/chart/properties/url";
    let mut definition = serde_json::to_value(definitions.get(name).await?)?;
    let url = definition.pointer_mut(path).context("the definition has no chart.url")?;
    let before = url["x-kubernetes-validations"].take();
    let is_on = rule.is_some();
    url["x-kubernetes-validations"] = rule.unwrap_or_else(|| json!([]));
    definitions.replace(name, &PostParams::default(), &serde_json::from_value(definition)?).await?;
    let api = world.api::<ApplicationInstance>(&exposed.namespace().unwrap_or_default());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the definition", async || Ok(api.create(&dry, exposed).await.is_err() == is_on)).await?;
    Ok(before)
}

#[test]
fn address_with_credentials_from_before_goes_on_with_a_warning_and_can_be_deleted() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("before").await?;
        let api = world.api::<ApplicationInstance>(&namespace);
        let mut instance = world.helm(&namespace, "hello", "1.0.0");
        world.create(&namespace, instance.clone()).await?;
        world.told(&namespace, &[READY]).await?;

        instance["metadata"]["name"] = json!("other");
        instance["spec"]["chart"]["url"] =
            json!(world.testbed.charts_url().replace("http://", "http://user:hunter2@"));
        let exposed: ApplicationInstance = serde_json::from_value(instance)?;
        let refused = api.create(&PostParams::default(), &exposed).await;
        let words = refused.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(words.contains("chart.secretRef"), "{words}");

        // As before the rule: the address stands in the spec, and the status says that Flux was asked for it.
        let rule = with_rule(world, None, &exposed).await?;
        let url = exposed.spec.chart.clone().context("no chart")?.url;
        let known = json!({"status": {"requestedChart": {"url": url}}});
        api.patch_status("shop", &PatchParams::default(), &Patch::Merge(&known)).await?;
        world.patch(&namespace, json!({"spec": {"chart": {"url": url}}})).await?;
        with_rule(world, Some(rule), &exposed).await?;
        let insecure = world.told(&namespace, &[READY, "Insecure=True/CredentialsInURL"]).await?;
        ensure!(!serde_json::to_string(&insecure.status)?.contains("hunter2"));
        // Another version is no other address.
        world.patch(&namespace, json!({"spec": {"chart": {"version": "1.1.0"}}})).await?;
        world.told(&namespace, &[READY, "Insecure=True/CredentialsInURL"]).await?;
        api.delete("shop", &DeleteParams::default()).await?;
        world.gone(api, "shop").await
    })
}
