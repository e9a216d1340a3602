//! What the recordings do not show: ranges, tags that move, requests, races between two controllers.

use super::*;
use serde_json::{Value, json};

fn condition(type_: &str, status: &str, reason: &str, generation: i64) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": reason, "observedGeneration": generation})
}

fn release(status: &Value) -> HelmRelease {
    serde_json::from_value(json!({"metadata": {"name": "app", "generation": 1}, "status": status})).unwrap()
}

fn source(generation: i64, observed: i64, revision: &str) -> Source {
    serde_json::from_value(json!({
        "metadata": {"generation": generation},
        "spec": {"version": "1.x"},
        "status": {"observedGeneration": observed, "artifact": {"revision": revision}},
    }))
    .unwrap()
}

fn deployed(version: &str, digest: Option<&str>) -> HelmRelease {
    release(&json!({
        "observedGeneration": 1,
        "conditions": [condition("Ready", "True", "InstallSucceeded", 1)],
        "lastAttemptedRevision": version,
        "lastAttemptedRevisionDigest": digest,
        "history": [{"chartName": "hello", "chartVersion": version, "status": "deployed", "version": 1, "ociDigest": digest}],
    }))
}

fn stalled(version: &str) -> HelmRelease {
    release(&json!({
        "observedGeneration": 1,
        "conditions": [
            condition("Stalled", "True", "RetriesExceeded", 1),
            condition("Ready", "False", "UpgradeFailed", 1),
            condition("Released", "False", "UpgradeFailed", 1),
        ],
        "lastAttemptedRevision": version,
        "history": [{"chartName": "hello", "chartVersion": version, "status": "failed", "version": 1}],
    }))
}

fn wanted(source_type: SourceType, version: &str) -> Wanted<'_> {
    Wanted { source_type, chart: "hello", version, requested_at: None }
}

fn is_done(wanted: &Wanted<'_>, seen: &Seen<'_>) -> bool {
    matches!(read(wanted, seen).progress, Progress::Done { .. })
}

#[test]
fn a_range_is_done_by_what_flux_found_for_exactly_that_range() {
    let release = deployed("1.1.0", None);
    let (found, newer, stale) = (source(2, 2, "1.1.0"), source(2, 2, "1.2.0"), source(2, 1, "1.1.0"));
    let seen = |chart| Seen { release: Some(&release), chart: Some(chart), source: None };
    let range = wanted(SourceType::Helm, "1.x");
    assert!(is_done(&range, &seen(&found)));
    assert!(!is_done(&range, &seen(&newer)));
    assert!(!is_done(&range, &seen(&stale)));
    assert!(
        !is_done(&wanted(SourceType::Helm, ">=1"), &seen(&found)),
        "the chart still asks for the older range"
    );
}

#[test]
fn a_tag_is_done_by_the_digest_behind_it() {
    let release = deployed("1.0.0+abc", Some("sha256:abc"));
    let (same, moved, other) = (
        source(1, 1, "1.0.0@sha256:abc"),
        source(1, 1, "1.0.0@sha256:def"),
        source(1, 1, "latest@sha256:abc"),
    );
    let seen = |source| Seen { release: Some(&release), chart: None, source: Some(source) };
    assert!(is_done(&wanted(SourceType::Oci, "1.0.0"), &seen(&same)));
    assert!(
        !is_done(&wanted(SourceType::Oci, "1.0.0"), &seen(&moved)),
        "the tag has moved, the release has not"
    );
    assert!(is_done(&wanted(SourceType::Oci, "latest"), &seen(&other)), "a tag need not be a version");
    assert!(!is_done(&wanted(SourceType::Oci, "1.1.0"), &seen(&same)), "the release keeps its generation");
}

#[test]
fn a_source_that_has_not_looked_at_its_spec_holds_back_done() {
    let release = deployed("1.0.0", None);
    let stale = source(2, 1, "sha256:index");
    let seen = Seen { release: Some(&release), chart: None, source: Some(&stale) };
    assert!(!is_done(&wanted(SourceType::Helm, "1.0.0"), &seen));
}

#[test]
fn another_chart_of_the_same_version_is_not_the_one_asked_for() {
    let release = deployed("1.0.0", None);
    let seen = Seen { release: Some(&release), chart: None, source: None };
    let other = Wanted { chart: "other", ..wanted(SourceType::Helm, "1.0.0") };
    assert!(!is_done(&other, &seen));
}

#[test]
fn a_release_that_stalled_on_an_older_chart_has_not_failed_the_new_one() {
    let release = stalled("1.0.0");
    let seen = Seen { release: Some(&release), chart: None, source: None };
    for source_type in [SourceType::Helm, SourceType::Oci] {
        assert!(matches!(read(&wanted(source_type, "1.0.0"), &seen).progress, Progress::Failed { .. }));
        assert!(matches!(read(&wanted(source_type, "1.1.0"), &seen).progress, Progress::Starting { .. }));
    }
}

#[test]
fn a_release_that_stalled_on_older_values_has_not_failed_the_new_ones() {
    let release = stalled("1.0.0");
    let seen = Seen { release: Some(&release), chart: None, source: None };
    let asked = Wanted { requested_at: Some("secret/v@2"), ..wanted(SourceType::Helm, "1.0.0") };
    assert!(matches!(read(&asked, &seen).progress, Progress::Starting { .. }));
}

#[test]
fn before_anything_is_there_it_is_starting() {
    let reading = read(&wanted(SourceType::Helm, "1.0.0"), &Seen::default());
    assert!(matches!(reading.progress, Progress::Starting { .. }));
}

#[test]
fn a_chart_that_only_waits_for_its_repository_is_not_the_fault() {
    let chart: Source = serde_json::from_value(json!({
        "metadata": {"generation": 1},
        "status": {"conditions": [condition("Ready", "False", "NoSourceArtifact", 1)], "observedGeneration": -1},
    }))
    .unwrap();
    let seen = Seen { release: None, chart: Some(&chart), source: None };
    assert!(matches!(read(&wanted(SourceType::Helm, "1.0.0"), &seen).progress, Progress::Starting { .. }));
}
