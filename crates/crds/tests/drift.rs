//! `deploy/crds.yaml` is what the types say: `cargo xtask codegen` writes it.

use std::{fs, path::Path};

#[test]
fn committed_definitions_equal_the_generated_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds.yaml");
    let committed = fs::read_to_string(path).unwrap();
    let mut generated = String::new();
    for definition in vworkspace_crds::definitions() {
        generated.push_str("---\n");
        generated.push_str(&serde_saphyr::to_string(&definition).unwrap());
    }
    assert!(committed == generated, "deploy/crds.yaml is not what the types say: run `cargo xtask codegen`");
}

#[test]
fn committed_rules_equal_the_generated_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/schema/application_instance.json");
    let committed = fs::read_to_string(path).unwrap();
    let generated = format!("{:#}\n", vworkspace_crds::application_instance_rules());
    assert!(
        committed == generated,
        "crates/rules/schema is not what the types say: run `cargo xtask codegen`"
    );
}
