//! Plays a recording of the real Flux: each of its lines becomes the status of the object that our operator made.

use super::{
    stage::Stage,
    tape::{self, Tape, Writes},
};
use crate::world::PATIENCE;
use anyhow::{Context as _, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    path::PathBuf,
};
use tokio::time::timeout;
use vworkspace_crds::ApplicationInstance;
use vworkspace_operator::flux::written::FluxKind;

/// Who writes what is Flux's.
const FLUX: &str = "flux";

/// One instance, the lines still to be played, and the test's own writes.
pub struct Play<'a> {
    pub stage: &'a mut Stage,
    pub namespace: String,
    lines: VecDeque<Value>,
    /// Versions that our own writes were answered with.
    own: BTreeSet<String>,
    versions: BTreeMap<(FluxKind, String), String>,
    tape: Option<Tape>,
    fences: u32,
}

/// The lines of a recording in which something was seen.
pub fn recorded(name: &str) -> anyhow::Result<VecDeque<Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/flux/{name}.jsonl"));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str);
    let lines = lines.collect::<Result<VecDeque<Value>, _>>()?;
    Ok(lines.into_iter().filter(|line| line.get("status").is_some()).collect())
}

/// The instance `name` of chart hello 1.0.0 from a source of this kind.
pub fn instance(namespace: &str, name: &str, source_type: &str) -> Value {
    let scheme = if source_type == "oci" { "oci" } else { "http" };
    let chart = json!({"sourceType": source_type, "url": format!("{scheme}://127.0.0.1:9/charts"), "name": "hello", "version": "1.0.0"});
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"appRef": {"catalogId": "hello"}, "chart": chart, "release": {"name": name, "namespace": namespace}},
    })
}

impl<'a> Play<'a> {
    /// A namespace with one instance, `app`, whose objects the operator has made; the recording from its begin.
    pub async fn start(stage: &'a mut Stage, recording: &str) -> anyhow::Result<Self> {
        let namespace = stage.namespace(recording).await?;
        let lines = recorded(recording)?;
        let is_oci = lines.iter().any(|line| line["kind"] == "OCIRepository");
        let mut play = Self::empty(stage, namespace);
        play.lines = lines;
        play.create("app", if is_oci { "oci" } else { "helm" }, &Value::Null).await?;
        Ok(play)
    }

    /// A namespace that is to be filled by the test.
    pub fn empty(stage: &'a mut Stage, namespace: String) -> Self {
        let (lines, own, versions) = <(_, _, BTreeMap<_, _>)>::default();
        Self { stage, namespace, lines, own, versions, tape: None, fences: 0 }
    }

    /// Creates an instance and waits for the HelmRelease that the operator makes.
    pub async fn create(&mut self, name: &str, source_type: &str, values: &Value) -> anyhow::Result<()> {
        let mut instance = instance(&self.namespace, name, source_type);
        if !values.is_null() {
            instance["spec"]["values"] = values.clone();
        }
        let instance: ApplicationInstance = serde_json::from_value(instance)?;
        self.instances().create(&PostParams::default(), &instance).await?;
        let releases = self.stage.flux(FluxKind::HelmRelease, &self.namespace);
        super::exists(releases, name).await
    }

    /// Waits until an instance is as it should be.
    pub async fn until(
        &self,
        name: &str,
        is_so: impl Fn(&ApplicationInstance) -> bool,
    ) -> anyhow::Result<ApplicationInstance> {
        let is_there = |instance: Option<&ApplicationInstance>| instance.is_some_and(&is_so);
        let found = timeout(PATIENCE, await_condition(self.instances(), name, is_there)).await;
        found.with_context(|| format!("{name} never became so"))??.context("the instance went away")
    }

    pub fn instances(&self) -> Api<ApplicationInstance> {
        self.stage.api(&self.namespace)
    }

    /// Plays on until the instance is ready, then begins to count.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        while !super::is_ready(&self.instances().get("app").await?) {
            ensure!(self.next().await?.is_some(), "the recording ended before the instance was ready");
        }
        self.count_from_now().await
    }

    /// Begins to count writes.
    pub async fn count_from_now(&mut self) -> anyhow::Result<()> {
        self.tape = Some(Tape::start(&self.stage.admin, &self.namespace).await?);
        Ok(())
    }

    /// Plays the next line, and waits until the operator has dealt with it; `None` at the end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        let Some(line) = self.lines.pop_front() else { return Ok(None) };
        self.play(&line).await?;
        Ok(Some(line))
    }

    /// Plays all lines that are left.
    pub async fn rest(&mut self) -> anyhow::Result<()> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// Writes the status of one line. A status that is there already is no write, and wakes nobody.
    pub async fn play(&mut self, line: &Value) -> anyhow::Result<()> {
        let text = |member: &str| line[member].as_str().unwrap_or_default().to_owned();
        let kind = FluxKind::ALL.into_iter().find(|kind| kind.as_str() == text("kind")).context("a kind")?;
        ensure!(line["generation"] == 1, "our objects are of generation 1");
        let name = match kind {
            FluxKind::HelmRelease => "app".to_owned(),
            FluxKind::HelmChart => format!("{}-app", self.namespace),
            FluxKind::HelmRepository | FluxKind::OciRepository => "app-source".to_owned(),
        };
        let status = &line["status"];
        if kind == FluxKind::HelmChart
            && self.stage.flux(kind, &self.namespace).get_opt(&name).await?.is_none()
        {
            self.create_chart(&name).await?;
        }
        let has_status = status.as_object().is_some_and(|status| !status.is_empty());
        if has_status { self.write_status(kind, &name, status).await.map(drop) } else { Ok(()) }
    }

    /// Writes a status as Flux does, and waits until the operator has looked at it.
    pub async fn write_status(&mut self, kind: FluxKind, name: &str, status: &Value) -> anyhow::Result<()> {
        let patch = json!([{"op": "add", "path": "/status", "value": status}]);
        let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
        let looked = self.stage.reconciles()?;
        let params = PatchParams { field_manager: Some(FLUX.to_owned()), ..PatchParams::default() };
        let api = self.stage.flux(kind, &self.namespace);
        let answer = api.patch_status(name, &params, &patch).await?;
        if self.is_new(kind, name, &answer) {
            self.stage.reconciled(looked + 1).await?;
        }
        Ok(())
    }

    /// Merges something into an object of Flux's, as a person does, and waits until the operator has looked at it.
    pub async fn merge(&mut self, kind: FluxKind, name: &str, patch: &Value) -> anyhow::Result<()> {
        let looked = self.stage.reconciles()?;
        let api = self.stage.flux(kind, &self.namespace);
        let answer = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        if self.is_new(kind, name, &answer) {
            self.stage.reconciled(looked + 1).await?;
        }
        Ok(())
    }

    /// The operator's writes since the count began. Fences tell that all of them have been seen.
    pub async fn writes(&mut self) -> anyhow::Result<Writes> {
        self.fences += 1;
        let mut last = Vec::new();
        let annotation = json!({"metadata": {"annotations": {"example.org/fence": self.fences.to_string()}}});
        for resource in tape::kinds() {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.stage.admin.clone(), &self.namespace, &resource);
            let first = api.list_metadata(&ListParams::default()).await?.items.into_iter().next();
            let Some(first) = first else { continue };
            let looked = self.stage.reconciles()?;
            let params = PatchParams::default();
            let fenced = api.patch(&first.name_any(), &params, &Patch::Merge(&annotation)).await?;
            last.push(fenced.resource_version().context("a version")?);
            self.stage.reconciled(looked + 1).await?;
        }
        last.push(self.event_fence().await?);
        self.own.extend(last.iter().cloned());
        self.tape.as_mut().context("nothing is counted yet")?.writes(&self.own, &last).await
    }

    fn is_new(&mut self, kind: FluxKind, name: &str, answer: &DynamicObject) -> bool {
        let version = answer.resource_version().unwrap_or_default();
        self.own.insert(version.clone());
        self.versions.insert((kind, name.to_owned()), version.clone()) != Some(version)
    }

    /// The HelmChart that Flux makes for the release.
    async fn create_chart(&mut self, name: &str) -> anyhow::Result<()> {
        let looked = self.stage.reconciles()?;
        let chart = serde_json::from_value(json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmChart",
            "metadata": {"name": name},
            "spec": {
                "chart": "hello", "version": "1.0.0", "interval": "10m",
                "sourceRef": {"kind": "HelmRepository", "name": "app-source"},
            },
        }))?;
        let api = self.stage.flux(FluxKind::HelmChart, &self.namespace);
        let answer = api.create(&PostParams::default(), &chart).await?;
        self.is_new(FluxKind::HelmChart, name, &answer);
        self.stage.reconciled(looked + 1).await
    }

    /// An Event of our own, about an instance so that it is seen.
    async fn event_fence(&self) -> anyhow::Result<String> {
        let event: Event = serde_json::from_value(json!({
            "metadata": {"generateName": "fence-"},
            "eventTime": "2026-11-29T00:00:00.000000Z",
            "reportingController": "example.org/test", "reportingInstance": "test",
            "action": "Fence", "reason": "Fence", "type": "Normal",
            "regarding": {"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "name": "app", "namespace": self.namespace},
        }))?;
        let api: Api<Event> = self.stage.api(&self.namespace);
        api.create(&PostParams::default(), &event).await?.resource_version().context("a version")
    }
}
