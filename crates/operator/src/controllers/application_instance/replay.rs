//! Every recording of the real Flux, line by line: what we would have told at each of its lines.
//!
//! A recording holds what was written (STEP) and what a watch saw. The spec that belongs to a line is that of the
//! steps so far; what the instance asks for is read off the same steps.

use crate::flux::{
    observed::Observed as _,
    reading::{Progress, Reading},
};
use cluster::Cluster;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::PathBuf};
use vworkspace_protocol::condition::types;

mod cluster;
mod jobs;

/// One thing reported, and when.
struct Told {
    at_ms: u64,
    words: String,
    reading: Reading,
    /// The content of the application changed with no change of the spec.
    is_change: bool,
}

fn lines(recording: &str) -> impl Iterator<Item = Value> {
    recording.lines().filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str(line).unwrap())
}

/// All that would have been reported, in order. What would not be written is not reported.
fn replay(recording: &str) -> Vec<Told> {
    let (mut cluster, mut told) = (Cluster::default(), Vec::<Told>::new());
    for line in lines(recording) {
        let (before, running) = (cluster.conditions.clone(), cluster.running.clone());
        let Some(reading) = cluster.play(&line) else { continue };
        let replaced = |running: &Option<_>| super::running::change(running.as_ref());
        let is_change = replaced(&cluster.running).is_some_and(|now| replaced(&running) != Some(now));
        if cluster.conditions != before || cluster.running != running {
            let at_ms = line["t_ms"].as_u64().unwrap();
            told.push(Told { at_ms, words: words(&cluster.conditions), reading, is_change });
        }
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
    assert_eq!(recordings.len(), 53);
    for (name, recording) in &recordings {
        let told = replay(recording);
        let change = |told: &Told| if told.is_change { "\n    event ApplicationChanged" } else { "" };
        let story =
            told.iter().map(|told| format!("{:>6} ms\n    {}{}\n", told.at_ms, told.words, change(told)));
        let story = story.collect::<String>();
        insta::assert_snapshot!(name.as_str(), story);
    }
}

/// Looks at the raw status, independently of the reading's own logic.
fn runs_what_was_asked_for(cluster: &Cluster) -> bool {
    let Some(release) = &cluster.release else {
        return false;
    };
    let newest = release.status.history.first();
    let running = newest.map(|newest| newest.chart_version.split('+').next().unwrap_or_default());
    let is_exact = semver::Version::parse(cluster.version()).is_ok();
    let found = cluster.chart.as_ref().or(cluster.source.as_ref());
    let found =
        found.and_then(|found| Some(found.status.artifact.as_ref()?.revision.split('@').next()?.to_owned()));
    let asked = if is_exact { Some(cluster.version().to_owned()) } else { found };
    says(cluster, "Ready", "True")
        && !says(cluster, "Reconciling", "True")
        && Some(release.status.observed_generation) == release.metadata.generation
        && running == asked.as_deref()
        && !release.spec.suspend
        && (!cluster.is_for_values() || cluster.requested_at == release.status.last_handled_reconcile_at)
}

fn says(cluster: &Cluster, type_: &str, status: &str) -> bool {
    let release = cluster.release.as_ref();
    release.and_then(|release| release.condition(type_)).is_some_and(|c| c.status == status)
}

#[test]
fn never_done_too_early_and_never_failed_before_flux_gave_up() {
    for (name, recording) in recordings() {
        let mut cluster = Cluster::default();
        let mut done_for = None;
        for line in lines(&recording) {
            let Some(reading) = cluster.play(&line) else { continue };
            let at = format!("{name} at {} ms", line["t_ms"]);
            match reading.progress {
                Progress::Done { .. } => {
                    assert!(runs_what_was_asked_for(&cluster), "{at}: done too early");
                    done_for = Some(cluster.generation);
                }
                Progress::Resting => {
                    let release = cluster.release.as_ref().unwrap();
                    assert_eq!(done_for, Some(cluster.generation), "{at}: at rest without having been done");
                    assert!(release.is_settled() && !release.spec.suspend, "{at}");
                    assert_eq!(release.status.history[0].status, "deployed", "{at}");
                    assert!(
                        !says(&cluster, "Stalled", "True") && !says(&cluster, "Released", "False"),
                        "{at}"
                    );
                }
                Progress::Failed { .. } => {
                    let is_settled = cluster.release.as_ref().is_some_and(|release| release.is_settled());
                    assert!(says(&cluster, "Stalled", "True") && is_settled, "{at}: failed too early");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_end_of_every_recording_has_its_right_reason() {
    let source = |reason: &str| format!("SourceFailing {reason}");
    let stalled = |reason: &str| format!("SourceStalled {reason}");
    let ends = BTreeMap::from([
        ("chart-missing", stalled("InvalidChartReference")),
        ("depends-on", "Done".into()),
        ("drift-enabled", "Done".into()),
        ("drift-object-deleted", "Done drifted".into()),
        ("drift-warn", "Done drifted".into()),
        ("foreign-values", "Done".into()),
        ("helm-install", "Done".into()),
        ("helm-range", "Done".into()),
        ("helm-upgrade-values", "Done".into()),
        ("helm-upgrade-version", "Done".into()),
        ("helm-version-impossible", "Done".into()),
        ("index-changes-and-fails", "Done".into()),
        ("install-timeout", "Failed".into()),
        ("install-timeout-retry", "Failed".into()),
        ("interval-reconcile", "Done".into()),
        ("kube-version", "Retrying".into()),
        ("object-refused", "Failed".into()),
        ("oci-install", "Done".into()),
        ("oci-registry-unreachable", source("OCIArtifactPullFailed")),
        ("oci-semver", "Done".into()),
        ("oci-tag-missing", source("OCIArtifactPullFailed")),
        ("oci-tag-moved", "Done".into()),
        ("oci-url-with-tag", stalled("URLInvalid")),
        ("quota-then-retry", "Done".into()),
        ("record-too-large", "Retrying".into()),
        ("removed-by-hand", "Done".into()),
        ("repository-unreachable", source("SourceFailed")),
        ("requested-unchanged", "Done".into()),
        ("required-missing", "Retrying".into()),
        ("service-account-cluster-scoped", "Retrying".into()),
        ("service-account-denied", "Waiting StateError".into()),
        ("service-account-missing", "Done".into()),
        ("service-account-other-namespace", "Retrying".into()),
        ("service-account-works", "Done".into()),
        ("suspend-resume", "Done".into()),
        ("template-error", "Retrying".into()),
        ("template-error-mended", "Done".into()),
        ("uninstall", "Starting".into()),
        ("uninstall-never-installed", "Starting".into()),
        ("unknown-kind", "Retrying".into()),
        ("upgrade-chart-missing", stalled("InvalidChartReference")),
        ("upgrade-fails-before-storage", "Done".into()),
        ("upgrade-ready-too-early", "Failed, runs 1.0.0".into()),
        ("upgrade-timeout", "Failed, runs 1.0.0".into()),
        ("upgrade-timeout-rollback", "Failed, runs 1.0.0".into()),
        ("values-dialect", "Done".into()),
        ("values-from-changed", "Done".into()),
        ("values-schema", "Done".into()),
        ("values-secret-missing", "Done".into()),
        ("values-target-path", "Waiting ValuesError".into()),
        ("values-target-path-set", "Done".into()),
        ("values-two-documents", "Done".into()),
        ("version-missing", stalled("InvalidChartReference")),
    ]);
    for (name, recording) in recordings() {
        let told = replay(&recording);
        let drifted = told.last().unwrap().reading.drift.as_ref().is_some_and(|drift| drift.found);
        let end = words_of(last(&told), drifted);
        assert_eq!(ends.get(name.as_str()), Some(&end), "{name}");
    }
}

fn words_of(progress: &Progress, drifted: bool) -> String {
    match progress {
        Progress::Starting { .. } => "Starting".to_owned(),
        Progress::SourceFailing { reason, .. } => format!("SourceFailing {reason}"),
        Progress::SourceStalled { reason, .. } => format!("SourceStalled {reason}"),
        Progress::Waiting { reason, .. } => format!("Waiting {reason}"),
        Progress::Retrying { running: Some(running), .. } => {
            format!("Retrying, runs {}", running.rsplit(' ').next().unwrap())
        }
        Progress::Retrying { running: None, .. } => "Retrying".to_owned(),
        Progress::Failed { running: Some(running), .. } => {
            format!("Failed, runs {}", running.rsplit(' ').next().unwrap())
        }
        Progress::Failed { running: None, .. } => "Failed".to_owned(),
        Progress::Suspended => "Suspended".to_owned(),
        Progress::Done { .. } | Progress::Resting if drifted => "Done drifted".to_owned(),
        Progress::Done { .. } | Progress::Resting => "Done".to_owned(),
    }
}

#[test]
fn a_missing_chart_is_named_by_its_source_long_before_the_release_does() {
    let recordings = recordings();
    for (name, named_by_release_at) in [("chart-missing", 29_747), ("upgrade-chart-missing", 39_888)] {
        let told = replay(&recordings[name]);
        let named =
            told.iter().find(|told| matches!(told.reading.progress, Progress::SourceStalled { .. })).unwrap();
        assert!(named.at_ms + 25_000 < named_by_release_at, "{name}: {} ms", named.at_ms);
    }
}

/// The steps between which a source has given up on what is asked for, by the recordings: from, to, its reason.
const STALLED: [(&str, u64, u64, &str); 6] = [
    ("chart-missing", 1_301, u64::MAX, "InvalidChartReference"),
    ("helm-version-impossible", 967, 12_104, "InvalidChartReference"),
    ("oci-url-with-tag", 931, u64::MAX, "URLInvalid"),
    ("uninstall-never-installed", 1_734, 8_820, "InvalidChartReference"),
    ("upgrade-chart-missing", 10_676, u64::MAX, "InvalidChartReference"),
    ("version-missing", 1_518, u64::MAX, "InvalidChartReference"),
];

#[test]
fn stalled_source_blocks_at_once_and_only_what_is_asked_for() {
    for (name, recording) in recordings() {
        let mut cluster = Cluster::default();
        for line in lines(&recording) {
            let Some(reading) = cluster.play(&line) else { continue };
            let at = line["t_ms"].as_u64().unwrap();
            let stalls = STALLED.iter().find(|(of, from, to, _)| *of == name && (*from..*to).contains(&at));
            let found = match &reading.progress {
                Progress::SourceStalled { reason, message } => {
                    assert!(!message.is_empty());
                    Some(reason.as_str())
                }
                _ => None,
            };
            assert_eq!(
                found,
                stalls.map(|(.., reason)| *reason),
                "{name} at {at} ms: {:?}",
                reading.progress
            );
        }
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

/// What was reported once the application had been ready for the first time.
fn after_first_ready(told: &[Told]) -> &[Told] {
    let first = told.iter().position(|told| matches!(told.reading.progress, Progress::Done { .. })).unwrap();
    &told[first + 1..]
}

#[test]
fn healthy_application_reports_nothing_at_flux_intervals() {
    let told = replay(&recordings()["interval-reconcile"]);
    assert_eq!(after_first_ready(&told).len(), 0);
}

#[test]
fn repository_that_fails_is_reported_once_each_way() {
    let told = replay(&recordings()["index-changes-and-fails"]);
    let reach: Vec<_> = after_first_ready(&told)
        .iter()
        .map(|told| told.words.split("\n    ").last().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(reach, ["SourceReachable=False/SourceFailed", "SourceReachable=True/SourceReady"]);
}

#[test]
fn moved_tag_is_one_change_with_the_new_digest() {
    let told = replay(&recordings()["oci-tag-moved"]);
    let [moved] = after_first_ready(&told) else { unreachable!("more than one report") };
    assert!(moved.is_change && moved.words.starts_with("Ready=True/HelmReleaseReady"));
    assert!(moved.words.contains("digest sha256:0a145566a2bb"), "{}", moved.words);
}
