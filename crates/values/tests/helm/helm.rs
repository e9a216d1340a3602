//! The real `helm` program with a chart that prints its values.

use anyhow::Context as _;
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, process::Command};
use tempfile::TempDir;
use vworkspace_values::Map;

pub struct Helm {
    program: PathBuf,
    charts: TempDir,
}

const CHART: &str = "apiVersion: v2\nname: echo\nversion: 1.0.0\n";
/// One line of JSON for all values; `helm template` keeps comments.
const ECHO: &str = "# values {{ toJson .Values }}\n";
/// One line for each file, read as a file of values is.
const READ: &str = "{{- range $path, $_ := .Files.Glob \"texts/*\" }}\n\
                    # text {{ base $path }} {{ toJson ($.Files.Get $path | fromYaml) }}\n{{- end }}\n";

impl Helm {
    /// `VWORKSPACE_HELM`, or the one the testbed built.
    pub fn find() -> anyhow::Result<Self> {
        let program = std::env::var_os("VWORKSPACE_HELM").map(PathBuf::from).or_else(built);
        let program = program.context(
            "no helm program to compare with: `cargo xtask test` builds one, or set VWORKSPACE_HELM",
        )?;
        let charts = TempDir::new()?;
        for (name, template) in [("echo", ECHO), ("read", READ)] {
            let templates = charts.path().join(name).join("templates");
            std::fs::create_dir_all(&templates)?;
            std::fs::write(charts.path().join(name).join("Chart.yaml"), CHART)?;
            std::fs::write(templates.join("echo.yaml"), template)?;
        }
        Ok(Self { program, charts })
    }

    /// Each text alone, as Helm reads one document; all in one run.
    pub fn read_all(&self, texts: &[String]) -> anyhow::Result<BTreeMap<usize, Result<Map, String>>> {
        let folder = self.charts.path().join("read").join("texts");
        std::fs::create_dir_all(&folder)?;
        for (number, text) in texts.iter().enumerate() {
            std::fs::write(folder.join(format!("t{number}")), text)?;
        }
        let printed = self.run("read", &[]).map_err(anyhow::Error::msg)?;
        let lines = printed.lines().filter_map(|line| line.trim().strip_prefix("# text t"));
        let read = lines.map(|line| {
            let (number, values) = line.split_once(' ').context("a text's number")?;
            let values: Map = serde_json::from_str(values)?;
            let values = match values.get("Error") {
                Some(Value::String(error)) => Err(error.clone()),
                _ => Ok(values),
            };
            Ok((number.parse()?, values))
        });
        read.collect()
    }

    /// One file, by `helm template -f`.
    pub fn template(&self, file: &str, flags: &[&str]) -> anyhow::Result<Result<Map, String>> {
        let path = self.charts.path().join("values.yaml");
        std::fs::write(&path, file)?;
        let path = path.to_string_lossy().into_owned();
        let arguments = [&["--values", &path], flags].concat();
        match self.run("echo", &arguments) {
            Ok(printed) => {
                let values = printed.lines().find_map(|line| line.strip_prefix("# values "));
                Ok(Ok(serde_json::from_str(values.context("no values")?)?))
            }
            Err(words) => Ok(Err(words)),
        }
    }

    fn run(&self, chart: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.env("HOME", self.charts.path()).arg("template").arg("e").arg(self.charts.path().join(chart));
        let output = command.args(arguments).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

fn built() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let folders = std::fs::read_dir(cache.join("vworkspace/testbed")).ok()?;
    let programs =
        folders.flatten().filter(|folder| folder.file_name().to_string_lossy().starts_with("helm-"));
    programs.map(|folder| folder.path().join("helm")).find(|program| program.is_file())
}
