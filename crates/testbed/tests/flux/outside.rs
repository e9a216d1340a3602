//! What a recording does outside the cluster: to the repository, to the registry, with `helm`.
//!
//! A scenario that does so gets sources of its own, so that it disturbs no other.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use tower_http::services::ServeDir;
use vworkspace_testbed::Testbed;

use crate::recording::{Recording, Step};

/// The chart that all these scenarios install.
const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/hello");

/// The step of the scenario that has two versions in the registry from the start.
const PUSHED: &str = "hello 1.2.0 is pushed";

/// Sources of one scenario; they end with this value.
pub struct Outside<'a> {
    testbed: &'a Testbed,
    namespace: &'a str,
    dir: TempDir,
    url: String,
    _server: JoinSet<std::io::Result<()>>,
}

impl<'a> Outside<'a> {
    /// Sources with hello 1.0.0 for a recording that changes them; `None` for one that does not.
    pub async fn start(
        testbed: &'a Testbed,
        namespace: &'a str,
        recorded: &Recording,
    ) -> anyhow::Result<Option<Self>> {
        let is_inside =
            |step: &Step| step.manifest.is_some() || step.kubectl.is_some() || step.asks_for_values();
        if recorded.steps().all(is_inside) {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let charts = dir.path().join("charts");
        std::fs::create_dir(&charts)?;
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut server = JoinSet::new();
        let routes = Router::new().fallback_service(ServeDir::new(charts));
        server.spawn(async move { axum::serve(listener, routes).await });
        let outside = Self { testbed, namespace, dir, url, _server: server };
        outside.package(Path::new(HELLO), "1.0.0").await?;
        outside.index().await?;
        outside.push("1.0.0").await?;
        if recorded.steps().any(|step| step.action == PUSHED) {
            outside.package(Path::new(HELLO), "1.1.0").await?;
            outside.push("1.1.0").await?;
        }
        Ok(Some(outside))
    }

    /// The manifest with these sources in the place of the recorded ones.
    pub fn with_our_sources(&self, manifest: &str) -> String {
        let repository = format!("{}/{}/hello", self.testbed.registry(), self.namespace);
        manifest
            .replace("http://127.0.0.1:18080", &self.url)
            .replace("127.0.0.1:15000/charts/hello", &repository)
    }

    /// Does what a step does outside the cluster.
    pub async fn perform(&self, step: &Step) -> anyhow::Result<()> {
        let action = step.action.as_str();
        let (index, away) = (self.charts().join("index.yaml"), self.dir.path().join("index.yaml"));
        if action.starts_with("the repository's index is written anew") {
            self.package(Path::new(HELLO), "1.2.0").await?;
            self.index().await
        } else if action.starts_with("the repository goes away") {
            Ok(std::fs::rename(index, away)?)
        } else if action == "the repository is back" {
            Ok(std::fs::rename(away, index)?)
        } else if action.starts_with("the tag 1.0.0 is moved") {
            self.package(&self.other_content()?, "1.0.0").await?;
            self.push("1.0.0").await
        } else if action == "hello 1.0.7 is put into the repository" {
            self.package(Path::new(HELLO), "1.0.7").await?;
            self.index().await
        } else if action == PUSHED {
            self.package(Path::new(HELLO), "1.2.0").await?;
            self.push("1.2.0").await
        } else if action == "helm uninstall by hand" {
            let kubeconfig = self.testbed.kubeconfig().to_string_lossy().into_owned();
            self.helm(&["uninstall", "app", "--namespace", self.namespace, "--kubeconfig", &kubeconfig]).await
        } else {
            bail!("nobody knows how to do: {action}")
        }
    }

    /// The same chart with one file more.
    fn other_content(&self) -> anyhow::Result<PathBuf> {
        let copy = self.dir.path().join("moved/hello");
        copy_folder(Path::new(HELLO), &copy)?;
        std::fs::write(copy.join("MOVED"), "other content under the same version")?;
        Ok(copy)
    }

    async fn package(&self, chart: &Path, version: &str) -> anyhow::Result<()> {
        let (chart, charts) = (chart.to_string_lossy(), self.charts());
        self.helm(&["package", &chart, "--version", version, "--destination", &charts.to_string_lossy()])
            .await
    }

    async fn index(&self) -> anyhow::Result<()> {
        self.helm(&["repo", "index", &self.charts().to_string_lossy()]).await
    }

    async fn push(&self, version: &str) -> anyhow::Result<()> {
        let package = self.charts().join(format!("hello-{version}.tgz"));
        let repository = format!("oci://{}/{}", self.testbed.registry(), self.namespace);
        self.helm(&["push", &package.to_string_lossy(), &repository, "--plain-http"]).await
    }

    /// Runs `helm` with folders of its own.
    async fn helm(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut helm = Command::new(self.testbed.helm_path());
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(folder, self.dir.path().join("helm"));
        }
        let said = helm.args(arguments).stdin(Stdio::null()).output().await.context("run helm")?;
        ensure!(said.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        Ok(())
    }

    fn charts(&self) -> PathBuf {
        self.dir.path().join("charts")
    }
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
