//! The demo: the product's main job on real components, told step by step.

mod application;
mod failures;
mod play;
mod pull_the_plug;
mod tour;

pub use application::{Application, Source, condition, follow, seen_at_control_plane};

use crate::{
    Testbed,
    stack::{self, Flags, Stack},
    stop::until_told_to_stop,
};
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use play::play;
use std::{fs, path::PathBuf, time::Duration};
use tour::{Tour, detail, say};
use vworkspace_protocol::{Condition, ConditionStatus, Outcome, admin::Job, condition::types::READY};

/// Namespace of the sample applications.
const NAMESPACE: &str = "demo";
/// Ten times the longest wait for a batch of conditions.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// No shorter one: two polls must fit into it.
const SHORTEST_WINDOW: Duration = Duration::from_secs(2);

/// How the demo runs.
pub struct Options {
    /// End after the tour instead of staying up.
    pub once: bool,
    /// Use this cluster instead of starting one.
    pub kubeconfig: Option<PathBuf>,
    /// After so much silence each side calls the other disconnected. The programs' own default is 60 s.
    pub disconnect_after: Duration,
}

/// What runs once the tour is over; ends in the order of the fields.
struct Product {
    _stack: Stack,
    _testbed: Testbed,
}

/// Runs the tour; stays up until Ctrl-C or SIGTERM unless told otherwise. Whatever it started has ended when this
/// returns.
///
/// # Errors
/// Anything that did not go as promised: the demo is also a check. Told to stop during the tour.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let ended = play(until_told_to_stop()?, take_tour(options)).await;
    say("everything that the demo started is stopped, and its folder is removed");
    ended
}

/// The tour, and what stays up after it.
async fn take_tour(options: &Options) -> anyhow::Result<Option<Product>> {
    let mut tour = Tour::new();
    let programs = stack::programs()?;
    let testbed =
        tour.step("a real Kubernetes cluster", Testbed::start(options.kubeconfig.as_deref())).await?;
    for (program, version) in testbed.versions() {
        detail(&format!("{program} {version}"));
    }
    // In the folder of the testbed, which is removed even after we are killed: by the next start.
    let work = testbed.work_dir().join("demo");
    fs::create_dir(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let window = options.disconnect_after.max(SHORTEST_WINDOW);
    let flags = with_window(window);
    let stack = tour
        .step(
            "control plane over TLS, organization, cluster, operator",
            Stack::start_with(&testbed, &programs, &work, &flags),
        )
        .await?;
    tour.step("operator registers and connects", stack.connected()).await?;
    tour.step("the cluster's admin opens a namespace", testbed.open_namespace(NAMESPACE)).await?;

    tour.step("an application from a chart repository", succeed(&stack, sample(&testbed, "web"))).await?;
    tour.step("an application from an OCI registry", succeed(&stack, sample_oci(&testbed, "api"))).await?;
    tour.step("both are Ready as seen at the control plane", both_ready(&stack)).await?;
    tour.step("kubectl agrees", kubectl_agrees(&testbed)).await?;
    tour.step("two applications that cannot work say why", failures::run(&testbed, &stack, NAMESPACE))
        .await?;
    tour.step("weight of the operator at idle", weigh(&stack)).await?;
    let plug = pull_the_plug::run(&testbed, &stack, NAMESPACE, window);
    tour.step("pull the plug: the cluster carries on", plug).await?;
    say(&format!("the tour took {:.0} s", tour.seconds()));

    if options.once {
        return Ok(None);
    }
    introduce(&testbed, &stack)?;
    Ok(Some(Product { _stack: stack, _testbed: testbed }))
}

/// Both sides with that disconnect window.
fn with_window(window: Duration) -> Flags {
    let flag = format!("--disconnect-after={}s", window.as_secs());
    Flags { server: vec![flag.clone()], operator: vec![flag] }
}

fn sample<'a>(testbed: &'a Testbed, name: &'a str) -> Application<'a> {
    let source = Source::Helm(testbed.charts_url());
    Application {
        name,
        source,
        chart: "hello",
        version: "1.0.0",
        timeout: "1m",
        deadline: Duration::from_secs(120),
    }
}

fn sample_oci<'a>(testbed: &'a Testbed, name: &'a str) -> Application<'a> {
    Application { source: Source::Oci(testbed.registry()), ..sample(testbed, name) }
}

async fn succeed(stack: &Stack, application: Application<'_>) -> anyhow::Result<Job> {
    let job = application.deploy(stack, NAMESPACE).await?;
    ensure!(job.outcome == Some(Outcome::Succeeded), "{}: {:?} {}", application.name, job.outcome, job.error);
    Ok(job)
}

/// A job's end travels on its own lane, ahead of the next batch of conditions: so this waits a little.
async fn both_ready(stack: &Stack) -> anyhow::Result<()> {
    for name in ["web", "api"] {
        let ready = tokio::time::timeout(READY_WITHIN, ready(stack, name)).await;
        let (ready, as_of) = ready.with_context(|| format!("{name} is not Ready at the control plane"))??;
        detail(&format!("{name}: {ready} (as of {as_of})"));
    }
    Ok(())
}

async fn ready(stack: &Stack, name: &str) -> anyhow::Result<(Condition, Timestamp)> {
    loop {
        let resource = seen_at_control_plane(stack, NAMESPACE, name).await?;
        let ready = resource.as_ref().and_then(|resource| condition(resource, READY));
        if let (Some(resource), Some(ready)) = (&resource, ready)
            && ready.status == ConditionStatus::True
        {
            return Ok((ready.clone(), resource.as_of));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn kubectl_agrees(testbed: &Testbed) -> anyhow::Result<()> {
    for arguments in
        [&["get", "applicationinstances,helmreleases", "-A"][..], &["get", "pods", "-n", NAMESPACE]]
    {
        let printed = testbed.kubectl(arguments).await?;
        printed.lines().for_each(detail);
        ensure!(!printed.trim().is_empty(), "kubectl {} printed nothing", arguments.join(" "));
    }
    Ok(())
}

async fn weigh(stack: &Stack) -> anyhow::Result<()> {
    let settle = Duration::from_secs(5);
    tokio::time::sleep(settle).await;
    let memory = stack.operator.memory()?;
    detail(&format!(
        "operator: {:.1} MiB resident: {:.1} its own, {:.1} of files",
        memory.resident_mib, memory.anonymous_mib, memory.file_mib
    ));
    Ok(())
}

/// How a person goes on from here.
fn introduce(testbed: &Testbed, stack: &Stack) -> anyhow::Result<()> {
    say("");
    say(&format!("control plane: {}", stack.server.url));
    say(&format!("look around:   {} app list --cluster {}", stack.vwctl.line(), stack.cluster_name));
    say(&format!(
        "               {} --kubeconfig {} get applicationinstances,helmreleases -A",
        testbed.kubectl_path().display(),
        testbed.kubeconfig().display()
    ));
    say(&format!("charts:        {}", testbed.charts_url()));
    say(&format!("OCI registry:  oci://{}/charts (plain HTTP)", testbed.registry()));
    say(&format!("pull the plug: kill -9 {}", stack.server.id()));
    say(&format!("put it back:   {}", stack.server.line()?));
    say("               step by step: docs/walkthroughs/pull-the-plug.md");
    say("Ctrl-C ends everything.");
    Ok(())
}
