//! `cargo xtask demo`: builds what the demo runs and hands over to it.

use crate::{
    step::{bin_dir, cargo, run as run_command, step},
    tools,
};
use std::process::Command;

/// Flags of the demo.
#[derive(clap::Args)]
pub struct Args {
    /// End after the tour instead of staying up; non-zero when anything failed.
    #[arg(long)]
    once: bool,
    /// Use this cluster instead of starting one.
    #[arg(long)]
    kubeconfig: Option<std::path::PathBuf>,
    /// After so many seconds of silence each side calls the other disconnected; the programs' own default is 60.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    disconnect_after: u64,
}

/// The programs the demo runs, as they would be shipped.
const PACKAGES: [&str; 4] =
    ["vworkspace-server", "vworkspace-operator", "vworkspace-vwctl", "vworkspace-testbed"];

/// Builds and runs.
pub fn run(args: &Args) -> anyhow::Result<()> {
    tools::check()?;
    step("build server, operator, vwctl and testbed (release)", || {
        let packages = PACKAGES.iter().flat_map(|p| ["-p", p]);
        run_command(&mut cargo(["build", "--release", "--bins"].into_iter().chain(packages)))
    })?;
    let mut demo = Command::new(bin_dir("release").join("vworkspace-demo"));
    demo.args(["--disconnect-after", &args.disconnect_after.to_string()]);
    if args.once {
        demo.arg("--once");
    }
    if let Some(kubeconfig) = &args.kubeconfig {
        demo.arg("--kubeconfig").arg(kubeconfig);
    }
    run_command(&mut demo)
}
