//! The three recordings of an application at rest.

use super::{play::Play, stage::test, tape::Writes};
use crate::world::{condition, words_of};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use vworkspace_operator::report::Observation;

#[test]
fn flux_intervals_cause_no_write_and_no_event() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = Play::start(stage, "interval-reconcile").await?;
        play.until_ready().await?;
        play.rest().await?;
        let writes = play.writes().await?;
        ensure!(writes == Writes::default(), "{writes:?}");
        Ok(())
    })
}

/// The line as a later try of Flux leaves it: other words, the same fault.
fn retried(line: &Value, retry: u32) -> Value {
    let mut line = line.clone();
    let conditions = line["status"]["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten() {
        let message = condition["message"].as_str().unwrap_or_default();
        condition["message"] = json!(format!("{message}, dial tcp 127.0.0.1:{}", 40_000 + retry));
    }
    line
}

#[test]
fn failing_repository_is_one_write_each_way() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = Play::start(stage, "index-changes-and-fails").await?;
        play.until_ready().await?;
        let fails = |line: &Value| line["status"]["conditions"].to_string().contains("FetchFailed");
        let failed = loop {
            let line = play.next().await?.context("the repository never failed")?;
            if fails(&line) {
                break line;
            }
            let writes = play.writes().await?;
            ensure!(writes == Writes::default(), "before the repository fails: {writes:?}");
        };
        for retry in 0..5 {
            play.play(&retried(&failed, retry)).await?;
        }
        play.until("app", |instance| {
            words_of(instance).contains(&"SourceReachable=False/SourceFailed".to_owned())
        })
        .await?;
        let writes = play.writes().await?;
        ensure!(writes.instances.len() == 1 && writes.flux.is_empty(), "it fails: {writes:?}");
        ensure!(writes.events == ["SourceFailed"], "{writes:?}");
        ensure!(super::is_ready(&play.instances().get("app").await?));
        play.rest().await?;
        play.until("app", |instance| {
            words_of(instance).contains(&"SourceReachable=True/SourceReady".to_owned())
        })
        .await?;
        let writes = play.writes().await?;
        ensure!(writes.instances.len() == 2 && writes.flux.is_empty(), "it is back: {writes:?}");
        ensure!(writes.events == ["SourceFailed", "SourceReady"], "{writes:?}");
        Ok(())
    })
}

#[test]
fn moved_tag_is_one_change_and_the_new_digest() -> anyhow::Result<()> {
    test(async |stage| {
        let mut play = Play::start(stage, "oci-tag-moved").await?;
        play.until_ready().await?;
        play.rest().await?;
        let writes = play.writes().await?;
        ensure!(writes.instances.len() == 1 && writes.flux.is_empty(), "{writes:?}");
        ensure!(writes.events == ["ApplicationChanged"], "{writes:?}");
        let instance = play.instances().get("app").await?;
        ensure!(super::is_ready(&instance));
        ensure!(condition(&instance, "Ready")?.message.contains("sha256:0a145566a2bb"));
        let running = instance.status.and_then(|status| status.running_release).context("no release")?;
        ensure!(running.digest.is_some_and(|digest| digest.starts_with("sha256:0a145566a2bb")));
        let seen = play.stage.observations(&play.namespace);
        let changes = seen.iter().filter(|seen| matches!(seen, Observation::Changed { .. }));
        ensure!(changes.count() == 1, "reported to the control plane");
        Ok(())
    })
}
