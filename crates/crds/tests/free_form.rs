//! Maps of the user's own have one owner, and are known by their places.

use serde_json::{Value, json};
use vworkspace_crds::{definitions, free_form};

const PRESERVED: &str = "x-kubernetes-preserve-unknown-fields";

/// Schemas that take any member, by path.
fn preserved(schema: &Value, path: &[&str], found: &mut Vec<(String, Value)>) {
    if schema.get(PRESERVED) == Some(&json!(true)) {
        found.push((path.join("."), schema.clone()));
    }
    if let Some(items) = schema.get("items") {
        preserved(items, path, found);
    }
    for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        preserved(member, &[path, &[name]].concat(), found);
    }
}

#[test]
fn every_free_form_map_is_atomic_and_known_by_its_place() {
    for definition in definitions() {
        let kind = &definition.spec.names.kind;
        let definition = serde_json::to_value(&definition).unwrap();
        let mut found = Vec::new();
        preserved(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &[], &mut found);
        for (path, schema) in &found {
            assert_eq!(schema["x-kubernetes-map-type"], "atomic", "{kind} {path}");
        }
        let found: Vec<_> =
            found.into_iter().map(|(path, _)| path).filter(|path| path.starts_with("spec.")).collect();
        let known: Vec<_> = free_form(kind).iter().map(|place| place.join(".")).collect();
        assert_eq!(found, known, "{kind}");
    }
}
