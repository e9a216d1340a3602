//! The temporary folder of one run, and the removal of those that dead runs left.
//!
//! A run holds a lock on a file in its folder; the kernel gives it back however the run ends, so a folder whose lock
//! is free belongs to nobody. The file also says which process made it.

use anyhow::Context as _;
use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const PREFIX: &str = "vworkspace-testbed-";
const PID_FILE: &str = "pid";
/// A folder without a pid file is being made, unless it is older than this.
const BEING_MADE: Duration = Duration::from_secs(60);
/// Keys and tokens are in it: nobody else may look.
const OURS_ALONE: u32 = 0o700;
/// A program killed a moment ago may still finish a file, and the folder is not empty then: so often it is removed again.
const REMOVALS: u32 = 20;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(50);

/// A folder that goes away with this value.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    _lock: File,
}

impl WorkDir {
    /// Makes one under the system's folder for temporary files, readable only by us, and removes what dead runs left.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make() -> anyhow::Result<Self> {
        Self::make_in(&std::env::temp_dir())
    }

    fn make_in(parent: &Path) -> anyhow::Result<Self> {
        sweep(parent);
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(OURS_ALONE))
            .tempdir_in(parent)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?
            .keep();
        let pid_file = path.join(PID_FILE);
        let lock = locked(&pid_file).with_context(|| format!("cannot lock {}", pid_file.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn locked(pid_file: &Path) -> std::io::Result<File> {
    let mut file = File::create(pid_file)?;
    file.lock()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            remove(&entry.path());
        }
    }
}

fn is_abandoned(folder: &Path) -> bool {
    match File::open(folder.join(PID_FILE)) {
        Ok(file) => match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        },
        Err(_) => {
            let made = fs::metadata(folder).and_then(|meta| meta.modified()).ok();
            made.and_then(|made| made.elapsed().ok()).is_some_and(|age| age > BEING_MADE)
        }
    }
}

fn remove(folder: &Path) {
    for removal in 1..=REMOVALS {
        match fs::remove_dir_all(folder) {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && removal < REMOVALS => {
                thread::sleep(PAUSE);
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "cannot remove {}", folder.display());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_ours_alone_and_goes_with_its_value() {
        let parent = tempfile::tempdir().unwrap();
        let made = WorkDir::make_in(parent.path()).unwrap();
        let path = made.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, OURS_ALONE);
        fs::write(path.join("tls.key"), "secret").unwrap();

        drop(made);
        assert!(!path.exists());
    }

    #[test]
    fn a_start_removes_the_folder_of_a_killed_run_with_all_that_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let killed = parent.path().join(format!("{PREFIX}killed"));
        fs::create_dir_all(killed.join("demo/data")).unwrap();
        drop(locked(&killed.join(PID_FILE)).unwrap());
        let alive = WorkDir::make_in(parent.path()).unwrap();
        assert!(!killed.exists());

        drop(WorkDir::make_in(parent.path()).unwrap());
        assert!(alive.path().exists());
    }

    #[test]
    fn only_the_folder_of_a_dead_run_is_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let (alive, dead, new) =
            (parent.path().join("alive"), parent.path().join("dead"), parent.path().join("new"));
        for folder in [&alive, &dead, &new] {
            fs::create_dir(folder).unwrap();
        }
        let _held = locked(&alive.join(PID_FILE)).unwrap();
        drop(locked(&dead.join(PID_FILE)).unwrap());

        assert!(!is_abandoned(&alive));
        assert!(is_abandoned(&dead));
        assert!(!is_abandoned(&new));
    }
}
