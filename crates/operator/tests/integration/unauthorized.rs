//! Namespaces with the label and without the RoleBinding.

use crate::{
    counting::Call,
    gates::{binding, label},
    world::{World, condition, eventually, test},
};
use anyhow::ensure;
use k8s_openapi::api::{core::v1::Namespace, events::v1::Event, rbac::v1::RoleBinding};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::time::Duration;
use vworkspace_crds::ApplicationInstance;
use vworkspace_operator::{
    agent::applier::{Applier, ApplyError},
    flux::written::FluxKind,
    namespace_access::NamespaceAccess,
};
use vworkspace_protocol::ObjectRef;

const COMMAND: &str = "kubectl create rolebinding vworkspace-operator --namespace ";

/// Has a cluster's admin set the label, and forget the RoleBinding.
async fn labelled(world: &World, prefix: &str) -> anyhow::Result<String> {
    let namespace = world.closed(prefix).await?;
    let namespaces: Api<Namespace> = Api::all(world.admin.clone());
    namespaces.patch(&namespace, &PatchParams::default(), &label(&json!("vworkspace"))).await?;
    Ok(namespace)
}

/// Lists of one kind in the namespace; watches are none.
fn lists(world: &World, kind: FluxKind, namespace: &str) -> Vec<Call> {
    let path = format!("/namespaces/{namespace}/{}", kind.resource().plural);
    let mut calls = world.calls.about(&path);
    calls.retain(|call| {
        call.method == "GET" && call.uri.contains(&format!("{path}?")) && !call.uri.contains("watch=")
    });
    calls
}

#[test]
fn label_without_rolebinding_is_named_backed_off_and_recovers() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = labelled(world, "no-binding").await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        let words = ["Ready=False/NamespaceNotAuthorized", "Blocked=True/NamespaceNotAuthorized"];
        let told = world.told(&namespace, &words).await?;
        let message = &condition(&told, "Blocked")?.message;
        ensure!(message.contains(&format!("{COMMAND}{namespace} ")), "{message}");
        ensure!(message.contains("--serviceaccount vworkspace-system:vworkspace-operator"), "{message}");

        eventually("six lists of each kind", async || {
            Ok(FluxKind::ALL.iter().all(|kind| lists(world, *kind, &namespace).len() >= 6))
        })
        .await?;
        for kind in FluxKind::ALL {
            let lists = lists(world, kind, &namespace);
            ensure!(lists.iter().all(|call| call.status == 403), "{lists:?}");
            let gaps = lists.windows(2).map(|pair| pair[1].at - pair[0].at);
            ensure!(gaps.into_iter().all(|gap| gap >= Duration::from_secs(1)), "{lists:?}");
        }
        let instance = world.api::<ApplicationInstance>(&namespace).get("shop").await?;
        ensure!(condition(&instance, "Blocked")? == condition(&told, "Blocked")?, "told once");

        world.api::<RoleBinding>(&namespace).create(&PostParams::default(), &binding()).await?;
        world.told(&namespace, &["Ready=True/HelmReleaseReady", "Blocked=False/Unblocked"]).await?;
        eventually("every kind is listed", async || {
            let is_listed =
                |kind| lists(world, kind, &namespace).last().is_some_and(|call| call.status == 200);
            Ok(FluxKind::ALL.into_iter().all(is_listed))
        })
        .await
    })
}

#[test]
fn label_without_rolebinding_is_an_event_where_nothing_is_installed() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = labelled(world, "no-instance").await?;
        let events: Api<Event> = world.api(&namespace);
        eventually("one Event names the RoleBinding", async || {
            let events = events.list(&ListParams::default()).await?.items;
            let reasons: Vec<_> = events.iter().map(|event| event.reason.as_deref()).collect();
            let note = events.first().and_then(|event| event.note.as_deref()).unwrap_or_default();
            ensure!(reasons.len() < 2, "{events:?}");
            Ok(reasons == [Some("NamespaceNotAuthorized")]
                && note.contains(&format!("{COMMAND}{namespace} ")))
        })
        .await
    })
}

#[test]
fn jobs_without_rolebinding_fail_until_it_is_made() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = labelled(world, "no-jobs").await?;
        let operator = world.testbed.operator().await?;
        let applier = Applier::new(operator.clone(), NamespaceAccess::new(operator));
        let (object, manifest) = placeholder(&namespace);
        let first = applier.apply(&object, &manifest).await;
        ensure!(matches!(&first, Err(ApplyError::Declined(why)) if why.contains(COMMAND)), "{first:?}");
        eventually("a second refusal", async || match applier.apply(&object, &manifest).await {
            Err(ApplyError::Declined(_)) => Ok(false),
            Err(ApplyError::Refused(why)) => {
                ensure!(why.starts_with("NamespaceNotAuthorized: ") && why.contains(COMMAND), "{why}");
                Ok(true)
            }
            other => anyhow::bail!("{other:?}"),
        })
        .await?;
        let next = applier.delete(&object).await;
        ensure!(matches!(next, Err(ApplyError::Refused(_))), "the next one fails at once: {next:?}");
        let instances: Api<ApplicationInstance> = world.api(&namespace);
        ensure!(instances.get_opt("shop").await?.is_none(), "nothing was written");

        world.api::<RoleBinding>(&namespace).create(&PostParams::default(), &binding()).await?;
        eventually("the job is taken", async || Ok(applier.apply(&object, &manifest).await.is_ok())).await?;
        instances.delete("shop", &DeleteParams::default()).await?;
        Ok(())
    })
}

#[test]
fn job_for_an_absent_namespace_says_that_it_is_absent() -> anyhow::Result<()> {
    test(|world| async {
        let operator = world.testbed.operator().await?;
        let applier = Applier::new(operator.clone(), NamespaceAccess::new(operator));
        let (object, manifest) = placeholder("nobody-made-this");
        let refused = applier.apply(&object, &manifest).await;
        ensure!(
            matches!(&refused, Err(ApplyError::Refused(why)) if why.starts_with("NamespaceNotFound: ")),
            "{refused:?}"
        );
        Ok(())
    })
}

fn placeholder(namespace: &str) -> (ObjectRef, Value) {
    let object = ObjectRef {
        api_version: "apps.vworkspace.io/v1alpha1".to_owned(),
        kind: "ApplicationInstance".to_owned(),
        namespace: namespace.to_owned(),
        name: "shop".to_owned(),
        ..ObjectRef::default()
    };
    let manifest = json!({
        "apiVersion": object.api_version, "kind": object.kind,
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"appRef": {"catalogId": "hello"}, "mode": "placeholder"},
    });
    (object, manifest)
}
