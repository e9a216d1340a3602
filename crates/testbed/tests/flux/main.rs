//! Whoever honours Flux's API in the testbed is measured against recordings of the real Flux.
//!
//! Each recording's steps are played again, the objects are watched meanwhile, and both are compared in their normal
//! form. Nothing here knows who answers: with `VWORKSPACE_FLUX_BIN` or a given cluster it is the real Flux.
//!
//! `VWORKSPACE_FLUX_SCENARIO=NAME` plays only that one.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt as _;
use recording::Recording;

mod outside;
mod record;
mod recording;
mod replay;
mod rest;
mod settled;
mod values;

/// The recordings that must be matched. The others come with what they need: remediation, drift detection, dependsOn
/// and service accounts. (`upgrade-ready-too-early` is a race of the real controllers: no measure of anything.)
const SCENARIOS: [&str; 38] = [
    "requested-unchanged",
    "quota-then-retry",
    "required-missing",
    "values-schema",
    "kube-version",
    "unknown-kind",
    "record-too-large",
    "upgrade-fails-before-storage",
    "oci-semver",
    "values-dialect",
    "values-two-documents",
    "values-target-path",
    "values-target-path-set",
    "index-changes-and-fails",
    "oci-tag-moved",
    "interval-reconcile",
    "removed-by-hand",
    "helm-range",
    "helm-version-impossible",
    "install-timeout",
    "upgrade-timeout",
    "suspend-resume",
    "repository-unreachable",
    "oci-registry-unreachable",
    "oci-tag-missing",
    "template-error",
    "values-from-changed",
    "values-secret-missing",
    "helm-upgrade-version",
    "helm-upgrade-values",
    "upgrade-chart-missing",
    "uninstall",
    "uninstall-never-installed",
    "helm-install",
    "oci-install",
    "chart-missing",
    "version-missing",
    "object-refused",
];
/// Of these every state counts that is seen once the release is installed, passing ones included.
const AT_REST: [&str; 3] = ["interval-reconcile", "index-changes-and-fails", "oci-tag-moved"];
/// Scenarios played at one time. More of them slow the cluster until passing states last long enough to count.
const AT_ONCE: usize = 7;

#[tokio::test]
async fn matches_the_recordings_of_the_real_flux() -> anyhow::Result<()> {
    vworkspace_testbed::install_globals("info");
    let testbed = vworkspace_testbed::shared().await?;
    let only = std::env::var("VWORKSPACE_FLUX_SCENARIO").ok();
    let wanted = SCENARIOS.iter().filter(|name| only.as_ref().is_none_or(|only| only == *name));
    let play = |name: &'static str| async move {
        let recorded = recorded(name)?;
        let start = Instant::now();
        let observed =
            replay::play(testbed, name, &recorded).await.with_context(|| format!("play {name}"))?;
        eprintln!("{name}: played in {:.0} s", start.elapsed().as_secs_f64());
        anyhow::Ok(difference(name, &recorded, &observed))
    };
    let outcomes: Vec<_> =
        futures::stream::iter(wanted).map(|name| play(name)).buffer_unordered(AT_ONCE).collect().await;
    let differences: Vec<String> =
        outcomes.into_iter().filter_map(|outcome| outcome.transpose()).collect::<Result<_, _>>()?;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// Our rule of the normal form says of every recording what the original (`settled.py`) said of it.
#[test]
fn the_normal_form_is_that_of_the_original() -> anyhow::Result<()> {
    let folder = fixtures().join("recorded");
    let mut compared = 0;
    for file in std::fs::read_dir(&folder)? {
        let file = file?.path();
        let name = file.file_stem().and_then(|stem| stem.to_str()).context("a file name")?.to_owned();
        let expected = std::fs::read_to_string(fixtures().join("settled").join(format!("{name}.txt")))?;
        assert_eq!(settled::NormalForm::of(&recorded(&name)?).print(&format!("{name}.jsonl")), expected);
        compared += 1;
    }
    assert_eq!(compared, 46);
    Ok(())
}

fn difference(name: &str, recorded: &Recording, observed: &Recording) -> Option<String> {
    let (expected, seen) = (settled::NormalForm::of(recorded), settled::NormalForm::of(observed));
    let (expected_states, seen_states) = (rest::states(recorded), rest::states(observed));
    let is_same_at_rest = !AT_REST.contains(&name) || expected_states == seen_states;
    if expected == seen && is_same_at_rest {
        return None;
    }
    let states = if is_same_at_rest {
        String::new()
    } else {
        format!("--- recorded at rest {expected_states:#?}\n--- observed at rest {seen_states:#?}\n")
    };
    Some(format!(
        "{}{}{states}--- events\n{}",
        expected.print(&format!("recorded {name}")),
        seen.print(&format!("observed {name}")),
        observed.print()
    ))
}

fn recorded(name: &str) -> anyhow::Result<Recording> {
    let path = fixtures().join("recorded").join(format!("{name}.jsonl"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Recording::parse(&text)
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/flux")
}
