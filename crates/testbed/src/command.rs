//! The command `vworkspace-testbed`.

use crate::{
    Testbed,
    cluster::client_config,
    flux,
    programs::{Program, Programs},
    stop::until_told_to_stop,
    work_dir::WorkDir,
};
use anyhow::Context as _;
use serde_json::json;
use std::{
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Between two looks whether everything still runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A real Kubernetes on loopback for tests and the demo.
#[derive(Debug, clap::Parser)]
#[command(name = "vworkspace-testbed", version)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start everything, say how to reach it, and stay until Ctrl-C or SIGTERM.
    Up {
        /// Use this cluster, as its admin: nothing of Kubernetes or Flux is started.
        #[arg(long, env = "VWORKSPACE_TEST_KUBECONFIG")]
        kubeconfig: Option<PathBuf>,
        /// Say it as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the Flux stand-in alone, against a cluster that has Flux's definitions, until Ctrl-C.
    Flux {
        /// The cluster, as an admin.
        #[arg(long)]
        kubeconfig: PathBuf,
    },
    /// Only build the programs.
    Build,
    /// Remove all programs ever built; Go's own caches stay.
    Clean,
}

impl Arguments {
    /// Does it.
    ///
    /// # Errors
    /// As [`Testbed::start`].
    pub async fn run(self) -> anyhow::Result<()> {
        match self.action {
            Action::Up { kubeconfig, json } => up(kubeconfig, json).await,
            Action::Flux { kubeconfig } => flux(kubeconfig).await,
            Action::Build => {
                let programs = Programs::locate()?;
                programs.build(&Program::ALL).await?;
                programs.flux_crds().await?;
                say(&lines(&programs.versions(&Program::ALL).await?))
            }
            Action::Clean => say(&format!("removed {}\n", Programs::locate()?.clean()?.display())),
        }
    }
}

async fn flux(kubeconfig: PathBuf) -> anyhow::Result<()> {
    let programs = Programs::locate()?;
    programs.build(&[Program::Helm]).await?;
    let work_dir = WorkDir::make()?;
    let client = kube::Client::try_from(client_config(&kubeconfig).await?)?;
    let config = flux::Config {
        client,
        helm: programs.path(Program::Helm),
        kubeconfig,
        work_dir: work_dir.path().to_owned(),
    };
    let stop = until_told_to_stop()?;
    tokio::select! { () = stop => Ok(()), ended = flux::run(config) => ended }
}

async fn up(kubeconfig: Option<PathBuf>, as_json: bool) -> anyhow::Result<()> {
    let stop = until_told_to_stop()?;
    let stay = async {
        let start = Instant::now();
        let mut testbed = Testbed::start(kubeconfig.as_deref()).await?;
        eprintln!("ready in {:.1} s", start.elapsed().as_secs_f64());
        say(&if as_json { as_line(&testbed)? } else { as_text(&testbed) })?;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            testbed.still_runs()?;
        }
    };
    tokio::select! { () = stop => Ok(()), ended = stay => ended }
}

fn as_text(testbed: &Testbed) -> String {
    format!(
        "kubeconfig: {}\noperator-kubeconfig: {}\ncharts: {}\nregistry: {}\n{}",
        testbed.kubeconfig().display(),
        testbed.operator_kubeconfig().display(),
        testbed.charts_url(),
        testbed.registry(),
        lines(testbed.versions())
    )
}

fn as_line(testbed: &Testbed) -> anyhow::Result<String> {
    let versions: serde_json::Map<_, _> = testbed
        .versions()
        .iter()
        .map(|(name, version)| ((*name).to_owned(), version.clone().into()))
        .collect();
    let said = json!({
        "kubeconfig": testbed.kubeconfig(),
        "operator-kubeconfig": testbed.operator_kubeconfig(),
        "charts": testbed.charts_url(),
        "registry": testbed.registry(),
        "versions": versions,
    });
    Ok(format!("{}\n", serde_json::to_string(&said)?))
}

fn lines(versions: &[(&str, String)]) -> String {
    versions.iter().map(|(name, version)| format!("version: {name}: {version}\n")).collect()
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to stdout")
}
