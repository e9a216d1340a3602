//! What happens around a healthy application.

use super::{
    play::Play,
    stage::test,
    tape::{self, Writes},
};
use anyhow::ensure;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::{Value, json};
use vworkspace_crds::{ApplicationInstance, key};

#[test]
fn label_that_toggles_is_no_write() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = Play::start(stage, "interval-reconcile").await?;
        play.until_ready().await?;
        let namespaces: Api<Namespace> = Api::all(play.stage.admin.clone());
        for value in [Value::Null, json!(key::NAMESPACE_GATE_OPEN)] {
            let looked = play.stage.reconciles()?;
            let patch = Patch::Merge(json!({"metadata": {"labels": {key::NAMESPACE_GATE: value}}}));
            namespaces.patch(&play.namespace, &PatchParams::default(), &patch).await?;
            play.stage.reconciled(looked + 1).await?;
        }
        play.rest().await?;
        let writes = play.writes().await?;
        ensure!(writes == Writes::default(), "{writes:?}");
        Ok(())
    })
}

#[test]
fn operator_that_starts_again_writes_nothing() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = Play::start(stage, "interval-reconcile").await?;
        play.until_ready().await?;
        play.stage.restart_operator().await?;
        let all = Api::<ApplicationInstance>::all(play.stage.admin.clone());
        let there = all.list_metadata(&ListParams::default()).await?.items.len();
        play.stage.reconciled(there as u64).await?;
        play.rest().await?;
        let writes = play.writes().await?;
        ensure!(writes == Writes::default(), "{writes:?}");
        Ok(())
    })
}

/// Versions of all that the operator may write.
async fn versions(play: &Play<'_>) -> anyhow::Result<Vec<String>> {
    let mut versions = Vec::new();
    for resource in tape::kinds() {
        let api: Api<DynamicObject> =
            Api::namespaced_with(play.stage.admin.clone(), &play.namespace, &resource);
        let there = api.list_metadata(&ListParams::default()).await?;
        versions
            .extend(there.iter().map(|object| format!("{} {:?}", resource.kind, object.resource_version())));
    }
    Ok(versions)
}

#[test]
fn api_server_that_starts_again_is_no_write() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = Play::start(stage, "interval-reconcile").await?;
        play.until_ready().await?;
        let before = versions(&play).await?;
        play.stage.testbed.restart_api_server().await?;
        ensure!(versions(&play).await? == before);
        // The watches are back once the operator sees what Flux writes.
        play.count_from_now().await?;
        play.rest().await?;
        let writes = play.writes().await?;
        ensure!(writes == Writes::default(), "{writes:?}");
        Ok(())
    })
}

#[test]
fn request_of_a_person_is_no_write() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = Play::start(stage, "interval-reconcile").await?;
        play.until_ready().await?;
        let asked = json!({"metadata": {"annotations": {key::FLUX_REQUESTED_AT: "now"}}});
        play.merge(vworkspace_operator::flux::written::FluxKind::HelmRelease, "app", &asked).await?;
        play.rest().await?;
        let writes = play.writes().await?;
        ensure!(writes == Writes::default(), "{writes:?}");
        Ok(())
    })
}
