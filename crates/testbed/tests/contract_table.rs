//! `docs/CONTRACT-TESTS.md` names tests; a name that no test bears proves nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_test_that_the_contract_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut functions = BTreeSet::new();
    functions_below(&root.join("crates"), &mut functions);
    let table = fs::read_to_string(root.join("docs/CONTRACT-TESTS.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.split('|').nth(2));
    let named: Vec<_> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 40, "the table was not read");
    let missing: Vec<_> = named.iter().filter(|name| !functions.contains(**name)).collect();
    assert!(missing.is_empty(), "no test is called {missing:?}");
}

/// Names of all functions that follow a test attribute, stand in a property test, or are listed as a case of a
/// conformance suite.
fn functions_below(folder: &Path, functions: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            functions_below(&path, functions);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let (mut is_test, mut is_suite) = (false, false);
            for line in text.lines().map(str::trim) {
                is_suite |= line == "macro_rules! conformance {";
                if line == "#[test]" || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if is_test && let Some((_, rest)) = line.split_once("fn ") {
                    functions.extend(rest.split('(').next().map(str::to_owned));
                    is_test = false;
                } else if is_suite && let Some(case) = line.strip_suffix(',') {
                    functions.insert(case.to_owned());
                }
            }
        }
    }
}
