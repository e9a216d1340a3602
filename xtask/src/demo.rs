//! `cargo xtask demo`: builds what the demo runs and hands over to it.

use crate::{
    step::{bin_dir, cargo, hand_over, run as run_command, step},
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

/// The programs the demo runs, as they would be shipped, and itself: each with its package. A package's other programs
/// would take minutes more.
const PROGRAMS: [(&str, &str); 4] = [
    ("vworkspace-server", "vworkspace-server"),
    ("vworkspace-operator", "vworkspace-operator"),
    ("vworkspace-vwctl", "vwctl"),
    ("vworkspace-testbed", "vworkspace-demo"),
];

/// Builds and runs.
pub fn run(args: &Args) -> anyhow::Result<()> {
    tools::check()?;
    step("build server, operator, vwctl and demo (release)", || {
        let programs = PROGRAMS.iter().flat_map(|(package, program)| ["-p", package, "--bin", program]);
        run_command(&mut cargo(["build", "--release"].into_iter().chain(programs)))
    })?;
    let mut demo = Command::new(bin_dir("release").join("vworkspace-demo"));
    demo.args(["--disconnect-after", &args.disconnect_after.to_string()]);
    if args.once {
        demo.arg("--once");
    }
    if let Some(kubeconfig) = &args.kubeconfig {
        demo.arg("--kubeconfig").arg(kubeconfig);
    }
    hand_over(&mut demo)
}
