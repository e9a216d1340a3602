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
const PACKAGED: [(&str, &str); 12] = [
    ("hello", "1.0.0"),
    ("hello", "1.1.0"),
    // Named `hello` too: its pods never get a node.
    ("hello2", "2.0.0"),
    ("broken", "1.0.0"),
    // Its values as JSON in a ConfigMap.
    ("echo", "1.0.0"),
    // It quotes a value when it fails.
    ("leaky", "1.0.0"),
    ("stuck", "1.0.0"),
    ("refused", "1.0.0"),
    // Helm fails before it stores a release: a required value, a values schema, `kubeVersion`, an unknown kind.
    ("needs", "1.0.0"),
    ("schema", "1.0.0"),
    ("old", "1.0.0"),
    ("kindless", "1.0.0"),
];
/// Bytes of the file that makes the record of chart `large` too large for a Secret.
const BLOB: usize = 1_300_000;

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
        let large = (self.large()?, "1.0.0");
        let folders = PACKAGED.iter().map(|(folder, version)| (Path::new(CHARTS).join(folder), *version));
        try_join_all(folders.chain([large]).map(|(folder, version)| async move {
            let mut helm = self.command();
            helm.arg("package").arg(&folder).args(["--version", version, "--destination"]);
            helm.arg(&self.packages);
            let said = process::output(helm).await?;
            let path = said.trim().rsplit_once(": ").map(|(_, path)| PathBuf::from(path));
            path.with_context(|| format!("helm does not say where it put {} {version}", folder.display()))
        }))
        .await
    }

    /// Writes the source of chart `large`: a file that cannot be compressed makes Helm's record larger than a Secret may be.
    fn large(&self) -> anyhow::Result<PathBuf> {
        let folder = self.home.join("large");
        std::fs::create_dir_all(folder.join("files"))?;
        std::fs::create_dir_all(folder.join("templates"))?;
        std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: large\nversion: 1.0.0\n")?;
        let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}-large\"}\n";
        std::fs::write(folder.join("templates/cm.yaml"), template)?;
        // A linear congruential generator: the same bytes each time.
        let mut state = 1_u64;
        let blob = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        });
        std::fs::write(folder.join("files/blob.bin"), blob.take(BLOB).collect::<Vec<_>>())?;
        Ok(folder)
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
