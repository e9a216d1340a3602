//! Referenced values that are touched and not changed.

use super::{
    play::{Play, recorded},
    stage::{PAUSE, Stage, test},
    tape::Writes,
};
use crate::world::PATIENCE;
use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::timeout;
use vworkspace_crds::key;
use vworkspace_operator::flux::written::FluxKind;

/// Applications that share one ConfigMap.
const APPLICATIONS: usize = 40;

fn referring(source: &str) -> Value {
    json!({"source": source, source: {"name": "v", "key": "values.yaml"}})
}

/// `count` ready applications that read their values from the object `v`.
async fn ready<'a>(stage: &'a mut Stage, source: &str, count: usize) -> anyhow::Result<Play<'a>> {
    let namespace = stage.namespace("values").await?;
    let values = json!({"metadata": {"name": "v"}, "data": {"values.yaml": "replicas: 1"}});
    if source == "configMapRef" {
        create::<ConfigMap>(stage, &namespace, values).await?;
    } else {
        let values = json!({"metadata": {"name": "v"}, "stringData": {"values.yaml": "replicas: 1"}});
        create::<Secret>(stage, &namespace, values).await?;
    }
    let mut play = Play::empty(stage, namespace);
    let last = |kind: &str| {
        let lines = recorded("oci-install").ok()?;
        lines.into_iter().rfind(|line| line["kind"] == kind).map(|line| line["status"].clone())
    };
    let (source_status, status) =
        (last("OCIRepository").context("a source")?, last("HelmRelease").context("a release")?);
    for number in 0..count {
        let name = format!("app-{number}");
        play.create(&name, "oci", &referring(source)).await?;
        play.write_status(FluxKind::OciRepository, &format!("{name}-source"), &source_status).await?;
        play.write_status(FluxKind::HelmRelease, &name, &status).await?;
        play.until(&name, super::is_ready).await?;
    }
    play.count_from_now().await?;
    Ok(play)
}

async fn create<K>(stage: &Stage, namespace: &str, object: Value) -> anyhow::Result<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let api: Api<K> = stage.api(namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

/// Touches `v` without a change of what is used, then waits until all applications were looked at again.
async fn touch<K>(play: &Play<'_>, patch: Value, applications: usize) -> anyhow::Result<()>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let looked = play.stage.reconciles()?;
    let api: Api<K> = play.stage.api(&play.namespace);
    api.patch("v", &PatchParams::default(), &Patch::Merge(patch)).await?;
    play.stage.reconciled(looked + applications as u64).await
}

/// Marks of all releases, by name.
async fn marks(play: &Play<'_>) -> anyhow::Result<Vec<Option<String>>> {
    let releases = play.stage.flux(FluxKind::HelmRelease, &play.namespace);
    let releases = releases.list(&ListParams::default()).await?;
    Ok(releases.iter().map(|release| release.annotations().get(key::VALUES_REVISION).cloned()).collect())
}

/// Waits until the marks are as they should be.
async fn until_marks(play: &Play<'_>, are_so: impl Fn(&Vec<Option<String>>) -> bool) -> anyhow::Result<()> {
    let marked = async {
        loop {
            if are_so(&marks(play).await?) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    timeout(PATIENCE, marked).await.context("the marks never became so")?
}

#[test]
fn touched_config_map_of_40_applications_is_no_write() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = ready(stage, "configMapRef", APPLICATIONS).await?;
        let annotated = json!({"metadata": {"annotations": {"example.org/touched": "once"}}});
        touch::<ConfigMap>(&play, annotated, APPLICATIONS).await?;
        touch::<ConfigMap>(&play, json!({"data": {"unrelated": "x"}}), APPLICATIONS).await?;
        let writes = play.writes().await?;
        ensure!(writes == Writes::default(), "{writes:?}");
        // What is used does change: each release is asked once to read it.
        let before = marks(&play).await?;
        touch::<ConfigMap>(&play, json!({"data": {"values.yaml": "replicas: 2"}}), APPLICATIONS).await?;
        until_marks(&play, |now| now.iter().zip(&before).all(|(now, before)| now != before)).await?;
        let writes = play.writes().await?;
        ensure!(writes.flux.len() == APPLICATIONS, "{writes:?}");
        Ok(())
    })
}

#[test]
fn annotated_secret_of_values_is_no_write() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = ready(stage, "secretRef", 1).await?;
        touch::<Secret>(&play, json!({"metadata": {"labels": {"touched": "once"}}}), 1).await?;
        touch::<Secret>(&play, json!({"stringData": {"unrelated": "x"}}), 1).await?;
        let writes = play.writes().await?;
        ensure!(writes == Writes::default(), "{writes:?}");
        let secret = play.stage.api::<Secret>(key::DEFAULT_NAMESPACE).get(key::VALUES_KEY_SECRET).await?;
        ensure!(secret.data.is_some_and(|data| data[key::VALUES_KEY].0.len() == 32));
        let marks = marks(&play).await?;
        ensure!(marks.iter().flatten().all(|mark| mark.starts_with("hmac-sha256:")), "{marks:?}");
        Ok(())
    })
}

#[test]
fn mark_by_resource_version_is_replaced_at_rest() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = ready(stage, "configMapRef", 1).await?;
        let present = marks(&play).await?;
        let former = "configmap/v@4711";
        let annotations = json!({key::VALUES_REVISION: former, key::FLUX_REQUESTED_AT: former});
        play.merge(FluxKind::HelmRelease, "app-0", &json!({"metadata": {"annotations": annotations}}))
            .await?;
        until_marks(&play, |now| *now == present).await?;
        let writes = play.writes().await?;
        ensure!(writes.flux.len() == 1 && writes.instances.is_empty(), "{writes:?}");
        ensure!(writes.events.is_empty(), "{writes:?}");
        let release = play.stage.flux(FluxKind::HelmRelease, &play.namespace).get("app-0").await?;
        ensure!(release.annotations()[key::FLUX_REQUESTED_AT] == former, "Flux was asked to read again");
        Ok(())
    })
}
