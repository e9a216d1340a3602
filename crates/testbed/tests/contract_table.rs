//! `docs/CONTRACT-TESTS.md`, `docs/TRAPS.md` and `docs/OPEN-WORLD.md` name tests; a name that no test bears proves nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Numbers of the list of traps: connectivity, events, identity.
const TRAPS: [std::ops::RangeInclusive<u32>; 3] = [1..=24, 30..=40, 50..=61];

#[test]
fn every_test_that_the_contract_table_names_exists() {
    let rows = rows_of("docs/CONTRACT-TESTS.md");
    let named: Vec<_> = rows.iter().flat_map(|cells| quoted(&cells[1])).collect();
    assert!(named.len() > 40, "the table was not read");
    assert_eq!(missing(&named), BTreeSet::<&String>::new(), "no test is called like that");
}

#[test]
fn every_trap_has_one_row_with_tests_that_exist_or_a_reason() {
    let rows: Vec<_> =
        rows_of("docs/TRAPS.md").into_iter().filter(|cells| cells[0].starts_with("G-")).collect();
    let numbers: Vec<u32> = rows.iter().map(|cells| cells[0]["G-".len()..].parse().unwrap()).collect();
    assert_eq!(numbers, TRAPS.into_iter().flatten().collect::<Vec<_>>());
    for cells in &rows {
        let proof = &cells[2];
        let reasoned = proof.contains("*later*: ") || proof.contains("*cannot occur*: ");
        assert!(reasoned || !quoted(proof).is_empty(), "{}: nothing stands for it", cells[0]);
    }
    let named: Vec<_> = rows.iter().flat_map(|cells| quoted(&cells[2])).collect();
    assert_eq!(missing(&named), BTreeSet::<&String>::new(), "no test is called like that");
}

#[test]
fn every_test_that_the_open_world_names_exists() {
    let rows = rows_of("docs/OPEN-WORLD.md");
    let rows: Vec<_> = rows.into_iter().filter(|cells| cells.len() == 5 && cells[0] != "input").collect();
    assert!(rows.len() >= 60, "only {} rows were read", rows.len());
    for cells in &rows {
        assert!(!quoted(&cells[4]).is_empty(), "{}: {}: no test is named", cells[0], cells[1]);
    }
    let named: Vec<_> = rows.iter().flat_map(|cells| quoted(&cells[4])).collect();
    assert_eq!(missing(&named), BTreeSet::<&String>::new(), "no test is called like that");
}

/// The cells of each row of the tables in a document.
fn rows_of(document: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn missing(named: &[String]) -> BTreeSet<&String> {
    let mut tests = BTreeSet::new();
    tests_below(&root().join("crates"), &mut tests);
    named.iter().filter(|name| !tests.contains(*name)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Names of all functions that follow a test attribute, stand in a property test, or are listed as a case of a
/// conformance suite.
fn tests_below(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let (mut is_test, mut is_suite) = (false, false);
            for line in text.lines().map(str::trim) {
                is_suite |= line == "macro_rules! conformance {";
                if line == "#[test]" || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if is_test && let Some((_, rest)) = line.split_once("fn ") {
                    tests.extend(rest.split('(').next().map(str::to_owned));
                    is_test = false;
                } else if is_suite && let Some(case) = line.strip_suffix(',') {
                    tests.insert(case.to_owned());
                }
            }
        }
    }
}
