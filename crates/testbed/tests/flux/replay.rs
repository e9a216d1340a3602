//! Plays the steps of a recording again, each when what it follows has settled.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use vworkspace_testbed::Testbed;

use crate::record::Recorder;
use crate::recording::{Recording, Step};
use crate::settled::standing;

/// Nothing may happen for so long before a step is played.
const QUIET: Duration = Duration::from_secs(2);
/// After the last step, what settled must last until so long after it.
const WATCH_ON: Duration = Duration::from_secs(12);
/// When nothing settles for so long, the next step is played all the same, and the comparison will say what is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ports of loopback where nobody listens: they are reserved for services that no machine runs any more.
const CLOSED: [&str; 2] = ["127.0.0.1:1", "127.0.0.1:9"];

/// Plays a scenario in a namespace of its own and records what is seen.
pub async fn play(testbed: &Testbed, name: &str, recorded: &Recording) -> anyhow::Result<Recording> {
    let namespace = format!("flux-{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    testbed.kubectl(&["create", "namespace", &namespace]).await?;
    let recorder = Recorder::start(&testbed.admin(), &namespace).await?;
    let mut stages = recorded.stages().peekable();
    for step in recorded.steps() {
        recorder.step(step);
        perform(testbed, &namespace, step).await.with_context(|| step.action.clone())?;
        let stage = stages.next().context("a stage for each step")?;
        let last = stages.peek().is_none();
        settle(&recorder, &stage, if last { WATCH_ON } else { QUIET }).await;
    }
    let observed = recorder.end();
    testbed.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).await?;
    Ok(observed)
}

async fn perform(testbed: &Testbed, namespace: &str, step: &Step) -> anyhow::Result<()> {
    if let Some(manifest) = &step.manifest {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), with_our_addresses(testbed, manifest))?;
        let path = file.path().to_str().context("a path in UTF-8")?;
        testbed.kubectl(&["apply", "--namespace", namespace, "--filename", path]).await?;
    }
    if let Some(call) = &step.kubectl {
        let arguments = arguments(call, namespace);
        testbed.kubectl(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    }
    Ok(())
}

fn with_our_addresses(testbed: &Testbed, manifest: &str) -> String {
    manifest
        .replace("http://127.0.0.1:18080", testbed.charts_url().trim_end_matches('/'))
        .replace("127.0.0.1:15000", testbed.registry())
        .replace("127.0.0.1:18099", CLOSED[0])
        .replace("127.0.0.1:15099", CLOSED[1])
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

/// Waits until things stand as they did in the recording, and have done so undisturbed, or patience ends.
async fn settle(recorder: &Recorder, stage: &Recording, at_least: Duration) {
    let expected = standing(stage);
    let start = Instant::now();
    let mut touched = recorder.touched();
    loop {
        let quiet_at = *touched.borrow_and_update() + QUIET;
        let calm_at = quiet_at.max(start + at_least);
        let stands = standing(&recorder.recording()) == expected;
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
