//! Prints the schema that the migrations add up to: `crates/store/schema.sql` is this output.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

fn main() -> Result<(), vworkspace_store::Error> {
    print!("{}", vworkspace_store::schema_dump()?);
    Ok(())
}
