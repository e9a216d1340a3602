//! One build with Go. Blocking: it takes minutes the first time.

use super::pin::{Pin, Program};
use crate::process::death;
use anyhow::{Context as _, bail, ensure};
use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Command, Stdio},
};

/// Builds `program` into `target`, unless another run did so while we waited for its lock. The file appears complete
/// or not at all.
pub(super) fn program(program: Program, pin: &Pin, target: &Path) -> anyhow::Result<()> {
    let _held = lock(target)?;
    if target.exists() {
        return Ok(());
    }
    let unfinished = target.with_extension("unfinished");
    // Hundreds of megabytes, and Go leaves them behind when it is interrupted: here the next build finds them.
    let scratch = target.with_file_name("scratch");
    remove(&scratch)?;
    fs::create_dir(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let mut go = go(&pin.folder);
    go.env("GOTMPDIR", &scratch);
    go.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(program.linker_flags(&pin.version))
        .arg("-o")
        .arg(&unfinished)
        .arg(program.package());
    run(go)?;
    remove(&scratch)?;
    fs::rename(&unfinished, target).with_context(|| format!("cannot write {}", target.display()))
}

/// Removes a folder that may be there.
fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Go in the folder of a `go.mod`, free of the settings a user may have for other work.
fn go(folder: &Path) -> Command {
    let mut go = Command::new("go");
    clean_environment(go.current_dir(folder));
    go
}

/// What Go, and tools that call it, must not inherit.
pub(super) fn clean_environment(command: &mut Command) {
    command
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    death::follows_ours(command);
}

/// Runs it to its end.
pub(super) fn run(mut command: Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).output() {
        Ok(said) => {
            ensure!(
                said.status.success(),
                "{name} failed ({}):\n{}",
                said.status,
                String::from_utf8_lossy(&said.stderr)
            );
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && name == "go" => bail!(
            "Go is not installed: install Go 1.26 or newer (https://go.dev/dl), the testbed builds the real Kubernetes with it"
        ),
        Err(error) => Err(error).with_context(|| format!("cannot run {name}")),
    }
}

/// Held while something is made in the folder of `target`, so that two runs do not make it twice.
pub(super) fn lock(target: &Path) -> anyhow::Result<File> {
    let folder = target.parent().context("a built file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
