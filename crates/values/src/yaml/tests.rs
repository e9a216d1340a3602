use super::*;
use serde_json::json;

fn yaml(text: &str) -> Value {
    Value::Object(read(text).unwrap())
}

fn problem(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn numbers_follow_yaml_1_1() {
    let text = "a: 0440\nb: 0644\nc: 01234\nd: -010\ne: 1_000.5\nf: 0b_1\ng: 5_\nh: 1.10\ni: 1e3\nj: 08\nk: 0x10\n\
                l: 9007199254740993\nm: 1e999\nr: 0b-1\no: .5\np: 1e20\nq: 18446744073709551615\n";
    assert_eq!(
        yaml(text),
        json!({
            "a": 288, "b": 420, "c": 668, "d": -8, "e": 1000.5, "f": 1, "g": 5, "h": 1.1, "i": 1000, "j": 8, "k": 16,
            "l": 9_007_199_254_740_992_i64, "m": "1e999", "r": -1, "o": 0.5, "p": 1e20, "q": 1.8446744073709552e19,
        })
    );
}

#[test]
fn integers_of_objects_are_not_rounded() {
    let read = read_object("a: 9007199254740993\nb: 0440\nc: 18446744073709551615\n").unwrap();
    let expected = json!({"a": 9_007_199_254_740_993_i64, "b": 288, "c": u64::MAX});
    assert_eq!(Value::Object(read), expected);
}

#[test]
fn words_follow_yaml_1_1() {
    let text = "a: y\nb: yEs\nc: Off\nd: ~\ne: 'no'\nf: 2024-01-02\ng: 12:30:45\nh: nUll\ni:\n";
    assert_eq!(
        yaml(text),
        json!({
            "a": true, "b": "yEs", "c": false, "d": null, "e": "no", "f": "2024-01-02", "g": "12:30:45",
            "h": "nUll", "i": null,
        })
    );
}

#[test]
fn keys_become_texts_by_their_type_and_the_last_of_equal_ones_counts() {
    let text = "on: {push: true}\ny: 1\nno: 2\nTRUE: 3\n0x10: 4\n010: 5\n1.50: 6\n'yes': 7\na: 8\na: 9\n";
    assert_eq!(yaml(text), json!({"true": 3, "false": 2, "16": 4, "8": 5, "1.5": 6, "yes": 7, "a": 9}));
    assert!(problem("1: a\n'1': b\n").contains("alike"));
    assert!(problem("a: {~: 1}\n").contains("a has a key that is null"));
    assert!(problem("? [a]\n: 1\n").contains("a key that is no text"));
}

#[test]
fn merges_replace_what_stands_before_them_alone() {
    let text = "b: &b {x: 1, z: 2}\nc: {<<: *b, x: 3}\nd: {x: 3, <<: *b}\ne: {<<: [*b, {x: 9, w: 9}]}\nf: {'<<': 1}\n";
    let read = yaml(text);
    assert_eq!(read["c"], json!({"x": 3, "z": 2}));
    assert_eq!(read["d"], json!({"x": 1, "z": 2}));
    assert_eq!(read["e"], json!({"x": 1, "z": 2, "w": 9}));
    assert_eq!(read["f"], json!({"<<": 1}));
    assert!(problem("a: {<<: 1}\n").contains("merges something else"));
}

#[test]
fn tags_are_checked() {
    let text = "a: !!str 1\nb: !!int '3'\nc: !!float 1\nd: !!binary aGk=\ne: !x y\nf: ! '12'\ng: !!timestamp 2024-1-2\n";
    assert_eq!(
        yaml(text),
        json!({"a": "1", "b": 3, "c": 1, "d": "hi", "e": "y", "f": "12", "g": "2024-1-2"})
    );
    assert_eq!(yaml("a: !!binary /w==\n"), json!({"a": "\u{fffd}"}));
    for wrong in ["!!int a", "!!bool 1", "!!null a", "!!binary '*'", "!!float a", "!!timestamp x"] {
        assert!(problem(&format!("a: {wrong}\n")).starts_with("line 1: a is tagged"), "{wrong}");
    }
}

#[test]
fn what_json_cannot_hold_is_refused_by_path_and_never_quoted() {
    assert_eq!(problem("a:\n- b: .inf\n"), "line 2: a[0].b is no finite number, which JSON cannot hold");
    assert_eq!(problem("- s3cret\n"), "line 1: the document is not a mapping");
    assert!(!problem("a: !!int s3cret\n").contains("s3cret"));
    assert!(problem("a: 1\nb: [\n").starts_with("line 3: "));
    assert!(problem("a: *b\n").contains("anchor"));
    assert!(problem("%YAML 1.2\n---\na: 1\n").contains("incompatible"));
}

#[test]
fn only_the_first_document_is_read() {
    assert_eq!(yaml("a: 1\n---\nb: [\n"), json!({"a": 1}));
    assert_eq!((yaml(""), yaml("# a\n"), yaml("~\n")), (json!({}), json!({}), json!({})));
    assert_eq!(yaml("\u{feff}a: 1\n"), json!({"a": 1}));
}

#[test]
fn small_texts_cannot_become_huge() {
    assert!(problem("a: &a [*a]\n").contains("contains itself"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let item = format!("*a{}", level - 1);
        let items = vec![item; 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(problem(&bomb).contains("aliases"));
    assert!(problem(&format!("a: {}", "[".repeat(5_000))).contains("levels"));
}
