//! Flux's definitions, generated from its published API modules.

use super::{
    build::{clean_environment, lock, run},
    pin::{Program, module_folder},
};
use anyhow::Context as _;
use std::{fs, path::Path, process::Command};

/// The packages with the kinds we need.
const PACKAGES: [&str; 2] =
    ["github.com/fluxcd/helm-controller/api/v2", "github.com/fluxcd/source-controller/api/v1"];

/// Writes them into the folder `target`, which appears complete or not at all.
pub(super) fn generate(generator: &Path, target: &Path) -> anyhow::Result<()> {
    let _held = lock(target)?;
    if target.exists() {
        return Ok(());
    }
    let module = module_folder(Program::ControllerGen.module());
    let unfinished = target.with_extension("unfinished");
    let mut generate = Command::new(generator);
    clean_environment(generate.current_dir(&module));
    generate
        .arg("crd")
        .args(PACKAGES.map(|package| format!("paths={package}")))
        .arg(format!("output:crd:dir={}", unfinished.display()));
    run(generate)?;
    fs::rename(&unfinished, target).with_context(|| format!("cannot write {}", target.display()))
}
