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
    Wanted { source_type, chart: "hello", version, requested_at: None, is_for_values: false }
}

fn is_done(wanted: &Wanted<'_>, seen: &Seen<'_>) -> bool {
    matches!(read(wanted, seen, &Reported::default()).progress, Progress::Done { .. })
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
        assert!(matches!(
            read(&wanted(source_type, "1.0.0"), &seen, &Reported::default()).progress,
            Progress::Failed { .. }
        ));
        assert!(matches!(
            read(&wanted(source_type, "1.1.0"), &seen, &Reported::default()).progress,
            Progress::Starting { .. }
        ));
    }
}

#[test]
fn a_release_that_stalled_on_older_values_has_not_failed_the_new_ones() {
    let release = stalled("1.0.0");
    let seen = Seen { release: Some(&release), chart: None, source: None };
    let asked =
        Wanted { requested_at: Some("secret/v@2"), is_for_values: true, ..wanted(SourceType::Helm, "1.0.0") };
    assert!(matches!(read(&asked, &seen, &Reported::default()).progress, Progress::Starting { .. }));
}

#[test]
fn before_anything_is_there_it_is_starting() {
    let reading = read(&wanted(SourceType::Helm, "1.0.0"), &Seen::default(), &Reported::default());
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
    assert!(matches!(
        read(&wanted(SourceType::Helm, "1.0.0"), &seen, &Reported::default()).progress,
        Progress::Starting { .. }
    ));
}

/// A release that was reported as ready.
const READY: Reported<'_> = Reported { is_ready: true, is_stalled: false, running: None };

/// The status of a release that runs, with its conditions replaced.
fn with_conditions(version: &str, conditions: &[Value]) -> HelmRelease {
    let mut status = json!({
        "observedGeneration": 1,
        "lastAttemptedRevision": version,
        "history": [{"chartName": "hello", "chartVersion": version, "status": "deployed", "version": 1}],
    });
    status["conditions"] = json!(conditions);
    release(&status)
}

fn progress_of(release: &HelmRelease, chart: &Source, reported: &Reported<'_>) -> Progress {
    let seen = Seen { release: Some(release), chart: Some(chart), source: None };
    read(&wanted(SourceType::Helm, "1.0.0"), &seen, reported).progress
}

#[test]
fn reconciling_beside_ready_is_no_news_once_reported() {
    let looks = [
        condition("Reconciling", "True", "Progressing", 1),
        condition("Ready", "True", "InstallSucceeded", 1),
    ];
    let (release, chart) = (with_conditions("1.0.0", &looks), source(1, 1, "1.0.0"));
    assert_eq!(progress_of(&release, &chart, &READY), Progress::Resting);
    let first_install = progress_of(&release, &chart, &Reported::default());
    assert!(matches!(first_install, Progress::Starting { .. }), "fact 1: {first_install:?}");
}

#[test]
fn source_that_is_not_ready_does_not_touch_what_runs() {
    for reason in ["SourceNotReady", "ArtifactFailed"] {
        let release = with_conditions("1.0.0", &[condition("Ready", "False", reason, 1)]);
        assert_eq!(progress_of(&release, &source(1, 1, "1.0.0"), &READY), Progress::Resting);
    }
    let values = with_conditions("1.0.0", &[condition("Ready", "False", "ValuesError", 1)]);
    let waiting = progress_of(&values, &source(1, 1, "1.0.0"), &READY);
    assert!(matches!(waiting, Progress::Waiting { .. }), "{waiting:?}");
}

#[test]
fn helm_at_work_shows_unless_flux_found_new_content() {
    let upgrades =
        [condition("Reconciling", "True", "Progressing", 1), condition("Ready", "Unknown", "Progressing", 1)];
    let release = with_conditions("1.0.0", &upgrades);
    assert_eq!(progress_of(&release, &source(1, 1, "1.0.7"), &READY), Progress::Resting);
    let again = progress_of(&release, &source(1, 1, "1.0.0"), &READY);
    assert!(matches!(again, Progress::Starting { .. }), "uninstalled by hand: {again:?}");
}

#[test]
fn failing_upgrade_of_moved_content_names_the_older_release() {
    let fails = [
        condition("Reconciling", "True", "ProgressingWithRetry", 1),
        condition("Ready", "False", "UpgradeFailed", 1),
        condition("Released", "False", "UpgradeFailed", 1),
    ];
    let mut release = with_conditions("1.0.0+a", &fails);
    release.status.last_attempted_revision = Some("1.0.0+b".to_owned());
    let running = Some("release 1 of chart hello 1.0.0+a".to_owned());
    let expected = Progress::Retrying { message: "UpgradeFailed".to_owned(), failures: 0, running };
    assert_eq!(progress_of(&release, &source(1, 1, "1.0.0"), &READY), expected);
}

#[test]
fn release_whose_test_failed_is_not_an_older_one() {
    let fails =
        [condition("Ready", "False", "TestFailed", 1), condition("Released", "True", "InstallSucceeded", 1)];
    let mut release = with_conditions("1.0.0", &fails);
    release.status.last_attempted_config_digest = Some("sha256:c".to_owned());
    release.status.history[0].config_digest = Some("sha256:c".to_owned());
    let progress = progress_of(&release, &source(1, 1, "1.0.0"), &READY);
    assert_eq!(progress, Progress::Retrying { message: "TestFailed".to_owned(), failures: 0, running: None });
}

#[test]
fn request_of_somebody_else_is_one_more_look() {
    let release = deployed("1.0.0", None);
    let seen = Seen { release: Some(&release), chart: None, source: None };
    let asked = |is_for_values| Wanted {
        requested_at: Some("now"),
        is_for_values,
        ..wanted(SourceType::Helm, "1.0.0")
    };
    assert_eq!(read(&asked(false), &seen, &READY).progress, Progress::Resting);
    assert!(matches!(read(&asked(true), &seen, &READY).progress, Progress::Starting { .. }));
}

#[test]
fn new_generation_of_the_release_ends_the_rest() {
    let mut release = deployed("1.0.0", None);
    release.metadata.generation = Some(2);
    let progress = progress_of(&release, &source(1, 1, "1.0.0"), &READY);
    assert!(matches!(progress, Progress::Starting { .. }), "{progress:?}");
}

#[test]
fn other_content_than_reported_is_done_anew() {
    let release = deployed("1.0.0+b", Some("sha256:b"));
    let tagged = source(1, 1, "1.0.0@sha256:b");
    let seen = Seen { release: Some(&release), chart: None, source: Some(&tagged) };
    let of = |digest: &str| RunningRelease {
        chart: "hello".to_owned(),
        version: format!("1.0.0+{digest}"),
        digest: Some(format!("sha256:{digest}")),
        revision: 1,
        generation: 1,
        replaced: None,
    };
    let (former, present) = (of("a"), of("b"));
    let reading = |running| {
        let reported = Reported { is_ready: true, is_stalled: false, running: Some(running) };
        read(&wanted(SourceType::Oci, "1.0.0"), &seen, &reported)
    };
    assert_eq!(reading(&present).progress, Progress::Resting);
    let changed = reading(&former);
    assert!(matches!(&changed.progress, Progress::Done { message } if message.ends_with("digest sha256:b")));
    assert_eq!(changed.running.unwrap().digest.as_deref(), Some("sha256:b"));
}

/// A HelmChart that Flux has given up on, looked for in the index of this revision.
fn stalled_chart(chart: &str, version: &str, index: &str) -> Source {
    let given_up = |type_, status| condition(type_, status, "InvalidChartReference", 1);
    serde_json::from_value(json!({
        "metadata": {"generation": 1},
        "spec": {"chart": chart, "version": version},
        "status": {
            "observedGeneration": 1,
            "observedSourceArtifactRevision": index,
            "conditions": [given_up("Stalled", "True"), given_up("Ready", "False")],
        },
    }))
    .unwrap()
}

fn is_stalled(chart: &Source, repository: &Source) -> bool {
    let release = release(&json!({"observedGeneration": -1}));
    let seen = Seen { release: Some(&release), chart: Some(chart), source: Some(repository) };
    let progress = read(&wanted(SourceType::Helm, "1.0.0"), &seen, &Reported::default()).progress;
    matches!(progress, Progress::SourceStalled { .. })
}

#[test]
fn chart_that_stalled_on_an_earlier_wish_blocks_nothing() {
    let repository = source(1, 1, "index-1");
    assert!(is_stalled(&stalled_chart("hello", "1.0.0", "index-1"), &repository));
    assert!(!is_stalled(&stalled_chart("hello", "latest", "index-1"), &repository), "another version");
    assert!(!is_stalled(&stalled_chart("helo", "1.0.0", "index-1"), &repository), "another chart");
    let stalled = stalled_chart("hello", "1.0.0", "index-1");
    assert!(!is_stalled(&stalled, &source(2, 1, "index-1")), "another address, not fetched yet");
    assert!(!is_stalled(&stalled, &source(2, 2, "index-2")), "another index, not looked into yet");
}

#[test]
fn source_that_stalls_does_not_touch_what_runs() {
    let release = with_conditions("1.0.0", &[condition("Ready", "False", "SourceNotReady", 1)]);
    let (chart, repository) = (stalled_chart("hello", "1.0.0", "index-1"), source(1, 1, "index-1"));
    let seen = Seen { release: Some(&release), chart: Some(&chart), source: Some(&repository) };
    let reading = read(&wanted(SourceType::Helm, "1.0.0"), &seen, &READY);
    assert_eq!(reading.progress, Progress::Resting);
    assert!(matches!(reading.reach, Reach::Unreachable { reason, .. } if reason == "InvalidChartReference"));
}

#[test]
fn repository_that_fails_for_now_is_the_deeper_fault() {
    let mut repository = source(1, 1, "index-1");
    let failed = condition("Ready", "False", "Failed", 1);
    repository.status.conditions = vec![serde_json::from_value(failed).unwrap()];
    assert!(!is_stalled(&stalled_chart("hello", "1.0.0", "index-1"), &repository));
    let stalled = condition("Stalled", "True", "URLInvalid", 1);
    repository.status.conditions.push(serde_json::from_value(stalled).unwrap());
    assert!(is_stalled(&stalled_chart("hello", "1.0.0", "index-1"), &repository));
}

/// A source with a request, and what it handled last.
fn requested(mut source: Source, at: &str, handled: Option<&str>) -> Source {
    let annotations = [(vworkspace_crds::key::FLUX_REQUESTED_AT.to_owned(), at.to_owned())];
    source.metadata.annotations = Some(annotations.into());
    source.status.last_handled_reconcile_at = handled.map(str::to_owned);
    source
}

/// The version may have been published since the index was fetched.
#[test]
fn chart_has_stalled_only_once_its_repository_was_looked_at_for_the_job() {
    let stalled = stalled_chart("hello", "1.0.0", "index-1");
    let repository = |handled| requested(source(1, 1, "index-1"), "j2", handled);
    assert!(!is_stalled(&stalled, &repository(None)));
    assert!(!is_stalled(&stalled, &repository(Some("j1"))));
    assert!(is_stalled(&stalled, &repository(Some("j2"))));
}

fn is_answered(release: &HelmRelease, chart: &Source, repository: &Source, version: &str) -> bool {
    let seen = Seen { release: Some(release), chart: Some(chart), source: Some(repository) };
    let wanted = Wanted { requested_at: Some("j2"), ..wanted(SourceType::Helm, version) };
    read(&wanted, &seen, &READY).is_answered
}

#[test]
fn request_is_answered_once_source_chart_and_release_have_looked() {
    let release = |handled: &str| {
        let mut release = deployed("1.0.0", None);
        release.status.last_handled_reconcile_at = Some(handled.to_owned());
        release
    };
    let chart = |index: &str, version| {
        let mut chart = source(1, 1, version);
        chart.status.observed_source_artifact_revision = Some(index.to_owned());
        chart
    };
    let repository = |handled| requested(source(1, 1, "index-2"), "j2", Some(handled));
    let (looked, looked_at) = (chart("index-2", "1.0.0"), repository("j2"));
    assert!(is_answered(&release("j2"), &looked, &looked_at, "1.0.0"));
    assert!(!is_answered(&release("j1"), &looked, &looked_at, "1.0.0"), "the release has not");
    assert!(!is_answered(&release("j2"), &looked, &repository("j1"), "1.0.0"), "the repository has not");
    assert!(
        !is_answered(&release("j2"), &chart("index-1", "1.0.0"), &looked_at, "1.0.0"),
        "the chart has not"
    );
    let newer = chart("index-2", "1.1.0");
    assert!(!is_answered(&release("j2"), &newer, &looked_at, "1.x"), "the chart found is not what runs");
    let mut suspended = repository("j1");
    suspended.spec.suspend = true;
    assert!(is_answered(&release("j2"), &looked, &suspended, "1.0.0"), "nobody looks at a suspended source");
}

/// Flux has found the version in the index that was fetched for the job, and has not stored the chart yet.
#[test]
fn chart_that_is_found_at_another_look_has_not_stalled() {
    let mut chart = stalled_chart("hello", "1.0.0", "index-2");
    let looking = [
        condition("Reconciling", "True", "Progressing", 1),
        condition("Ready", "Unknown", "Progressing", 1),
        condition("FetchFailed", "True", "InvalidChartReference", 1),
    ];
    chart.status.conditions = looking.into_iter().map(|c| serde_json::from_value(c).unwrap()).collect();
    let repository = requested(source(1, 1, "index-2"), "j2", Some("j2"));
    assert!(!is_stalled(&chart, &repository));
    let new = release(&json!({"observedGeneration": -1}));
    let seen = Seen { release: Some(&new), chart: Some(&chart), source: Some(&repository) };
    let reported = Reported { is_stalled: true, ..Reported::default() };
    let progress = read(&wanted(SourceType::Helm, "1.0.0"), &seen, &reported).progress;
    assert!(matches!(progress, Progress::SourceStalled { .. }), "reported once, it stays: {progress:?}");
}
