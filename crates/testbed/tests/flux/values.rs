//! What a release runs with, where a recording asked Helm for it.

use anyhow::ensure;
use serde_json::Value;
use vworkspace_testbed::Testbed;

use crate::fixtures;

/// Scenarios in which `helm get values` was called, and what it printed each time (`fixtures/flux/values`). In others there
/// was no release to ask for.
const PRINTED: [(&str, &[&str]); 3] = [
    ("values-dialect", &["values-dialect"]),
    ("values-two-documents", &["values-two-documents", "values-duplicate-key"]),
    ("values-target-path-set", &["values-target-path-set"]),
];

/// The answers that are still to come.
pub struct Answers(std::slice::Iter<'static, &'static str>);

impl Answers {
    pub fn of(scenario: &str) -> Self {
        let printed = PRINTED.iter().find(|(name, _)| *name == scenario);
        Self(printed.map(|(_, printed)| printed.iter()).unwrap_or_default())
    }

    /// Asks Helm again and compares.
    pub async fn compare(&mut self, testbed: &Testbed, namespace: &str) -> anyhow::Result<()> {
        let printed = ask(testbed, namespace).await?;
        let Some(name) = self.0.next() else {
            ensure!(!printed.status.success(), "Helm has a release, and none was recorded");
            return Ok(());
        };
        let path = fixtures().join("values").join(format!("{name}.json"));
        let recorded: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        ensure!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        let observed: Value = serde_json::from_slice(&printed.stdout)?;
        ensure!(observed == recorded, "{name}: recorded {recorded}, observed {observed}");
        Ok(())
    }
}

async fn ask(testbed: &Testbed, namespace: &str) -> anyhow::Result<std::process::Output> {
    let mut helm = tokio::process::Command::new(testbed.helm_path());
    helm.env("KUBECONFIG", testbed.kubeconfig());
    helm.args(["get", "values", "app", "-o", "json", "-n", namespace]);
    Ok(helm.output().await?)
}
