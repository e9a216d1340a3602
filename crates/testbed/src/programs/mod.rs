//! The real programs the testbed runs: built once per machine and pin from Go modules, into a cache outside the clone.
//!
//! `testbed/*/go.mod` and `go.sum` of the repository pin them; [`pin`] says what is built from which, [`cache`] where
//! it lands, [`build`] how. A second start only looks whether the files are there.

mod build;
mod cache;
mod flux_crds;
mod pin;
mod version;

pub use pin::Program;

use anyhow::Context as _;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Folder with `kube-apiserver`, `etcd` and `kubectl` to use instead of built ones; each only if it is in there.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Between two lines of progress.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(30);

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    cache: cache::Cache,
    assets: Option<PathBuf>,
}

impl Programs {
    /// Finds the cache and reads the environment; builds nothing.
    ///
    /// # Errors
    /// There is no home folder to keep a cache in.
    pub fn locate() -> anyhow::Result<Self> {
        Ok(Self { cache: cache::Cache::locate()?, assets: std::env::var_os(ASSETS).map(PathBuf::from) })
    }

    /// Builds what of `wanted` is not there yet, one after the other, with a line of progress on stderr for each.
    ///
    /// # Errors
    /// Go is missing, or a build fails: the error carries what the compiler said.
    pub async fn build(&self, wanted: &[Program]) -> anyhow::Result<()> {
        let missing: Vec<Program> =
            wanted.iter().copied().filter(|program| !self.path(*program).exists()).collect();
        let count = missing.len();
        for (index, program) in missing.into_iter().enumerate() {
            let pinned = pin::Pin::read(program)?;
            eprintln!("building {} {} ({}/{count}) …", program.name(), pinned.version, index + 1);
            let (start, target) = (Instant::now(), self.path(program));
            let building = tokio::task::spawn_blocking(move || build::program(program, &pinned, &target));
            let built = with_signs_of_life(program.name(), building).await;
            built.with_context(|| format!("cannot build {}", program.name()))??;
            eprintln!("built {} in {:.0} s", program.name(), start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Where `program` is, once built.
    pub fn path(&self, program: Program) -> PathBuf {
        let given =
            self.assets.as_ref().filter(|_| program.is_an_asset()).map(|assets| assets.join(program.name()));
        given
            .filter(|path| path.exists())
            .unwrap_or_else(|| self.cache.folder(program.module()).join(program.name()))
    }

    /// Flux's own definitions, as YAML: generated once from its published API modules.
    ///
    /// # Errors
    /// `controller-gen` cannot be built or fails.
    pub async fn flux_crds(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.cache.folder(Program::ControllerGen.module()).join("flux-crds");
        if !folder.exists() {
            self.build(&[Program::ControllerGen]).await?;
            let (generator, target) = (self.path(Program::ControllerGen), folder.clone());
            tokio::task::spawn_blocking(move || flux_crds::generate(&generator, &target)).await??;
        }
        read_all(&folder)
    }

    /// What each of `programs` says of its own version, by running it.
    ///
    /// # Errors
    /// A program is not there or does not run.
    pub async fn versions(&self, programs: &[Program]) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut said = Vec::with_capacity(programs.len());
        for program in programs {
            said.push((program.name(), version::ask(*program, &self.path(*program)).await?));
        }
        Ok(said)
    }

    /// Removes everything ever built, of all pins; returns the folder.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn clean(&self) -> anyhow::Result<&Path> {
        self.cache.remove()?;
        Ok(self.cache.root())
    }
}

/// Says now and then that `work` still goes on: the first build of a machine takes minutes.
async fn with_signs_of_life<T>(name: &str, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(SIGN_OF_LIFE_EVERY, &mut work).await {
            Ok(done) => return done,
            Err(_) => eprintln!("  still building {name}, {:.0} s so far", start.elapsed().as_secs_f64()),
        }
    }
}

fn read_all(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut texts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        texts.push(fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(texts)
}
