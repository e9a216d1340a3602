//! The cluster as a recording has shown it so far, and what our reconciler would have reported of it.

use super::super::{
    failing, running,
    situation::{Situation, conditions},
};
use crate::flux::{
    observed::{HelmRelease, Source},
    reading::{Reading, Reported, Seen, Wanted, read},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};
use vworkspace_crds::application_instance::{FailingRelease, RunningRelease, SourceType};
use vworkspace_protocol::condition::types;

const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// The cluster so far, for the release `app` and an ApplicationInstance that asks for just that.
#[derive(Default)]
pub struct Cluster {
    pub spec: Value,
    source_spec: Value,
    pub release: Option<HelmRelease>,
    pub chart: Option<Source>,
    pub source: Option<Source>,
    /// What an ApplicationInstance would have asked Flux for: after its values changed, and for a job.
    pub requested_at: Option<String>,
    /// The job that was applied last, its request.
    pub request: Option<String>,
    /// Generation of the instance: manifests are its wishes, calls of `kubectl` are somebody else's.
    pub generation: i64,
    /// Its status.
    pub conditions: Vec<Condition>,
    pub running: Option<RunningRelease>,
    pub handled_request: Option<String>,
    pub failing: Option<FailingRelease>,
}

impl Cluster {
    /// Takes up one line of the recording; `None` before anything was asked for and at its end.
    pub fn play(&mut self, line: &Value) -> Option<Reading> {
        match line["event"].as_str().unwrap_or_default() {
            "STEP" => self.step(line),
            "END" => return None,
            _ => self.event(line),
        }
        (!self.spec.is_null()).then(|| self.reconcile(at(line)))
    }

    fn step(&mut self, line: &Value) {
        let mut is_new_wish = false;
        for document in line["manifest"].as_str().unwrap_or_default().split("---\n") {
            let manifest: Value = serde_saphyr::from_str(document).unwrap_or_default();
            let spec = manifest["spec"].clone();
            match manifest["kind"].as_str().unwrap_or_default() {
                "HelmRelease" if manifest["metadata"]["name"] == "app" => {
                    is_new_wish |= self.spec != spec;
                    self.respecify(spec);
                }
                "HelmRepository" | "OCIRepository" => {
                    is_new_wish |= self.source_spec != spec;
                    bump(self.source.as_mut().map(|source| &mut source.metadata), self.source_spec != spec);
                    self.source_spec = spec;
                }
                _ => {}
            }
        }
        self.generation += i64::from(is_new_wish);
        self.call(line["kubectl"].as_str().unwrap_or_default());
        if is_new_wish {
            self.request = Some(format!("the job at {} ms", line["t_ms"]));
            self.failing = None;
        }
    }

    fn call(&mut self, command: &str) {
        if let Some((_, patch)) =
            command.split_once("patch hr app").and_then(|(_, rest)| rest.split_once("-p "))
        {
            let patch: Value = serde_json::from_str(patch).unwrap();
            let mut spec = self.spec.clone();
            for (key, value) in patch["spec"].as_object().unwrap() {
                spec[key] = value.clone();
            }
            self.respecify(spec);
        }
        if let Some((_, at)) = command.split_once(&format!("{REQUESTED_AT}=")) {
            self.requested_at = at.split(' ').next().map(str::to_owned);
            self.request.clone_from(&self.requested_at);
        }
    }

    /// The API server shows a changed spec at once, and the status that Flux wrote before.
    fn respecify(&mut self, spec: Value) {
        if let Some(release) = &mut self.release {
            bump(Some(&mut release.metadata), self.spec != spec);
            release.spec = serde_json::from_value(spec.clone()).unwrap();
        }
        self.spec = spec;
    }

    fn event(&mut self, line: &Value) {
        let mut metadata = json!({ "name": line["name"], "generation": line["generation"] });
        if line["deleting"] == true {
            metadata["deletionTimestamp"] = json!("2026-11-23T00:00:00Z");
        }
        let is_gone = line["event"] == "DELETED";
        let object = |spec: &Value| json!({ "metadata": metadata, "spec": spec, "status": line["status"] });
        let name = line["name"].as_str().unwrap();
        match line["kind"].as_str().unwrap() {
            "HelmRelease" if name == "app" => {
                let release = object(&self.spec);
                self.release = (!is_gone).then(|| serde_json::from_value(release).unwrap());
            }
            "HelmChart" if name.ends_with("-app") => {
                let chart = object(&self.chart_spec(&line["generation"]));
                self.chart = (!is_gone).then(|| serde_json::from_value(chart).unwrap());
            }
            "HelmRepository" | "OCIRepository" => {
                let source = object(&self.source_spec);
                self.source = (!is_gone).then(|| serde_json::from_value(source).unwrap());
            }
            _ => {}
        }
    }

    /// What a HelmChart of this generation asks for: Flux rewrites it some time after the HelmRelease.
    fn chart_spec(&self, generation: &Value) -> Value {
        let same = self.chart.as_ref().filter(|chart| json!(chart.metadata.generation) == *generation);
        match same {
            Some(chart) => json!({ "chart": chart.spec.chart, "version": chart.spec.version }),
            None => {
                let template = &self.spec["chart"]["spec"];
                json!({ "chart": template["chart"], "version": template["version"] })
            }
        }
    }

    /// Version, range or tag that is asked for.
    pub fn version(&self) -> &str {
        let reference = &self.source_spec["ref"];
        let of_source = || reference["tag"].as_str().or(reference["semver"].as_str());
        self.spec["chart"]["spec"]["version"].as_str().or_else(of_source).unwrap_or("1.0.0")
    }

    /// Whether the request that stands is about changed values.
    pub fn is_for_values(&self) -> bool {
        self.requested_at.is_some() && self.spec.get("valuesFrom").is_some()
    }

    fn reconcile(&mut self, now: Timestamp) -> Reading {
        let is_oci = self.spec.get("chartRef").is_some();
        let wanted = Wanted {
            source_type: if is_oci { SourceType::Oci } else { SourceType::Helm },
            chart: self.spec["chart"]["spec"]["chart"].as_str().unwrap_or("hello"),
            version: self.version(),
            requested_at: self.requested_at.as_deref(),
            is_for_values: self.is_for_values(),
        };
        let seen =
            Seen { release: self.release.as_ref(), chart: self.chart.as_ref(), source: self.source.as_ref() };
        let ready = self.conditions.iter().find(|condition| condition.type_ == types::READY);
        let is_ready =
            ready.is_some_and(|c| c.status == "True" && c.observed_generation == Some(self.generation));
        let running = self.running.as_ref().filter(|running| running.generation == self.generation);
        let blocked = self.conditions.iter().find(|condition| condition.type_ == types::BLOCKED);
        let is_stalled = blocked
            .is_some_and(|c| c.status == "True" && c.observed_generation == Some(self.generation))
            && self.handled_request == self.request;
        let reading = read(&wanted, &seen, &Reported { is_ready, is_stalled, running });
        if let Some(running) = &reading.running {
            self.running = Some(running::advance(self.running.as_ref(), running, self.generation, now));
        }
        let situation = Situation::Flux(reading.clone());
        self.conditions = conditions(&self.conditions, &situation, self.generation, now);
        if situation.is_answer() && self.handled_request != self.request {
            self.handled_request.clone_from(&self.request);
            self.failing = None;
        }
        self.failing = failing::advance(self.failing.take(), &situation, &self.conditions, now);
        reading
    }
}

/// When a line was recorded.
pub fn at(line: &Value) -> Timestamp {
    Timestamp::from_millisecond(line["t_ms"].as_i64().unwrap()).unwrap()
}

fn bump(metadata: Option<&mut kube::core::ObjectMeta>, is_changed: bool) {
    if let Some(generation) = metadata.and_then(|metadata| metadata.generation.as_mut()) {
        *generation += i64::from(is_changed);
    }
}
