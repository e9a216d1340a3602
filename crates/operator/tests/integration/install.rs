//! From a written instance to running pods, and what is told on the way.

use crate::world::{World, condition, test, version_of, words_of};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    core::DynamicObject,
    runtime::watcher,
};
use serde_json::json;
use std::time::Duration;
use vworkspace_crds::{ApplicationInstance, application_instance::AppliedChart, key};
use vworkspace_operator::{flux::written::FluxKind, report::Observation};

const READY: &str = "Ready=True/HelmReleaseReady";

async fn installed(
    world: &World,
    namespace: &str,
    instance: serde_json::Value,
) -> anyhow::Result<ApplicationInstance> {
    world.create(namespace, instance).await?;
    let ready =
        world.told(namespace, &[READY, "Reconciling=False/Stable", "Blocked=False/Unblocked"]).await?;
    world.replicas(namespace, "shop-hello", 2).await?;
    ensure!(world.pod_phases(namespace).await? == ["Running", "Running"]);
    Ok(ready)
}

#[test]
fn a_chart_from_a_repository_becomes_ready_with_running_pods() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("helm").await?;
        let ready = installed(world, &namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let status = ready.status.context("no status")?;
        ensure!(
            status
                .helm_release_ref
                .is_some_and(|release| release.name == "shop" && release.namespace == namespace)
        );
        ensure!(status.last_applied_chart.is_some_and(|chart| chart.version == "1.0.0"));
        for (kind, name) in [(FluxKind::HelmRelease, "shop"), (FluxKind::HelmRepository, "shop-source")] {
            let object = world.flux(kind, &namespace).get(name).await?;
            ensure!(
                object.owner_references().iter().any(|owner| owner.kind == "ApplicationInstance"),
                "{name} has no owner"
            );
            ensure!(object.labels()["app.vworkspace.io/application-instance"] == "shop");
        }
        Ok(())
    })
}

#[test]
fn a_chart_from_a_registry_becomes_ready_with_running_pods() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("oci").await?;
        installed(world, &namespace, world.oci(&namespace, "hello", "1.0.0")).await?;
        Ok(())
    })
}

#[test]
fn range_of_a_registry_runs_and_both_versions_are_shown() -> anyhow::Result<()> {
    test(|world| async {
        for (asked, found) in [(" 1.0.x ", "1.0.0"), ("v1.1.0", "1.1.0"), ("1.1", "1.1.0")] {
            let namespace = world.gated("range").await?;
            let ready = installed(world, &namespace, world.oci(&namespace, "hello", asked)).await?;
            let status = ready.status.context("no status")?;
            let version = |chart: Option<AppliedChart>| chart.map(|chart| chart.version).unwrap_or_default();
            ensure!(version(status.requested_chart) == asked.trim());
            ensure!(version(status.last_applied_chart) == found);
        }
        Ok(())
    })
}

#[test]
fn address_that_was_asked_is_named_by_the_application() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("address").await?;
        let mut instance = world.oci(&namespace, "hello", "1.0.0");
        instance["spec"]["chart"]["url"] = json!(format!("OCI://{}/hello", world.testbed.registry()));
        world.create(&namespace, instance).await?;
        let asked = format!("asked was oci://{}/hello", world.testbed.registry());
        world.told_message(&namespace, "Ready", &asked).await
    })
}

#[test]
fn transitions_are_reported_and_announced() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("told").await?;
        installed(world, &namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let became_ready = |observation: &Observation| match observation {
            Observation::Conditions { before, after, object, .. } => {
                let is_ready = |conditions: &[vworkspace_protocol::Condition]| {
                    conditions.iter().any(|condition| condition.to_string().starts_with(READY))
                };
                !object.uid.is_empty() && !is_ready(before) && is_ready(after)
            }
            Observation::Seen { .. }
            | Observation::Changed { .. }
            | Observation::Deleted { .. }
            | Observation::Rotated { .. } => false,
        };
        // The observation follows the write that `installed` has seen.
        let times = || world.observations(&namespace, "shop").iter().filter(|o| became_ready(o)).count();
        let reported = async {
            while times() == 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reported).await.context("it is never reported")?;
        ensure!(times() == 1);
        let events: Api<Event> = world.api(&namespace);
        let mut announced = watcher(events, watcher::Config::default()).boxed();
        while let Some(event) = announced.try_next().await? {
            let (watcher::Event::Apply(event) | watcher::Event::InitApply(event)) = event else {
                continue;
            };
            let is_ours = event
                .regarding
                .as_ref()
                .is_some_and(|object| object.kind.as_deref() == Some("ApplicationInstance"));
            if is_ours && event.reason.as_deref() == Some("HelmReleaseReady") {
                return Ok(());
            }
        }
        anyhow::bail!("no Kubernetes Event was seen")
    })
}

#[test]
fn a_second_reconcile_writes_nothing_to_flux() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("idle").await?;
        let ready = installed(world, &namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let written = || async {
            let release = world.flux(FluxKind::HelmRelease, &namespace).get("shop").await?;
            let source = world.flux(FluxKind::HelmRepository, &namespace).get("shop-source").await?;
            anyhow::Ok((release.managed_fields().to_vec(), release.metadata.generation, version_of(&source)))
        };
        let before = written().await?;
        // The generation shows that a reconcile has run; nothing that Flux sees depends on this member.
        world.patch(&namespace, json!({"spec": {"integrations": {"ingress": {"enabled": true}}}})).await?;
        let after = world.told(&namespace, &[READY]).await?;
        ensure!(after.metadata.generation > ready.metadata.generation);
        ensure!(written().await? == before);
        Ok(())
    })
}

#[test]
fn a_missing_chart_is_told_in_the_sources_own_words_before_the_release_names_it() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("missing").await?;
        world.create(&namespace, world.helm(&namespace, "nope", "1.0.0")).await?;
        let told = world
            .told(
                &namespace,
                &[
                    "Ready=False/InvalidChartReference",
                    "Reconciling=False/Stable",
                    "Blocked=True/SourceStalled",
                ],
            )
            .await?;
        ensure!(!condition(&told, "Ready")?.message.is_empty());
        let release = world.flux(FluxKind::HelmRelease, &namespace).get("shop").await?;
        let words = release.data["status"]["conditions"].to_string();
        ensure!(!words.contains("invalid chart reference"), "the release already names it: {words}");
        Ok(())
    })
}

#[test]
fn pods_that_never_start_end_as_failed() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("stuck").await?;
        let mut stuck = world.helm(&namespace, "stuck", "1.0.0");
        stuck["spec"]["release"]["timeout"] = json!("5s");
        world.create(&namespace, stuck).await?;
        let failed =
            world.told(&namespace, &["Ready=False/HelmReleaseFailed", "Reconciling=False/Stable"]).await?;
        ensure!(condition(&failed, "Degraded").is_err(), "nothing older runs");
        Ok(())
    })
}

#[test]
fn a_failed_upgrade_names_the_older_release_that_runs() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("degraded").await?;
        installed(world, &namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let change = json!({"spec": {"chart": {"version": "2.0.0"}, "release": {"timeout": "5s"}}});
        world.patch(&namespace, change).await?;
        let failed = world
            .told(
                &namespace,
                &[
                    "Ready=False/HelmReleaseFailed",
                    "Reconciling=False/Stable",
                    "Degraded=True/HelmReleaseDegraded",
                ],
            )
            .await?;
        ensure!(condition(&failed, "Degraded")?.message.contains("1.0.0"));
        Ok(())
    })
}

#[test]
fn a_suspended_release_is_never_told_as_ready() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("suspended").await?;
        installed(world, &namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let releases = world.flux(FluxKind::HelmRelease, &namespace);
        let suspend = |is_suspended: bool| Patch::Merge(json!({"spec": {"suspend": is_suspended}}));
        releases.patch("shop", &PatchParams::default(), &suspend(true)).await?;
        let suspended = ["Ready=Unknown/Suspended", "Reconciling=False/Stable", "Suspended=True/Suspended"];
        world.told(&namespace, &suspended).await?;
        world.patch(&namespace, json!({"spec": {"chart": {"version": "1.1.0"}}})).await?;
        world.told(&namespace, &suspended).await?;
        let has_looked = |release: &kube::core::DynamicObject| {
            release.data["status"]["observedGeneration"].as_i64() == release.metadata.generation
        };
        world.until(releases.clone(), "shop", has_looked).await?;
        let still = world.told(&namespace, &suspended).await?;
        ensure!(!words_of(&still).contains(&READY.to_owned()));
        releases.patch("shop", &PatchParams::default(), &suspend(false)).await?;
        world.told(&namespace, &[READY, "Suspended=False/Resumed"]).await?;
        let release = releases.get("shop").await?;
        ensure!(release.data["status"]["history"][0]["chartVersion"] == "1.1.0");
        Ok(())
    })
}

#[test]
fn another_kind_of_source_replaces_the_old_one() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("switch").await?;
        installed(world, &namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let chart = world.oci(&namespace, "hello", "1.1.0")["spec"]["chart"].clone();
        world.patch(&namespace, json!({"spec": {"chart": chart}})).await?;
        world.told(&namespace, &[READY]).await?;
        world.gone(world.flux(FluxKind::HelmRepository, &namespace), "shop-source").await?;
        let left = world.flux(FluxKind::OciRepository, &namespace).list(&ListParams::default()).await?;
        ensure!(left.items.len() == 1);
        Ok(())
    })
}

#[test]
fn request_of_a_job_is_passed_on_once_and_one_of_a_person_stays() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("request").await?;
        installed(world, &namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        world.patch(&namespace, json!({"metadata": {"annotations": {key::REQUEST: "j1"}}})).await?;
        let is_handled = |instance: &ApplicationInstance| {
            let status = instance.status.as_ref();
            status.and_then(|status| status.handled_request.as_deref()) == Some("j1")
        };
        let instances: Api<ApplicationInstance> = world.api(&namespace);
        world.until(instances, "shop", is_handled).await?;
        let releases = world.flux(FluxKind::HelmRelease, &namespace);
        let requested = |release: &DynamicObject| release.annotations()[key::FLUX_REQUESTED_AT].clone();
        for (kind, name) in [(FluxKind::HelmRelease, "shop"), (FluxKind::HelmRepository, "shop-source")] {
            let object = world.flux(kind, &namespace).get(name).await?;
            ensure!(requested(&object) == "j1", "{name}");
            ensure!(object.data["status"]["lastHandledReconcileAt"] == "j1", "{name}");
        }
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key::FLUX_REQUESTED_AT: "by hand"}}}));
        releases.patch("shop", &PatchParams::default(), &patch).await?;
        let by_hand = |release: &DynamicObject| release.data["status"]["lastHandledReconcileAt"] == "by hand";
        world.until(releases.clone(), "shop", by_hand).await?;
        // The generation shows that a reconcile has run.
        let before = world
            .patch(&namespace, json!({"spec": {"integrations": {"ingress": {"enabled": true}}}}))
            .await?;
        let after = world.told(&namespace, &[READY]).await?;
        ensure!(after.metadata.generation == before.metadata.generation && is_handled(&after));
        ensure!(requested(&releases.get("shop").await?) == "by hand");
        Ok(())
    })
}
