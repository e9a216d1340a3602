//! Prints our definitions as YAML: `cargo xtask codegen` writes them to `deploy/crds.yaml`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

fn main() -> Result<(), serde_saphyr::ser::Error> {
    for definition in vworkspace_crds::definitions() {
        print!("---\n{}", serde_saphyr::to_string(&definition)?);
    }
    Ok(())
}
