//! The end of an instance.

use crate::world::{eventually, test, words_of};
use anyhow::ensure;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use vworkspace_crds::ApplicationInstance;
use vworkspace_operator::{flux::written::FluxKind, report::Observation};

const READY: &str = "Ready=True/HelmReleaseReady";

#[test]
fn the_instance_goes_only_after_its_release_is_gone() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("delete").await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        world.told(&namespace, &[READY]).await?;
        let releases = world.flux(FluxKind::HelmRelease, &namespace);
        // Somebody else holds the release: it is deleted, but not gone.
        let hold = Patch::Json::<()>(serde_json::from_value(
            json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "test.example/hold"}]),
        )?);
        releases.patch("shop", &PatchParams::default(), &hold).await?;
        let instances: Api<ApplicationInstance> = world.api(&namespace);
        instances.delete("shop", &DeleteParams::default()).await?;
        world
            .until(releases.clone(), "shop", |release| release.metadata.deletion_timestamp.is_some())
            .await?;
        let is_uninstalled = |release: &kube::core::DynamicObject| {
            release
                .metadata
                .finalizers
                .as_ref()
                .is_some_and(|finalizers| *finalizers == ["test.example/hold"])
        };
        world.until(releases.clone(), "shop", is_uninstalled).await?;
        let deleting = world
            .until(instances.clone(), "shop", |i| {
                words_of(i).contains(&"Deleting=True/Uninstalling".to_owned())
            })
            .await?;
        ensure!(words_of(&deleting).contains(&"Ready=False/Deleting".to_owned()));
        ensure!(world.api::<Deployment>(&namespace).get_opt("shop-hello").await?.is_none());
        let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        releases.patch("shop", &PatchParams::default(), &release).await?;
        world.gone(instances, "shop").await?;
        world.gone(world.flux(FluxKind::HelmRepository, &namespace), "shop-source").await?;
        let ends = || {
            let seen = world.observations(&namespace, "shop");
            seen.iter().filter(|seen| matches!(seen, Observation::Deleted { .. })).count()
        };
        eventually("the end is reported", async || Ok(ends() > 0)).await?;
        ensure!(ends() == 1);
        Ok(())
    })
}

#[test]
fn a_namespace_with_an_instance_can_end() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("ending").await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        world.told(&namespace, &[READY]).await?;
        let namespaces: Api<Namespace> = Api::all(world.admin.clone());
        namespaces.delete(&namespace, &DeleteParams::default()).await?;
        world.gone(namespaces, &namespace).await
    })
}

#[test]
fn an_instance_in_a_closed_namespace_goes_at_once() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.closed("closed").await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        world.told(&namespace, &["Blocked=True/NamespaceNotGated"]).await?;
        let instances: Api<ApplicationInstance> = world.api(&namespace);
        instances.delete("shop", &DeleteParams::default()).await?;
        world.gone(instances, "shop").await
    })
}
