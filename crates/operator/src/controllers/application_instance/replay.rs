//! Every recording of the real Flux, line by line: what we would have told at each of its lines.
//!
//! A recording holds what was written (STEP) and what a watch saw. The spec that belongs to a line is that of the
//! steps so far; what the instance asks for is read off the same steps.

use super::situation::{Situation, conditions};
use crate::flux::{
    observed::{HelmRelease, Observed as _, Source},
    reading::{Progress, Reading, Seen, Wanted, read},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf};
use vworkspace_crds::application_instance::SourceType;
use vworkspace_protocol::condition::types;

const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// The cluster as a recording has shown it so far, for the release `app`.
#[derive(Default)]
struct Cluster {
    spec: Value,
    release: Option<HelmRelease>,
    chart: Option<Source>,
    source: Option<Source>,
    /// What an ApplicationInstance would have asked Flux for after its values changed.
    requested_at: Option<String>,
}

impl Cluster {
    fn step(&mut self, line: &Value) {
        for document in line["manifest"].as_str().unwrap_or_default().split("---\n") {
            let manifest: Value = serde_saphyr::from_str(document).unwrap_or_default();
            if manifest["kind"] == "HelmRelease" && manifest["metadata"]["name"] == "app" {
                self.spec = manifest["spec"].clone();
            }
        }
        let command = line["kubectl"].as_str().unwrap_or_default();
        if let Some((_, patch)) =
            command.split_once("patch hr app").and_then(|(_, rest)| rest.split_once("-p "))
        {
            let patch: Value = serde_json::from_str(patch).unwrap();
            for (key, value) in patch["spec"].as_object().unwrap() {
                self.spec[key] = value.clone();
            }
        }
        let values_come_from_elsewhere = self.spec.get("valuesFrom").is_some();
        if let Some((_, at)) =
            command.split_once(&format!("{REQUESTED_AT}=")).filter(|_| values_come_from_elsewhere)
        {
            self.requested_at = at.split(' ').next().map(str::to_owned);
        }
    }

    fn event(&mut self, line: &Value) {
        let mut metadata = json!({ "name": line["name"], "generation": line["generation"] });
        if line["deleting"] == true {
            metadata["deletionTimestamp"] = json!("2026-11-23T00:00:00Z");
        }
        let is_gone = line["event"] == "DELETED";
        let object = json!({ "metadata": metadata, "spec": self.spec, "status": line["status"] });
        let name = line["name"].as_str().unwrap();
        match line["kind"].as_str().unwrap() {
            "HelmRelease" if name == "app" => {
                self.release = (!is_gone).then(|| serde_json::from_value(object).unwrap());
            }
            "HelmChart" if name.ends_with("-app") => {
                let version = self.spec["chart"]["spec"]["version"].clone();
                let object = json!({ "metadata": object["metadata"], "spec": { "version": version }, "status": object["status"] });
                self.chart = (!is_gone).then(|| serde_json::from_value(object).unwrap());
            }
            "HelmRepository" | "OCIRepository" => {
                self.source = (!is_gone).then(|| serde_json::from_value(object).unwrap());
            }
            _ => {}
        }
    }

    fn reading(&self) -> Reading {
        let chart = &self.spec["chart"]["spec"];
        let is_oci = self.spec.get("chartRef").is_some();
        let wanted = Wanted {
            source_type: if is_oci { SourceType::Oci } else { SourceType::Helm },
            chart: chart["chart"].as_str().unwrap_or("hello"),
            version: chart["version"].as_str().unwrap_or("1.0.0"),
            requested_at: self.requested_at.as_deref(),
        };
        let seen =
            Seen { release: self.release.as_ref(), chart: self.chart.as_ref(), source: self.source.as_ref() };
        read(&wanted, &seen)
    }
}

/// One thing told, and when.
struct Told {
    at_ms: u64,
    words: String,
    reading: Reading,
}

/// All that would have been told, in order; a repetition is not told again.
fn replay(recording: &str) -> Vec<Told> {
    let mut cluster = Cluster::default();
    let (mut before, mut told) = (Vec::new(), Vec::<Told>::new());
    for line in recording.lines().filter(|line| !line.trim().is_empty()) {
        let line: Value = serde_json::from_str(line).unwrap();
        match line["event"].as_str().unwrap() {
            "STEP" => cluster.step(&line),
            "END" => break,
            _ => cluster.event(&line),
        }
        let is_written = !cluster.spec.is_null();
        if !is_written {
            continue;
        }
        let reading = cluster.reading();
        let situation = Situation::Flux(reading.clone());
        let after = conditions(&before, &situation, 1, Timestamp::UNIX_EPOCH);
        if after != before {
            let at_ms = line["t_ms"].as_u64().unwrap();
            told.push(Told { at_ms, words: words(&after), reading });
        }
        before = after;
    }
    told
}

fn words(conditions: &[Condition]) -> String {
    let word = |c: &Condition| {
        let message = if c.type_ == types::READY && !c.message.is_empty() {
            format!(" ({})", c.message)
        } else {
            String::new()
        };
        format!("{}={}/{}{message}", c.type_, c.status, c.reason)
    };
    conditions.iter().map(word).collect::<Vec<_>>().join("\n    ")
}

fn recordings() -> BTreeMap<String, String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/flux");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files
        .map(|path| {
            (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn last(told: &[Told]) -> &Progress {
    &told.last().unwrap().reading.progress
}

#[test]
fn all_recordings_are_told_as_written_down() {
    let recordings = recordings();
    assert_eq!(recordings.len(), 27);
    for (name, recording) in &recordings {
        let told = replay(recording);
        let story =
            told.iter().map(|told| format!("{:>6} ms\n    {}\n", told.at_ms, told.words)).collect::<String>();
        insta::assert_snapshot!(name.as_str(), story);
    }
}

/// Looks at the raw status, independently of the reading's own logic.
fn release_is_what_was_asked_for(cluster: &Cluster) -> bool {
    let Some(release) = &cluster.release else {
        return false;
    };
    let says = |type_: &str, status: &str| release.condition(type_).is_some_and(|c| c.status == status);
    let running = release
        .status
        .history
        .first()
        .map(|newest| newest.chart_version.split('+').next().unwrap_or_default());
    let asked = cluster.spec["chart"]["spec"]["version"].as_str().unwrap_or("1.0.0");
    says("Ready", "True")
        && !says("Reconciling", "True")
        && Some(release.status.observed_generation) == release.metadata.generation
        && running == Some(asked)
        && !release.spec.suspend
        && (cluster.requested_at.is_none()
            || cluster.requested_at == release.status.last_handled_reconcile_at)
}

#[test]
fn never_done_too_early_and_never_failed_before_flux_gave_up() {
    for (name, recording) in recordings() {
        let mut cluster = Cluster::default();
        for line in recording.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            match line["event"].as_str().unwrap() {
                "STEP" => cluster.step(&line),
                "END" => break,
                _ => cluster.event(&line),
            }
            let at = format!("{name} at {} ms", line["t_ms"]);
            match cluster.reading().progress {
                Progress::Done { .. } => {
                    assert!(release_is_what_was_asked_for(&cluster), "{at}: done too early");
                }
                Progress::Failed { .. } => {
                    let release = cluster.release.as_ref().unwrap();
                    let is_stalled = release.condition("Stalled").is_some_and(|c| c.status == "True");
                    assert!(is_stalled && release.is_settled(), "{at}: failed too early");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_end_of_every_recording_has_its_right_reason() {
    let source = |reason: &str| format!("SourceFailing {reason}");
    let ends = BTreeMap::from([
        ("chart-missing", source("InvalidChartReference")),
        ("depends-on", "Done".into()),
        ("drift-enabled", "Done".into()),
        ("drift-warn", "Done drifted".into()),
        ("helm-install", "Done".into()),
        ("helm-upgrade-values", "Done".into()),
        ("helm-upgrade-version", "Done".into()),
        ("install-timeout", "Failed".into()),
        ("install-timeout-retry", "Failed".into()),
        ("object-refused", "Failed".into()),
        ("oci-install", "Done".into()),
        ("oci-registry-unreachable", source("OCIArtifactPullFailed")),
        ("oci-tag-missing", source("OCIArtifactPullFailed")),
        ("repository-unreachable", source("Failed")),
        ("service-account-denied", "Waiting StateError".into()),
        ("suspend-resume", "Done".into()),
        ("template-error", "Retrying".into()),
        ("template-error-mended", "Done".into()),
        ("uninstall", "Starting".into()),
        ("uninstall-never-installed", "Starting".into()),
        ("upgrade-chart-missing", source("InvalidChartReference")),
        ("upgrade-ready-too-early", "Failed, runs 1.0.0".into()),
        ("upgrade-timeout", "Failed, runs 1.0.0".into()),
        ("upgrade-timeout-rollback", "Failed, runs 1.0.0".into()),
        ("values-from-changed", "Done".into()),
        ("values-secret-missing", "Done".into()),
        ("version-missing", source("InvalidChartReference")),
    ]);
    for (name, recording) in recordings() {
        let told = replay(&recording);
        let drifted = told.last().unwrap().reading.drift.as_ref().is_some_and(|drift| drift.found);
        let end = match last(&told) {
            Progress::Starting { .. } => "Starting".to_owned(),
            Progress::SourceFailing { reason, .. } => format!("SourceFailing {reason}"),
            Progress::Waiting { reason, .. } => format!("Waiting {reason}"),
            Progress::Retrying { .. } => "Retrying".to_owned(),
            Progress::Failed { running: Some(running), .. } => {
                format!("Failed, runs {}", running.rsplit(' ').next().unwrap())
            }
            Progress::Failed { running: None, .. } => "Failed".to_owned(),
            Progress::Suspended => "Suspended".to_owned(),
            Progress::Done { .. } if drifted => "Done drifted".to_owned(),
            Progress::Done { .. } => "Done".to_owned(),
        };
        assert_eq!(ends.get(name.as_str()), Some(&end), "{name}");
    }
}

#[test]
fn a_missing_chart_is_named_by_its_source_long_before_the_release_does() {
    let recordings = recordings();
    for (name, named_by_release_at) in [("chart-missing", 29_747), ("upgrade-chart-missing", 39_888)] {
        let told = replay(&recordings[name]);
        let named =
            told.iter().find(|told| matches!(told.reading.progress, Progress::SourceFailing { .. })).unwrap();
        assert!(named.at_ms + 25_000 < named_by_release_at, "{name}: {} ms", named.at_ms);
    }
}

#[test]
fn retries_of_flux_do_not_make_a_stream_of_transitions() {
    let recordings = recordings();
    for name in ["template-error", "repository-unreachable", "oci-tag-missing", "oci-registry-unreachable"] {
        let told = replay(&recordings[name]);
        assert!(told.len() <= 8, "{name}: {} transitions", told.len());
    }
}

#[test]
fn a_suspended_release_is_never_told_as_done() {
    let told = replay(&recordings()["suspend-resume"]);
    let suspended: Vec<_> = told.iter().filter(|told| (11_113..18_457).contains(&told.at_ms)).collect();
    assert!(!suspended.is_empty());
    assert!(suspended.iter().all(|told| told.reading.progress == Progress::Suspended));
}

#[test]
fn changed_values_are_done_only_once_flux_has_read_them() {
    let told = replay(&recordings()["values-from-changed"]);
    let done: Vec<_> =
        told.iter().filter(|told| matches!(told.reading.progress, Progress::Done { .. })).collect();
    assert_eq!(done.len(), 2);
    assert!(done[1].at_ms >= 20_433, "{} ms", done[1].at_ms);
}
