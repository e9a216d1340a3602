//! The cache outside the clone: `$XDG_CACHE_HOME/vworkspace/testbed/<pins and flags>/`.

use super::pin::{Pin, Program, module_folder};
use anyhow::Context as _;
use aws_lc_rs::digest::{Context, SHA256};
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

/// Digits of the hash in a folder's name.
const HASH_DIGITS: usize = 16;

/// Folders by module: their names change with the pins and the flags, so an old build is never taken for a new one.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
    folders: BTreeMap<&'static str, PathBuf>,
}

impl Cache {
    /// Finds it by the environment and the pins.
    pub fn locate() -> anyhow::Result<Self> {
        let base = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| env::home_dir().map(|home| home.join(".cache")))
            .context("no home folder to keep built programs in: set HOME or XDG_CACHE_HOME")?;
        let root = base.join("vworkspace/testbed");
        let mut folders = BTreeMap::new();
        for module in Program::ALL.map(Program::module) {
            folders.insert(module, root.join(format!("{module}-{}", hash(module)?)));
        }
        Ok(Self { root, folders })
    }

    /// The folder of one module's programs.
    pub fn folder(&self, module: &str) -> PathBuf {
        self.folders.get(module).cloned().unwrap_or_else(|| self.root.join(module))
    }

    /// Everything is below this.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes all of it.
    pub fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.with_context(|| format!("cannot remove {}", self.root.display())),
        }
    }
}

fn hash(module: &str) -> anyhow::Result<String> {
    let mut hash = Context::new(&SHA256);
    for file in ["go.mod", "go.sum"] {
        let path = module_folder(module).join(file);
        hash.update(&fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    for program in Program::ALL.into_iter().filter(|program| program.module() == module) {
        hash.update(program.linker_flags(&Pin::read(program)?.version).as_bytes());
    }
    let mut digits = hex::encode(hash.finish());
    digits.truncate(HASH_DIGITS);
    Ok(digits)
}
