use super::*;
use serde_json::json;
use vworkspace_values::text::Text;

fn given(files: &[&str], set: &[&str], set_string: &[&str]) -> Given {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let files = files.iter().map(|text| (PathBuf::from("values.yaml"), (*text).to_owned())).collect();
    Given { files, set: texts(set), set_string: texts(set_string), set_file: Vec::new() }
}

/// What Flux makes of the texts.
fn read_by_flux(spec: &Value) -> Map {
    let mut values = Map::new();
    for one in spec["texts"].as_array().unwrap() {
        let is_literal = one["literal"].as_bool().unwrap_or_default();
        let text = one["text"].as_str().unwrap();
        text::apply(&Text { text, target_path: one["targetPath"].as_str(), is_literal }, &mut values)
            .unwrap();
    }
    values
}

#[test]
fn documents_travel_unread_one_text_each() {
    let given = given(&["a: 0440\n---\nb: on\n---\n", "# nothing\n"], &[], &[]);
    let expected = json!({"source": "text", "texts": [{"text": "a: 0440\n"}, {"text": "b: on\n"}]});
    assert_eq!(given.values(true).unwrap(), Some(expected));
}

#[test]
fn nothing_given_is_no_values() {
    assert_eq!(Given::default().values(true).unwrap(), None);
    assert_eq!(Given::default().values(false).unwrap(), None);
    assert_eq!(given(&["# nothing\n"], &[], &[]).values(true).unwrap(), None);
}

#[test]
fn flags_travel_as_what_flux_reads_to_the_same() {
    let mut given = given(
        &["a: {x: 1}\nl: [{p: 1}, 2]\n"],
        &["a.y=0440,id=1234567,n=null,l[0].q=true", "e\\.f={x,1}", "a b.c=5", "q='12'", "r=\"x\"", "s=a\\,b"],
        &["a.x=1,l[1]=0x1,t={1,2},u=\\{x\\,y"],
    );
    given.add_set_file("cert.pem=one,l[2]=two,both={one,two}", |name| Ok(format!("{name},{{\n"))).unwrap();
    let spec = given.values(true).unwrap().unwrap();
    assert_eq!(read_by_flux(&spec), given.evaluate().unwrap(), "{spec:#}");
    assert_eq!(spec["texts"][1], json!({"text": "0440", "targetPath": "a.y"}));
}

#[test]
fn without_texts_values_are_converted_by_helms_rules() {
    let given = given(&["mode: 0440\non: 1\n---\nb: yEs\n"], &["c=0644,d=5"], &["d=5"]);
    let inline = json!({"mode": 288, "true": 1, "b": "yEs", "c": "0644", "d": "5"});
    assert_eq!(given.values(false).unwrap(), Some(json!({"source": "inline", "inline": inline})));
}

#[test]
fn what_cannot_travel_is_refused_by_path() {
    let refused = |given: &Given, takes_texts| given.values(takes_texts).unwrap_err().to_string();
    let large = given(&[], &["pod.id=1234567"], &[]);
    assert!(refused(&large, false).starts_with("--set pod.id: "));
    assert!(large.values(true).is_ok());
    assert!(refused(&given(&[], &[], &["a b[0]=x"]), true).starts_with("--set-string a b[0]: "));
    let file = given(&["a: 1\nb: {c: .inf}\n"], &[], &[]);
    assert!(refused(&file, true).ends_with("line 2: b.c is no finite number, which JSON cannot hold"));
    assert!(refused(&given(&["a: 1\n"], &["a.b=1"], &[]), true).contains("\"a\" is no map"));
    let size = refused(&given(&[&format!("a: {}\n", "x".repeat(600_000))], &[], &[]), true);
    assert!(size.contains("6000") && size.contains("524288"), "{size}");
    let many: Vec<String> = (0..200).map(|number| format!("a{number}=1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refused(&given(&[], &many, &[]), true).contains("200 texts"));
}
