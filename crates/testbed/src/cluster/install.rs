//! What a cluster needs before anything of ours works in it: Flux's definitions, ours, and the shipped roles.

use crate::programs::Programs;
use anyhow::Context as _;
use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use std::{fs, path::Path, time::Duration};
use tokio::time::timeout;

/// The admin's field manager.
const MANAGER: &str = "testbed";
/// Files of `deploy/`.
const SHIPPED: [&str; 2] = ["crds.yaml", "rbac.yaml"];
/// A definition is established within milliseconds.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(60);

/// Installs all of it and waits until every kind is served.
pub(super) async fn definitions_and_roles(client: &Client, programs: &Programs) -> anyhow::Result<()> {
    let flux = programs.flux_crds().await?;
    tokio::try_join!(shipped(client), try_join_all(flux.iter().map(|text| apply_documents(client, text))))?;
    Ok(())
}

/// Applies our definitions and roles as we ship them, to a cluster that has Flux.
///
/// # Errors
/// The API server refuses them.
pub async fn shipped(client: &Client) -> anyhow::Result<()> {
    for file in SHIPPED {
        apply_documents(client, &read_shipped(file)?).await?;
    }
    Ok(())
}

/// Applies every object of a YAML text, in order, and waits for definitions to be established.
///
/// # Errors
/// The text is no list of objects, or the API server refuses one.
pub async fn apply_documents(client: &Client, text: &str) -> anyhow::Result<()> {
    let objects: Vec<DynamicObject> =
        serde_saphyr::from_multiple(text).context("cannot read the manifest")?;
    for object in objects {
        let name = object.name_any();
        apply(client, &object).await.with_context(|| format!("cannot apply {name}"))?;
    }
    Ok(())
}

async fn apply(client: &Client, object: &DynamicObject) -> anyhow::Result<()> {
    let types = object.types.as_ref().context("no apiVersion and kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.name_any();
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await?;
    if resource.kind == "CustomResourceDefinition" {
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        timeout(ESTABLISHED_WITHIN, await_condition(definitions, &name, is_crd_established()))
            .await
            .context("not established")??;
    }
    Ok(())
}

fn read_shipped(file: &str) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
