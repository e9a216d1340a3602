//! `cargo xtask test`: everything that must hold, on one real cluster that all tests share.

use crate::{
    layers, simulate, sizes,
    step::{bin_dir, cargo, root, run as run_command, step},
    tools, torture,
};
use anyhow::Context as _;
use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// Flags of the test run.
#[derive(clap::Args)]
pub struct Args {
    /// Use this cluster instead of starting one.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Skip what needs a cluster.
    #[arg(long)]
    no_cluster: bool,
    /// Also run the full matrices, of which the usual run takes one path of each kind. This takes much longer.
    #[arg(long)]
    full: bool,
}

/// Runs all steps; the first that fails ends the run.
pub fn run(args: &Args) -> anyhow::Result<()> {
    tools::check()?;
    step("format", || run_command(&mut cargo(["fmt", "--all", "--check"])))?;
    step("layers", layers::run)?;
    step("sizes", sizes::run)?;
    step("lints", || {
        run_command(&mut cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    step("documentation", || {
        run_command(
            cargo(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"])
                // Written for who works on this code, so private items are in it and may be pointed to.
                .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"),
        )
    })?;
    step("build programs", || run_command(&mut cargo(["build", "--workspace", "--bins"])))?;
    simulate::test()?;
    if args.no_cluster {
        return step("tests without a cluster", without_cluster);
    }
    let cluster = step("real cluster", || Cluster::start(args))?;
    let full: &[&str] = if args.full { &["--", "--include-ignored"] } else { &[] };
    step("tests", || {
        run_command(
            cargo(["test", "--workspace"].into_iter().chain(full.iter().copied()))
                .envs(cluster.environment.iter().cloned())
                .env("INSTA_UPDATE", "no"),
        )
    })?;
    // On a cluster of its own: its one operator is killed all the time.
    drop(cluster);
    step("torture", || run_command(&mut torture::built()))
}

/// Packages with tests that need a cluster, or a program that comes with one: of these only the programs' and libraries'
/// own ones run, and those named.
const OF_CLUSTER: [&str; 3] = ["vworkspace-operator", "vworkspace-testbed", "vworkspace-values"];
/// Tests of [`OF_CLUSTER`] that need none.
const NO_CLUSTER: [&str; 2] = ["contract_table", "hostile"];

/// All tests but those of a cluster.
fn without_cluster() -> anyhow::Result<()> {
    let excluded = OF_CLUSTER.iter().flat_map(|package| ["--exclude", package]);
    run_command(cargo(["test", "--workspace"].into_iter().chain(excluded)).env("INSTA_UPDATE", "no"))?;
    let packages = OF_CLUSTER.iter().flat_map(|package| ["-p", package]);
    let tests = NO_CLUSTER.iter().flat_map(|test| ["--test", test]);
    let own = ["test", "--lib", "--bins"].into_iter().chain(packages).chain(tests);
    run_command(cargo(own).env("INSTA_UPDATE", "no"))
}

/// The cluster of this run; it dies with this value, and by itself when we are killed.
struct Cluster {
    process: Child,
    environment: Vec<(&'static str, String)>,
}

/// What the testbed says once its cluster is ready, and the variable that hands it to the tests.
const HANDED_OVER: [(&str, &str); 4] = [
    ("kubeconfig", "VWORKSPACE_TEST_KUBECONFIG"),
    ("operator-kubeconfig", "VWORKSPACE_TEST_OPERATOR_KUBECONFIG"),
    ("charts", "VWORKSPACE_TEST_CHARTS_URL"),
    ("registry", "VWORKSPACE_TEST_REGISTRY"),
];

impl Cluster {
    /// Builds the real programs where needed, starts them, and reads how to reach them.
    fn start(args: &Args) -> anyhow::Result<Self> {
        let mut command = Command::new(bin_dir("debug").join("vworkspace-testbed"));
        command.args(["up", "--json"]).current_dir(root()).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(kubeconfig) = &args.kubeconfig {
            command.arg("--kubeconfig").arg(kubeconfig);
        }
        let process = command.spawn().context("cannot start vworkspace-testbed")?;
        let mut cluster = Self { process, environment: Vec::new() };
        let stdout = cluster.process.stdout.take().context("the testbed has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let said: serde_json::Value =
            serde_json::from_str(&line).context("the testbed ended before its cluster was ready")?;
        for (field, variable) in HANDED_OVER {
            let value = said[field].as_str().with_context(|| format!("the testbed did not say `{field}`"))?;
            cluster.environment.push((variable, value.to_owned()));
        }
        Ok(cluster)
    }
}

impl Drop for Cluster {
    /// Asks first, so that the testbed takes its children down in order, and waits for it.
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            eprintln!("the testbed could not be asked to end; killing it: {:?}", self.process.kill());
        }
        if let Err(error) = self.process.wait() {
            eprintln!("the testbed could not be waited for: {error}");
        }
    }
}
