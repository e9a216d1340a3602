//! The dependency rule of the house (architecture, section 1), checked against `cargo metadata`.

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Each crate with the workspace crates its shipped code may use. A new edge is a decision: write it here.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("vworkspace-values", &[]),
    ("vworkspace-rules", &["vworkspace-values"]),
    ("vworkspace-protocol", &[]),
    ("vworkspace-crds", &["vworkspace-rules"]),
    ("vworkspace-core", &["vworkspace-protocol"]),
    ("vworkspace-http", &[]),
    ("vworkspace-transport", &["vworkspace-protocol", "vworkspace-http"]),
    ("vworkspace-store", &["vworkspace-protocol", "vworkspace-core"]),
    ("vworkspace-client", &["vworkspace-protocol", "vworkspace-http"]),
    (
        "vworkspace-operator",
        &[
            "vworkspace-values",
            "vworkspace-rules",
            "vworkspace-protocol",
            "vworkspace-crds",
            "vworkspace-core",
            "vworkspace-http",
            "vworkspace-transport",
        ],
    ),
    (
        "vworkspace-server",
        &[
            "vworkspace-rules",
            "vworkspace-protocol",
            "vworkspace-core",
            "vworkspace-transport",
            "vworkspace-store",
        ],
    ),
    (
        "vworkspace-vwctl",
        &["vworkspace-values", "vworkspace-rules", "vworkspace-protocol", "vworkspace-client"],
    ),
    (
        "vworkspace-testbed",
        &[
            "vworkspace-values",
            "vworkspace-protocol",
            "vworkspace-crds",
            "vworkspace-core",
            "vworkspace-transport",
            "vworkspace-store",
            "vworkspace-client",
            "vworkspace-server",
        ],
    ),
    ("vworkspace-fleet-sim", &["vworkspace-protocol", "vworkspace-transport", "vworkspace-client"]),
    ("xtask", &[]),
];

/// Crates that must stay pure, and what must not be anywhere below them.
const PURE: [&str; 4] = ["vworkspace-values", "vworkspace-rules", "vworkspace-protocol", "vworkspace-core"];
const IMPURE: [&str; 8] = ["tokio", "kube", "rusqlite", "axum", "hyper", "reqwest", "tonic", "async-std"];

/// Never built into anything of ours: one TLS and crypto stack is enough (dependencies, section 5).
const BANNED: [&str; 3] = ["openssl-sys", "native-tls", "rustls-pemfile"];

/// Checks every rule and reports all breaches together.
pub fn run() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().current_dir(crate::step::root()).exec()?;
    let mut breaches = edges(&metadata)?;
    breaches.extend(impurities(&metadata)?);
    breaches.extend(
        metadata
            .packages
            .iter()
            .filter(|p| BANNED.contains(&p.name.as_str()))
            .map(|p| format!("{} is banned", p.name)),
    );
    if !breaches.is_empty() {
        bail!("layers:\n  {}", breaches.join("\n  "));
    }
    println!("layers: {} crates keep to their edges", ALLOWED.len());
    Ok(())
}

fn edges(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let mut breaches = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(known, _)| *known == name)
            .with_context(|| format!("{name} has no row in xtask/src/layers.rs"))?;
        let shipped = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        breaches.extend(
            shipped
                .filter(|d| d.path.is_some() && !allowed.contains(&d.name.as_str()))
                .map(|d| format!("{name} must not use {}", d.name)),
        );
        let operator_and_server = ["vworkspace-operator", "vworkspace-server"];
        breaches.extend(
            package
                .dependencies
                .iter()
                .filter(|d| {
                    operator_and_server.contains(&name) && operator_and_server.contains(&d.name.as_str())
                })
                .map(|d| format!("{name} must not use {}, not even in tests", d.name)),
        );
    }
    Ok(breaches)
}

fn impurities(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata gave no dependency graph")?;
    let mut breaches = Vec::new();
    for pure in PURE {
        let mut open: Vec<_> =
            metadata.packages.iter().filter(|p| p.name.as_str() == pure).map(|p| &p.id).collect();
        let mut seen = Vec::new();
        while let Some(id) = open.pop() {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let node = resolve.nodes.iter().find(|n| n.id == *id).context("package without a node")?;
            let normal = |kinds: &[cargo_metadata::DepKindInfo]| {
                kinds.iter().any(|k| k.kind == DependencyKind::Normal)
            };
            open.extend(node.deps.iter().filter(|d| normal(&d.dep_kinds)).map(|d| &d.pkg));
        }
        let below = metadata.packages.iter().filter(|p| seen.contains(&&p.id));
        breaches.extend(
            below
                .filter(|p| IMPURE.contains(&p.name.as_str()))
                .map(|p| format!("{pure} must stay pure, but reaches {}", p.name)),
        );
    }
    Ok(breaches)
}
