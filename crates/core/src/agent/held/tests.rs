use super::*;
use proptest::prelude::*;
use serde_json::json;

const US: &str = "us";
const VALUES: &[FreeForm] = &[&["spec", "values"]];

fn object(values: &Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"values": values}})
}

/// What is held, with what each manager owns of the values.
fn held(values: &Value, owners: &[(&str, Value)]) -> Value {
    let mut held = object(values);
    let entries = owners
        .iter()
        .map(|(manager, fields)| json!({"manager": manager, "fieldsV1": {"f:spec": {"f:values": fields}}}));
    held["metadata"]["managedFields"] = entries.collect();
    held["metadata"]["uid"] = json!("u");
    held
}

/// In short: `path=manager` for what is foreign, `path` for what is changed.
fn told(sent: &Value, held: &Value) -> Vec<String> {
    let Comparison { foreign, changed } = compare(sent, held, VALUES, US);
    let foreign =
        foreign.into_iter().map(|FieldConflict { manager, field_path }| format!("{field_path}={manager}"));
    foreign.chain(changed).collect()
}

#[test]
fn what_is_sent_and_what_is_held_are_told_apart() {
    let env = json!({"f:env": {}});
    let rows = [
        ("equal", json!({"a": {"x": 1}}), json!({"a": {"x": 1}}), vec![], vec![]),
        (
            "emptied",
            json!({"a": {}}),
            json!({"a": null}),
            vec![(US, json!({"f:a": {}}))],
            vec![".spec.values.a"],
        ),
        ("empty", json!({"a": {}}), json!({"a": {}}), vec![], vec![]),
        ("null", json!({"a": null}), json!({"a": null}), vec![], vec![]),
        ("null is not absent", json!({"a": null}), json!({}), vec![], vec![".spec.values.a"]),
        ("lost", json!({"a": 1, "b": 2}), json!({"a": 1}), vec![], vec![".spec.values.b"]),
        (
            "another's member",
            json!({"env": "x"}),
            json!({"env": "x", "replicaCount": 3}),
            vec![(US, env.clone()), ("kubectl", json!({"f:replicaCount": {}}))],
            vec![".spec.values.replicaCount=kubectl"],
        ),
        (
            "another's deep member",
            json!({"a": {}}),
            json!({"a": {"b": {"c": 1}}}),
            vec![("hpa", json!({"f:a": {".": {}, "f:b": {"f:c": {}}}}))],
            vec![".spec.values.a.b=hpa"],
        ),
        (
            "another's value",
            json!({"replicaCount": 2}),
            json!({"replicaCount": 7}),
            vec![("hpa", json!({"f:replicaCount": {}}))],
            vec![".spec.values.replicaCount=hpa"],
        ),
        (
            "within a list",
            json!({"l": [{"n": 1}]}),
            json!({"l": [{"n": 2}]}),
            vec![("kubectl", json!({"f:l": {}}))],
            vec![".spec.values.l[0].n=kubectl"],
        ),
        (
            "a longer list",
            json!({"l": [1]}),
            json!({"l": [1, 2]}),
            vec![("kubectl", json!({"f:l": {}}))],
            vec![".spec.values.l=kubectl"],
        ),
        (
            "the whole map is owned",
            json!({"a": 1}),
            json!({"a": 1, "b": 1}),
            vec![("kubectl", json!({}))],
            vec![".spec.values.b=kubectl"],
        ),
        (
            "a former owner holds nothing",
            json!({"a": 1}),
            json!({}),
            vec![("kubectl", json!({"f:a": {}}))],
            vec![".spec.values.a"],
        ),
        ("nobody's member", json!({}), json!({"b": 1}), vec![(US, env)], vec![".spec.values.b"]),
    ];
    for (row, sent, values, owners, expected) in rows {
        assert_eq!(told(&object(&sent), &held(&values, &owners)), expected, "{row}");
    }
}

#[test]
fn owners_of_one_field_are_all_named_once() {
    let fields = json!({"f:b": {}});
    let owners = [("z", fields.clone()), ("kubectl", fields.clone()), ("z", fields.clone()), (US, fields)];
    let held = held(&json!({"b": 1}), &owners);
    assert_eq!(told(&object(&json!({})), &held), [".spec.values.b=kubectl", ".spec.values.b=z"]);
}

#[test]
fn member_of_a_map_that_was_not_sent_counts() {
    let sent = json!({"spec": {"mode": "x", "values": null}});
    let owners = [("kubectl", json!({"f:color": {}}))];
    let mut held = held(&json!({"color": "red"}), &owners);
    held["spec"]["mode"] = json!("x");
    assert_eq!(told(&sent, &held), [".spec.values.color=kubectl"]);
    assert_eq!(told(&json!({"spec": {"mode": "x"}}), &held), [".spec.values.color=kubectl"]);
    let empty = json!({"spec": {"mode": "x", "values": {}}});
    assert!(compare(&sent, &empty, VALUES, US).is_held());
}

#[test]
fn defaults_and_other_peoples_members_do_not_count_outside_free_form_maps() {
    let sent = json!({"metadata": {"labels": {"a": "1"}, "annotations": {}, "ownerReferences": [{"uid": "u"}]},
        "spec": {"list": [1], "none": null}});
    let mut held = json!({
        "metadata": {"labels": {"a": "1", "b": "2"}, "ownerReferences": [{"uid": "x"}, {"uid": "u", "name": "n"}]},
        "spec": {"list": [1], "default": true},
    });
    assert!(compare(&sent, &held, &[], US).is_held());
    held["spec"]["list"] = json!([1, 2]);
    held["metadata"]["ownerReferences"] = json!([{"uid": "x"}]);
    held["metadata"]["labels"]["a"] = json!("2");
    held["metadata"]["managedFields"] = json!([{"manager": "k", "fieldsV1": {"f:spec": {"f:list": {}}}}]);
    let expected = [".metadata.labels.a", ".metadata.ownerReferences", ".spec.list"];
    assert_eq!(told(&sent, &held), expected, "the API server itself says who owns those");
}

#[test]
fn numbers_and_quantities_are_equal_by_value() {
    let same = [
        (json!(1), json!(1.0)),
        (json!(1e21), json!(1_000_000_000_000_000_000_000.0)),
        (json!(u64::MAX), json!(u64::MAX)),
        (json!("1Gi"), json!("1024Mi")),
        (json!("1000m"), json!("1")),
        (json!("1.5k"), json!("1500")),
        (json!("-0.5"), json!("-500m")),
    ];
    for (one, other) in same {
        assert!(same::is_same(&one, &other) && same::is_same(&other, &one), "{one} {other}");
    }
    let different = [
        (json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992.0)),
        (json!(1), json!("1")),
        (json!(1.5), json!(1)),
        (json!("1.10"), json!("1.1")),
        (json!("1e3"), json!("1000")),
        (json!("1Gi"), json!("1G")),
        (json!("m"), json!("")),
        (json!("5s"), json!("5000ms")),
        (json!("99999999999999999999Ei"), json!("99999999999999999998Ei")),
    ];
    for (one, other) in different {
        assert!(!same::is_same(&one, &other) && !same::is_same(&other, &one), "{one} {other}");
    }
}

/// However much else differs, another manager's member is found.
#[test]
fn differences_have_a_bound_for_each_kind() {
    let mut many: serde_json::Map<_, _> = (0..1000).map(|n| (format!("m{n}"), json!(n))).collect();
    many.insert("z".into(), json!(1));
    let held = held(&json!(many), &[("kubectl", json!({"f:z": {}}))]);
    let comparison = compare(&object(&json!({})), &held, VALUES, US);
    assert_eq!((comparison.changed.len(), comparison.foreign.len()), (MAX_DIFFERENCES, 1));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c1-3.]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c.:]{1,2}", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

fn any_map() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c.:]{1,2}", any_value(), 0..4).prop_map(|members| json!(members))
}

/// Server-side apply's ownership of a value: of each member, down to leaves.
fn fields_of(value: &Value) -> Value {
    let Value::Object(members) = value else { return json!({}) };
    members.iter().map(|(name, value)| (format!("f:{name}"), fields_of(value))).collect()
}

proptest! {
    #[test]
    fn what_is_held_as_sent_has_no_difference(values in any_map()) {
        prop_assert!(compare(&object(&values), &held(&values, &[]), VALUES, US).is_held());
    }

    /// Whatever is sent and held: two maps that are not equal differ, whoever owns them.
    #[test]
    fn no_difference_means_equal(sent in any_map(), values in any_map()) {
        let is_held = compare(&object(&sent), &held(&values, &[]), VALUES, US).is_held();
        prop_assert_eq!(is_held, same_everywhere(&sent, &values));
    }

    /// Another manager's member in a map of ours is foreign, with path and manager, wherever it is.
    #[test]
    fn member_of_another_manager_is_never_missed(values in any_map(), added in any_value(), at in any::<prop::sample::Index>()) {
        let mut with = values.clone();
        let mut maps = Vec::new();
        collect_maps(&with, String::new(), &mut maps);
        let place = maps[at.index(maps.len())].clone();
        with.pointer_mut(&place).unwrap().as_object_mut().unwrap().insert("foreign".into(), added.clone());
        let path: Vec<&str> = place.split('/').skip(1).collect();
        let mut theirs = json!({"f:foreign": fields_of(&added)});
        for name in path.iter().rev() {
            theirs = json!({format!("f:{name}"): theirs});
        }
        let live = held(&with, &[(US, fields_of(&values)), ("them", theirs)]);
        let comparison = compare(&object(&values), &live, VALUES, US);
        let dots: String = path.iter().map(|name| format!(".{name}")).collect();
        let expected = FieldConflict { manager: "them".into(), field_path: format!(".spec.values{dots}.foreign") };
        prop_assert_eq!(comparison, Comparison { foreign: vec![expected], changed: vec![] });
    }
}

fn collect_maps(value: &Value, pointer: String, maps: &mut Vec<String>) {
    let Value::Object(members) = value else { return };
    for (name, value) in members {
        collect_maps(value, format!("{pointer}/{name}"), maps);
    }
    maps.push(pointer);
}

fn same_everywhere(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| other.get(name).is_some_and(|other| same_everywhere(one, other)))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_everywhere(one, other))
        }
        _ => same::is_same(one, other),
    }
}
