//! Prints what the schema of an ApplicationInstance asks for: `cargo xtask codegen` writes it to `crates/rules/schema`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

fn main() {
    println!("{:#}", vworkspace_crds::application_instance_rules());
}
