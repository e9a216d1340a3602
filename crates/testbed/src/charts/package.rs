//! Packaging with the real `helm`.

use crate::{
    process,
    programs::{Program, Programs},
};
use anyhow::Context as _;
use futures::future::try_join_all;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Sources of the charts.
const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts");

/// Folder below `charts/`, and the version it is packaged as.
const PACKAGED: [(&str, &str); 7] = [
    ("hello", "1.0.0"),
    ("hello", "1.1.0"),
    // Named `hello` too: its pods never get a node.
    ("hello2", "2.0.0"),
    ("broken", "1.0.0"),
    // Its values as JSON in a ConfigMap.
    ("echo", "1.0.0"),
    ("stuck", "1.0.0"),
    ("refused", "1.0.0"),
];

/// The program with folders of its own, so that a user's repositories and plugins stay out.
pub(super) struct Helm {
    program: PathBuf,
    home: PathBuf,
    packages: PathBuf,
}

impl Helm {
    /// In `dir`.
    pub fn new(programs: &Programs, dir: &Path) -> Self {
        Self { program: programs.path(Program::Helm), home: dir.join("helm"), packages: dir.join("charts") }
    }

    /// Folder of the packages and their index.
    pub fn packages(&self) -> &Path {
        &self.packages
    }

    /// Packages all charts.
    pub async fn package_all(&self) -> anyhow::Result<Vec<PathBuf>> {
        try_join_all(PACKAGED.map(|(folder, version)| async move {
            let mut helm = self.command();
            helm.arg("package").arg(Path::new(CHARTS).join(folder)).args([
                "--version",
                version,
                "--destination",
            ]);
            helm.arg(&self.packages);
            let said = process::output(helm).await?;
            let path = said.trim().rsplit_once(": ").map(|(_, path)| PathBuf::from(path));
            path.with_context(|| format!("helm does not say where it put {folder} {version}"))
        }))
        .await
    }

    /// Writes `index.yaml`.
    pub async fn index(&self) -> anyhow::Result<()> {
        let mut helm = self.command();
        helm.args(["repo", "index"]).arg(&self.packages);
        process::output(helm).await.map(drop)
    }

    /// Pushes them to `registry`.
    pub async fn push_all(&self, packages: &[PathBuf], registry: &str) -> anyhow::Result<()> {
        try_join_all(packages.iter().map(|package| {
            let mut helm = self.command();
            helm.arg("push").arg(package).arg(format!("oci://{registry}/charts")).arg("--plain-http");
            process::output(helm)
        }))
        .await
        .map(drop)
    }

    fn command(&self) -> Command {
        let mut helm = Command::new(&self.program);
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(folder, &self.home);
        }
        helm
    }
}
