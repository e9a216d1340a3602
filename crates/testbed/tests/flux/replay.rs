//! Plays the steps of a recording again, each when what it follows has settled.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use vworkspace_testbed::Testbed;

use crate::outside::Outside;
use crate::record::Recorder;
use crate::recording::{Recording, Step};
use crate::rest;
use crate::settled::standing;
use crate::values::Answers;

/// Nothing may happen for so long before a step is played.
const QUIET: Duration = Duration::from_secs(2);
/// After the last step, what settled must last until so long after it.
const WATCH_ON: Duration = Duration::from_secs(12);
/// When nothing settles for so long, the next step is played all the same, and the comparison will say what is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ports of loopback where nobody listens: they are reserved for services that no machine runs any more.
const CLOSED: [&str; 2] = ["127.0.0.1:1", "127.0.0.1:9"];

/// Recorded intervals of less than a minute are shortened to this.
const SHORT: &str = "interval: 5s";
/// So many of the recorded looks at a release at rest are waited for.
const LOOKS: usize = 2;

/// Plays a scenario in a namespace of its own and records what is seen.
pub async fn play(testbed: &Testbed, name: &str, recorded: &Recording) -> anyhow::Result<Recording> {
    let namespace = format!("flux-{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    testbed.kubectl(&["create", "namespace", &namespace]).await?;
    let outside = Outside::start(testbed, &namespace, recorded).await?;
    let recorder = Recorder::start(&testbed.admin(), &namespace).await?;
    let mut answers = Answers::of(name);
    let mut stages = recorded.stages().peekable();
    for step in recorded.steps() {
        recorder.step(step);
        let done = if step.asks_for_values() {
            answers.compare(testbed, &namespace).await
        } else {
            perform(testbed, &namespace, outside.as_ref(), step).await
        };
        done.with_context(|| step.action.clone())?;
        let stage = stages.next().context("a stage for each step")?;
        let last = stages.peek().is_none();
        settle(&recorder, &stage, if last { WATCH_ON } else { QUIET }).await;
    }
    let observed = recorder.end();
    testbed.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).await?;
    Ok(observed)
}

async fn perform(
    testbed: &Testbed,
    namespace: &str,
    outside: Option<&Outside<'_>>,
    step: &Step,
) -> anyhow::Result<()> {
    if let Some(manifest) = &step.manifest {
        let file = tempfile::NamedTempFile::new()?;
        let manifest = outside.map_or_else(|| manifest.clone(), |outside| outside.with_our_sources(manifest));
        std::fs::write(file.path(), with_our_addresses(testbed, &manifest))?;
        let path = file.path().to_str().context("a path in UTF-8")?;
        testbed.kubectl(&["apply", "--namespace", namespace, "--filename", path]).await?;
    }
    if let Some(call) = &step.kubectl {
        let arguments = arguments(call, namespace);
        testbed.kubectl(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    }
    if step.manifest.is_none() && step.kubectl.is_none() {
        outside.context("nothing outside the cluster")?.perform(step).await?;
    }
    Ok(())
}

fn with_our_addresses(testbed: &Testbed, manifest: &str) -> String {
    manifest
        .replace("http://127.0.0.1:18080", testbed.charts_url().trim_end_matches('/'))
        .replace("127.0.0.1:15000", testbed.registry())
        .replace("127.0.0.1:18099", CLOSED[0])
        .replace("127.0.0.1:15099", CLOSED[1])
        .replace("interval: 30s", SHORT)
        .replace("interval: 20s", SHORT)
}

/// The arguments of a recorded call, in our namespace. Two of them may hold blanks, each at the end of its call.
fn arguments(call: &str, namespace: &str) -> Vec<String> {
    let open_ended =
        [" -p ", " --from-literal="].into_iter().find_map(|mark| call.find(mark).map(|at| (at, mark)));
    let (words, rest) = match open_ended {
        Some((at, mark)) => (&call[..at], vec![mark.trim().to_owned(), call[at + mark.len()..].to_owned()]),
        None => (call, Vec::new()),
    };
    let rest =
        if rest.first().is_some_and(|option| option.ends_with('=')) { vec![rest.concat()] } else { rest };
    let mut arguments: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    if let Some(at) = arguments.iter().position(|word| word == "-n") {
        arguments[at + 1] = namespace.to_owned();
    }
    arguments.into_iter().chain(rest).collect()
}

/// What must have come before things can stand as in the recording: the effect of a step outside the cluster, at the
/// source's interval, and looks at what is at rest.
fn has_come(observed: &Recording, stage: &Recording) -> bool {
    observed.has_effect() >= stage.has_effect() && rest::looks(observed) >= rest::looks(stage).min(LOOKS)
}

/// Waits until things stand as they did in the recording, and have done so undisturbed, or patience ends.
async fn settle(recorder: &Recorder, stage: &Recording, at_least: Duration) {
    let expected = standing(stage);
    let start = Instant::now();
    let mut touched = recorder.touched();
    loop {
        let quiet_at = *touched.borrow_and_update() + QUIET;
        let calm_at = quiet_at.max(start + at_least);
        let observed = recorder.recording();
        let stands = standing(&observed) == expected && has_come(&observed, stage);
        let now = Instant::now();
        if (stands && now >= calm_at) || now >= start + PATIENCE {
            return;
        }
        let wake = if stands { calm_at } else { start + PATIENCE };
        tokio::select! {
            () = tokio::time::sleep_until(wake.into()) => {}
            _ = touched.changed() => {}
        }
    }
}
