//! No input may end in a panic.

use proptest::prelude::*;
use vworkspace_values::{Map, document, read_file, set, text};

/// Characters that mean something to a scanner.
const MEANINGFUL: &str = "[a-c0-9:,\\[\\]{}#&*!|>'\"%@`~<=\\-?. \t\r\n\\\\x\u{85}\u{feff}\u{2028}]{0,80}";

fn read(input: &str) {
    let _ = read_file(input);
    let _ = document::split(input);
    for typing in [set::Typing::Guessed, set::Typing::Text] {
        let mut values = Map::new();
        if set::apply(input, typing, &mut values).is_ok() {
            for one in set::assignments(input) {
                let _ = set::apply(&format!("{}={}", one.path, one.value), typing, &mut values);
            }
        }
    }
    let mut values = Map::new();
    let _ =
        text::apply(&text::Text { text: input, target_path: Some(input), is_literal: false }, &mut values);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn meaningful_characters_end_in_no_panic(input in MEANINGFUL) {
        read(&input);
    }

    #[test]
    fn any_characters_end_in_no_panic(input in ".{0,60}") {
        read(&input);
    }
}

#[test]
fn faults_of_the_scanner_are_errors() {
    for input in
        ["!%FF a", "a: !<%ff> x", "%TAG ! tag:%fe\n---\na", "\u{feff}", "? ", "- - -", "!!", "&", "*", "%"]
    {
        read(input);
    }
}
