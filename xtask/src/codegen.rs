//! Generated files that are committed. Tests fail when one differs from what the code would write.

use crate::step::{cargo, output, root, step};
use std::fs;

/// Writes all of them.
pub fn run() -> anyhow::Result<()> {
    step("deploy/crds.yaml", || {
        let yaml = output(&mut cargo(["run", "--quiet", "-p", "vworkspace-crds", "--example", "print"]))?;
        Ok(fs::write(root().join("deploy/crds.yaml"), yaml)?)
    })?;
    step("crates/rules/schema/application_instance.json", || {
        let json = output(&mut cargo(["run", "--quiet", "-p", "vworkspace-crds", "--example", "rules"]))?;
        Ok(fs::write(root().join("crates/rules/schema/application_instance.json"), json)?)
    })?;
    step("docs/openapi.json", || {
        let json = output(&mut cargo(["run", "--quiet", "-p", "vworkspace-server", "--", "openapi"]))?;
        Ok(fs::write(root().join("docs/openapi.json"), json)?)
    })
}
