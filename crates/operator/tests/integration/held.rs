//! What was asked is what is held, whatever other field managers and the API server make of it.

use crate::world::{World, condition, eventually, test, version_of, words_of};
use anyhow::{bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResourceExt as _, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use vworkspace_crds::{ApplicationInstance, key::AGENT_FIELD_MANAGER};
use vworkspace_operator::{
    agent::applier::{Applier, ApplyError},
    flux::written::FluxKind,
    namespace_access::NamespaceAccess,
};
use vworkspace_protocol::{ClusterId, ObjectRef, outcome::FieldConflict};

const READY: &str = "Ready=True/HelmReleaseReady";
const DRIFTED: &str = "Drifted=True/DriftDetected";

/// Jobs for the object `shop` of one kind.
struct Jobs {
    applier: Applier,
    object: ObjectRef,
    api: Api<DynamicObject>,
}

impl Jobs {
    async fn new(world: &World, namespace: &str, api_version: &str, kind: &str) -> anyhow::Result<Self> {
        let operator = world.testbed.operator().await?;
        let (group, version) = api_version.split_once('/').unwrap_or_default();
        let plural = format!("{}s", kind.to_lowercase());
        let kind_of = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind_of, &plural);
        let object = ObjectRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: "shop".to_owned(),
            ..ObjectRef::default()
        };
        let api = Api::namespaced_with(world.admin.clone(), namespace, &resource);
        Ok(Self { applier: Applier::new(operator.clone(), NamespaceAccess::new(operator)), object, api })
    }

    async fn instance(world: &World, namespace: &str) -> anyhow::Result<Self> {
        Self::new(world, namespace, "apps.vworkspace.io/v1alpha1", "ApplicationInstance").await
    }

    fn manifest(&self, spec: &Value) -> Value {
        json!({
            "apiVersion": self.object.api_version, "kind": self.object.kind,
            "metadata": {"name": "shop", "namespace": self.object.namespace}, "spec": spec,
        })
    }

    async fn apply(&self, spec: &Value) -> Result<ObjectRef, ApplyError> {
        self.applier.apply(&self.object, &self.manifest(spec)).await
    }

    /// The job must end in a conflict with exactly this manager, at a path that begins so.
    async fn conflicts(&self, spec: &Value, manager: &str, path: &str) -> anyhow::Result<()> {
        let before = self.api.get("shop").await?;
        match self.apply(spec).await {
            Err(ApplyError::Conflict { conflicts, .. }) => {
                let is_theirs = |c: &FieldConflict| c.manager == manager && c.field_path.starts_with(path);
                ensure!(!conflicts.is_empty() && conflicts.iter().all(is_theirs), "{conflicts:?}");
            }
            other => bail!("no conflict: {other:?}"),
        }
        ensure!(self.api.get("shop").await?.data["spec"] == before.data["spec"], "it was overwritten");
        Ok(())
    }

    /// Whether the API server replaces inline values as a whole, seen at an object of its own.
    async fn replaces_maps(&self) -> anyhow::Result<bool> {
        let mut probe = self.manifest(&inline(&self.object.namespace, &json!({"a": {"x": 1}})));
        probe["metadata"]["name"] = json!("probe");
        let mut held = Value::Null;
        for values in [json!({"a": {"x": 1}}), json!({"a": {}})] {
            probe["spec"]["values"]["inline"] = values;
            held = self.api.patch("probe", &PatchParams::apply("probe"), &Patch::Apply(&probe)).await?.data;
        }
        Ok(held["spec"]["values"]["inline"]["a"] == json!({}))
    }

    /// A person gives up what a manager owns.
    async fn let_go(&self, manager: &str) -> anyhow::Result<()> {
        let live = self.api.get("shop").await?;
        let others = live.managed_fields().iter().filter(|entry| entry.manager.as_deref() != Some(manager));
        let patch = json!({"metadata": {"managedFields": others.collect::<Vec<_>>()}});
        self.api.patch("shop", &by("a-person"), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn spec(&self) -> anyhow::Result<Value> {
        Ok(self.api.get("shop").await?.data["spec"].clone())
    }
}

/// A spec that installs nothing by itself: no such chart source is reached.
fn inline(namespace: &str, values: &Value) -> Value {
    json!({
        "appRef": {"catalogId": "hello"},
        "chart": {"sourceType": "helm", "url": "http://127.0.0.1:9", "name": "hello", "version": "1.0.0"},
        "release": {"name": "shop", "namespace": namespace},
        "values": {"source": "inline", "inline": values},
    })
}

fn by(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

#[test]
fn emptied_maps_are_held_as_they_were_sent() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("emptied").await?;
        let jobs = Jobs::instance(world, &namespace).await?;
        let steps = [
            json!({"resources": {"limits": {"memory": "1Gi"}}, "a": {"x": 1}, "n": null, "l": [{"p": 1}]}),
            json!({"resources": {}, "a": {}, "n": null, "l": []}),
            json!({"resources": {}, "a": {}}),
            json!({"a": {"x": 1.0, "big": 9_007_199_254_740_993_i64}}),
            json!({}),
        ];
        for values in steps {
            jobs.apply(&inline(&namespace, &values)).await?;
            let held = jobs.spec().await?["values"]["inline"].clone();
            ensure!(held.to_string().replace("1.0", "1") == values.to_string().replace("1.0", "1"), "{held}");
        }
        let mut wishes = inline(&namespace, &json!({}));
        wishes["integrations"] = json!({"ingress": {"enabled": true, "host": "a.example"}});
        jobs.apply(&wishes).await?;
        wishes["integrations"] = json!({"ingress": {}});
        jobs.apply(&wishes).await?;
        wishes["integrations"] = json!({});
        jobs.apply(&wishes).await?;
        ensure!(jobs.spec().await?["integrations"] == json!({}));
        Ok(())
    })
}

#[test]
fn member_of_another_manager_in_inline_values_is_a_conflict() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("foreign").await?;
        let jobs = Jobs::instance(world, &namespace).await?;
        jobs.apply(&inline(&namespace, &json!({"env": "a"}))).await?;
        let added = json!({"spec": {"values": {"inline": {"replicaCount": 3}}}});
        jobs.api.patch("shop", &by("kubectl-patch"), &Patch::Merge(&added)).await?;
        let spec = inline(&namespace, &json!({"env": "a"}));
        jobs.conflicts(&spec, "kubectl-patch", ".spec.values.inline").await?;
        // What runs may be asked for.
        let both = json!({"env": "a", "replicaCount": 3});
        jobs.apply(&inline(&namespace, &both)).await?;
        ensure!(jobs.spec().await?["values"]["inline"] == both);
        // Getting free, as decision 15 says: once by force, in the agent's name.
        let forced = PatchParams::apply(AGENT_FIELD_MANAGER).force();
        jobs.api.patch("shop", &forced, &Patch::Apply(jobs.manifest(&spec))).await?;
        jobs.apply(&inline(&namespace, &json!({"env": "b"}))).await?;
        ensure!(jobs.spec().await?["values"]["inline"] == json!({"env": "b"}));
        Ok(())
    })
}

#[test]
fn values_of_a_client_side_apply_are_a_conflict() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("client-side").await?;
        let jobs = Jobs::instance(world, &namespace).await?;
        let theirs = jobs.manifest(&inline(&namespace, &json!({"a": 1})));
        let params =
            PostParams { field_manager: Some("kubectl-client-side-apply".into()), ..PostParams::default() };
        jobs.api.create(&params, &serde_json::from_value(theirs)?).await?;
        let spec = inline(&namespace, &json!({"b": 1}));
        jobs.conflicts(&spec, "kubectl-client-side-apply", ".spec.values.inline").await
    })
}

#[test]
fn parameters_of_an_operation_have_one_owner() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("parameters").await?;
        let jobs = Jobs::new(world, &namespace, "ops.vworkspace.io/v1alpha1", "Operation").await?;
        let spec = |parameters: Value| {
            let target = json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "name": "x"});
            json!({"targetRef": target, "type": "Backup", "engine": "velero", "parameters": parameters})
        };
        jobs.apply(&spec(json!({"a": {"x": 1}}))).await?;
        jobs.apply(&spec(json!({"a": {}}))).await?;
        ensure!(jobs.spec().await?["parameters"] == json!({"a": {}}));
        jobs.apply(&spec(json!({}))).await?;
        ensure!(jobs.spec().await?["parameters"] == json!({}));
        let added = json!({"spec": {"parameters": {"ttl": "1h"}}});
        jobs.api.patch("shop", &by("kubectl-patch"), &Patch::Merge(&added)).await?;
        jobs.conflicts(&spec(json!({"a": 1})), "kubectl-patch", ".spec.parameters").await
    })
}

/// The definition of [`ApplicationInstance`] under another group, as of an earlier version: without one owner per map.
fn earlier_definition() -> anyhow::Result<(CustomResourceDefinition, CustomResourceDefinition)> {
    let now = serde_json::to_string(&ApplicationInstance::crd())?
        .replace("apps.vworkspace.io", "earlier.vworkspace.io")
        .replace("appinst", "earlierinst");
    let before = now.replace(r#""x-kubernetes-map-type":"atomic","#, "");
    ensure!(before != now, "nothing is atomic");
    Ok((serde_json::from_str(&before)?, serde_json::from_str(&now)?))
}

#[test]
fn granular_owners_of_an_earlier_definition_are_a_conflict_before_and_after_its_update() -> anyhow::Result<()>
{
    test(|world| async {
        let namespace = world.gated("granular").await?;
        let (before, now) = earlier_definition()?;
        let definitions: Api<CustomResourceDefinition> = Api::all(world.admin.clone());
        let name = before.name_any();
        definitions.create(&PostParams::default(), &before).await?;
        let mut jobs =
            Jobs::new(world, &namespace, "earlier.vworkspace.io/v1alpha1", "ApplicationInstance").await?;
        // The operator's role knows nothing of this group.
        jobs.applier = Applier::new(world.admin.clone(), NamespaceAccess::new(world.admin.clone()));
        let first = inline(&namespace, &json!({"env": "a", "deep": {"x": 1}}));
        eventually("the kind is served", async || Ok(jobs.apply(&first).await.is_ok())).await?;

        // What the API server loses is sent once more.
        jobs.apply(&inline(&namespace, &json!({"env": "a", "deep": {}}))).await?;
        ensure!(jobs.spec().await?["values"]["inline"] == json!({"env": "a", "deep": {}}));
        let added = json!({"spec": {"values": {"inline": {"replicaCount": 3}}}});
        jobs.api.patch("shop", &by("kubectl-patch"), &Patch::Merge(&added)).await?;
        let spec = inline(&namespace, &json!({"env": "a", "deep": {}}));
        jobs.conflicts(&spec, "kubectl-patch", ".spec.values.inline.replicaCount").await?;

        definitions.patch(&name, &PatchParams::default(), &Patch::Merge(&json!({"spec": now.spec}))).await?;
        eventually("the definition's update is served", async || jobs.replaces_maps().await).await?;
        jobs.conflicts(&spec, "kubectl-patch", ".spec.values.inline.replicaCount").await?;
        // What runs may be asked for, and once the other manager has let go, anything.
        let both = json!({"env": "a", "deep": {}, "replicaCount": 3});
        jobs.apply(&inline(&namespace, &both)).await?;
        jobs.let_go("kubectl-patch").await?;
        jobs.apply(&spec).await?;
        ensure!(jobs.spec().await?["values"]["inline"] == json!({"env": "a", "deep": {}}));
        definitions.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    })
}

/// An instance that runs with inline values, applied by a job.
async fn running(world: &World, namespace: &str, values: &Value) -> anyhow::Result<(Jobs, Value)> {
    let jobs = Jobs::instance(world, namespace).await?;
    let mut spec = world.helm(namespace, "hello", "1.0.0")["spec"].clone();
    spec["values"] = json!({"source": "inline", "inline": values});
    jobs.apply(&spec).await?;
    world.told(namespace, &[READY]).await?;
    Ok((jobs, spec))
}

async fn values_of(world: &World, namespace: &str) -> anyhow::Result<Value> {
    Ok(world.flux(FluxKind::HelmRelease, namespace).get("shop").await?.data["spec"]["values"].clone())
}

#[test]
fn emptied_values_reach_flux_as_they_were_asked() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("emptied-flux").await?;
        let first = json!({"resources": {"limits": {"memory": "1Gi"}}, "replicas": 1});
        let (jobs, mut spec) = running(world, &namespace, &first).await?;
        for values in [json!({"resources": {}, "replicas": 1}), json!({})] {
            spec["values"]["inline"] = values.clone();
            jobs.apply(&spec).await?;
            eventually("the values reach Flux", async || {
                let held = values_of(world, &namespace).await?;
                Ok(held == values || (held.is_null() && values == json!({})))
            })
            .await?;
            let told = world.told(&namespace, &[READY]).await?;
            ensure!(!words_of(&told).iter().any(|word| word.starts_with("Drifted=True")));
        }
        Ok(())
    })
}

#[test]
fn member_of_another_manager_on_the_release_is_drift_until_it_is_gone() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("drift").await?;
        let (jobs, spec) = running(world, &namespace, &json!({"replicas": 1})).await?;
        let releases = world.flux(FluxKind::HelmRelease, &namespace);
        let patch = |values: Value| Patch::Merge(json!({"spec": {"values": values}}));
        releases.patch("shop", &by("kubectl-patch"), &patch(json!({"color": "red"}))).await?;
        let drifted = world.told(&namespace, &[READY, DRIFTED]).await?;
        let message = &condition(&drifted, "Drifted")?.message;
        ensure!(message == r#"HelmRelease shop: .spec.values.color is set by "kubectl-patch""#, "{message}");

        // The same deploy again overwrites nothing, and what is idle is not written.
        jobs.apply(&spec).await?;
        let release = version_of(&releases.get("shop").await?);
        let path = format!("/namespaces/{namespace}/helmreleases/shop");
        let writes = || world.calls.about(&path).iter().filter(|call| call.method == "PATCH").count();
        let (before, looks) = (writes(), world.calls.about(&path).len());
        world.patch(&namespace, json!({"metadata": {"annotations": {"look": "again"}}})).await?;
        eventually("it is looked at", async || Ok(world.calls.about(&path).len() > looks)).await?;
        let still = world.told(&namespace, &[READY, DRIFTED]).await?;
        ensure!(writes() == before && version_of(&releases.get("shop").await?) == release);
        ensure!(values_of(world, &namespace).await? == json!({"replicas": 1, "color": "red"}));
        ensure!(condition(&still, "Drifted")? == condition(&drifted, "Drifted")?);

        releases.patch("shop", &by("kubectl-patch"), &patch(json!({"color": null}))).await?;
        eventually("the drift is over", async || {
            let now = world.api::<ApplicationInstance>(&namespace).get("shop").await?;
            let words = words_of(&now);
            Ok(!words.contains(&DRIFTED.to_owned()) && words.contains(&READY.to_owned()))
        })
        .await
    })
}

#[test]
fn value_that_an_autoscaler_changed_on_the_release_is_drift_and_stays() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("autoscaler").await?;
        running(world, &namespace, &json!({"replicas": 1})).await?;
        let releases = world.flux(FluxKind::HelmRelease, &namespace);
        let seven = Patch::Merge(json!({"spec": {"values": {"replicas": 7}}}));
        releases.patch("shop", &by("autoscaler"), &seven).await?;
        let drifted = world.told(&namespace, &[READY, DRIFTED]).await?;
        let message = &condition(&drifted, "Drifted")?.message;
        ensure!(message.contains(".spec.values.replicas") && message.contains("autoscaler"), "{message}");
        ensure!(values_of(world, &namespace).await? == json!({"replicas": 7}));
        Ok(())
    })
}

/// Chart defaults run, and somebody else gives values.
#[test]
fn values_of_others_are_drift_where_none_were_asked_for() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("no-values").await?;
        world.create(&namespace, world.helm(&namespace, "hello", "1.0.0")).await?;
        world.told(&namespace, &[READY]).await?;
        let releases = world.flux(FluxKind::HelmRelease, &namespace);
        let given =
            json!({"spec": {"valuesFrom": [{"kind": "ConfigMap", "name": "theirs", "optional": true}]}});
        releases.patch("shop", &by("kubectl-edit"), &Patch::Merge(given)).await?;
        let drifted = world.told(&namespace, &[READY, DRIFTED]).await?;
        let message = &condition(&drifted, "Drifted")?.message;
        ensure!(message == r#"HelmRelease shop: .spec.valuesFrom is set by "kubectl-edit""#, "{message}");
        Ok(())
    })
}

/// Finalizers and owners are not a job's to set; what an exported object carries does no harm.
#[test]
fn exported_object_can_be_applied_as_a_job() -> anyhow::Result<()> {
    use vworkspace_operator::agent::action::{Action, of_job};
    test(|world| async {
        let namespace = world.gated("exported").await?;
        let jobs = Jobs::instance(world, &namespace).await?;
        let spec = json!({"appRef": {"catalogId": "hello"}, "mode": "placeholder"});
        jobs.apply(&spec).await?;
        let mut exported = serde_json::to_value(jobs.api.get("shop").await?)?;
        exported["metadata"]["finalizers"] = json!(["apps.vworkspace.io/finalizer"]);
        let job = json!({"id": "j", "kind": "apply", "payload": exported});
        let action = of_job(&serde_json::from_value(job)?, &ClusterId::new("c-1"))?;
        let Action::Apply { object, manifest, .. } = action else { bail!("no apply") };
        jobs.applier.apply(&object, &manifest).await?;
        ensure!(jobs.api.get("shop").await?.finalizers().is_empty());
        Ok(())
    })
}
