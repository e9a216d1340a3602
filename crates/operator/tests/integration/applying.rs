//! What jobs write, at a real API server.

use crate::world::test;
use anyhow::ensure;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use vworkspace_crds::ApplicationInstance;
use vworkspace_operator::{
    agent::applier::{Applier, ApplyError, Deletion},
    namespace_access::NamespaceAccess,
};
use vworkspace_protocol::ObjectRef;

fn placeholder(namespace: &str, catalog_id: &str) -> (ObjectRef, Value) {
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
        "spec": {"appRef": {"catalogId": catalog_id}, "mode": "placeholder"},
    });
    (object, manifest)
}

#[test]
fn a_job_leaves_alone_what_is_being_deleted_and_makes_it_anew_once_it_is_gone() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("applying").await?;
        let operator = world.testbed.operator().await?;
        let applier = Applier::new(operator.clone(), NamespaceAccess::new(operator));
        let instances: Api<ApplicationInstance> = world.api(&namespace);
        let (object, first) = placeholder(&namespace, "first");
        let life = applier.apply(&object, &first).await?;
        // Said once more, as after a lost answer, it changes nothing.
        let again = applier.apply(&object, &first).await?;
        ensure!((again.uid, again.generation) == (life.uid.clone(), life.generation));

        let hold = Patch::Merge(json!({"metadata": {"finalizers": ["test.example/hold"]}}));
        instances.patch("shop", &PatchParams::default(), &hold).await?;
        let deletion = applier.delete(&object).await?;
        ensure!(matches!(&deletion, Deletion::Pending(dying) if dying.uid == life.uid), "{deletion:?}");
        let (_, second) = placeholder(&namespace, "second");
        let refused = applier.apply(&object, &second).await;
        ensure!(matches!(refused, Err(ApplyError::Declined(_))), "{refused:?}");
        let dying = instances.get("shop").await?;
        ensure!(dying.meta().deletion_timestamp.is_some() && dying.spec.app_ref.catalog_id == "first");

        let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        instances.patch("shop", &PatchParams::default(), &release).await?;
        world.gone(instances.clone(), "shop").await?;
        let next = applier.apply(&object, &second).await?;
        ensure!(next.uid != life.uid);
        let found = instances.get("shop").await?;
        ensure!(found.uid() == Some(next.uid) && found.spec.app_ref.catalog_id == "second");

        instances.delete("shop", &DeleteParams::default()).await?;
        world.gone(instances, "shop").await?;
        ensure!(applier.delete(&object).await? == Deletion::Gone);
        Ok(())
    })
}
