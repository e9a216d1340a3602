use super::*;
use serde_json::json;

fn on(base: &Value, flag: &str) -> Result<Value, Error> {
    let mut values = base.as_object().cloned().unwrap();
    apply(flag, Typing::Guessed, &mut values)?;
    Ok(Value::Object(values))
}

fn set(flag: &str) -> Value {
    on(&json!({}), flag).unwrap()
}

#[test]
fn values_are_typed_by_their_look() {
    assert_eq!(
        set("a=1,b=-2,c=true,d=NULL,e=0440,f=0,g=1.5,h=,i={x,1},j=a\\,b,k=\\{x"),
        json!({
            "a": 1, "b": -2, "c": true, "d": null, "e": "0440", "f": 0, "g": "1.5", "h": "", "i": ["x", 1],
            "j": "a,b", "k": "{x",
        })
    );
    let mut values = Map::new();
    apply("a=1,b={true}", Typing::Text, &mut values).unwrap();
    assert_eq!(Value::Object(values), json!({"a": "1", "b": ["true"]}));
}

#[test]
fn paths_lead_into_maps_and_lists() {
    assert_eq!(set("a.b.c=1,a.d=2"), json!({"a": {"b": {"c": 1}, "d": 2}}));
    assert_eq!(set("a[1].b=1,a[0]=x"), json!({"a": ["x", {"b": 1}]}));
    assert_eq!(set("a[0][1]=1"), json!({"a": [[null, 1]]}));
    assert_eq!(set("a\\.b=1"), json!({"a.b": 1}));
    let base = json!({"a": {"x": 1}, "l": [{"p": 1, "q": 2}]});
    assert_eq!(on(&base, "a.y=2,l[0].p=3").unwrap(), json!({"a": {"x": 1, "y": 2}, "l": [{"p": 3, "q": 2}]}));
}

#[test]
fn flags_that_end_early_are_what_helm_makes_of_them() {
    assert_eq!(set("a=1,"), json!({"a": 1}));
    assert_eq!(set("a."), json!({}));
    assert_eq!(set("a[0]"), json!({"a": []}));
    assert_eq!(set("a[0"), json!({}));
    assert_eq!(set("=x"), json!({}));
}

#[test]
fn what_helm_refuses_is_refused() {
    let refused = |base: Value, flag: &str| on(&base, flag).unwrap_err().to_string();
    assert_eq!(refused(json!({}), "a"), "key \"a\" has no value");
    assert_eq!(refused(json!({}), "a,b=1"), "key \"a\" has no value");
    assert_eq!(refused(json!({}), "a={x"), "a list that begins with { ends with }");
    assert!(refused(json!({}), "a[x]=1").contains("no index"));
    assert!(refused(json!({}), "a[65537]=1").contains("no index"));
    assert!(refused(json!({}), "a[0]b=1").contains("after the index"));
    assert!(refused(json!({}), &format!("{}=1", "a.".repeat(32))).contains("30 levels"));
    assert!(refused(json!({"a": 1}), "a.b=1").contains("no map"));
    assert!(refused(json!({"a": null}), "a[0]=1").contains("no list"));
}

#[test]
fn a_flag_is_cut_into_assignments_that_mean_the_same_alone() {
    let flag = "a.b=1,c={x,y},d\\.e[0]=a\\,b,f=";
    let cut = assignments(flag);
    let paths: Vec<&str> = cut.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["a.b", "c", "d\\.e[0]", "f"]);
    let mut values = Map::new();
    for one in cut {
        apply(&format!("{}={}", one.path, one.value), Typing::Guessed, &mut values).unwrap();
    }
    assert_eq!(Value::Object(values), set(flag));
}

#[test]
fn an_escaped_text_is_read_as_it_was() {
    for text in ["", "{a}", "a,b", "a\\b", "\"x\"", "a=b"] {
        let mut values = Map::new();
        apply(&format!("a={}", escaped(text)), Typing::Text, &mut values).unwrap();
        assert_eq!(Value::Object(values), json!({"a": text}));
    }
}
