//! Who owns a field, by the API server's `metadata.managedFields`.

use super::Step;
use serde_json::Value;

/// Field managers other than `manager` that own the field or a part of it, in order.
pub(super) fn others(held: &Value, path: &[Step], manager: &str) -> Vec<String> {
    let entries = held.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let owners = entries.filter_map(|entry| {
        let owner = entry.get("manager")?.as_str().filter(|owner| *owner != manager)?;
        owns(entry.get("fieldsV1")?, path).then(|| owner.to_owned())
    });
    let mut owners: Vec<String> = owners.collect();
    owners.sort();
    owners.dedup();
    owners
}

/// Members under `spec` that other field managers have set and `sent` does not have, with each manager; at most `most`.
///
/// Server-side apply keeps them, so they may break a rule together with what was sent.
pub(super) fn unsent(sent: &Value, held: &Value, manager: &str, most: usize) -> Vec<(String, Vec<Step>)> {
    let mut found = Vec::new();
    let entries = held.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    for entry in entries {
        let owner = entry.get("manager").and_then(Value::as_str).unwrap_or_default();
        let Some(fields) = entry.pointer("/fieldsV1/f:spec").filter(|_| owner != manager) else { continue };
        let mut path = vec![Step::Member("spec".to_owned())];
        collect(owner, fields, sent.get("spec"), &mut path, &mut found);
    }
    found.sort_by_cached_key(|(owner, path)| (super::Path(path).to_string(), owner.clone()));
    found.dedup();
    found.truncate(most);
    found
}

fn collect(
    owner: &str,
    fields: &Value,
    sent: Option<&Value>,
    path: &mut Vec<Step>,
    found: &mut Vec<(String, Vec<Step>)>,
) {
    let members = fields.as_object().into_iter().flatten();
    let members = members.filter_map(|(key, fields)| Some((key.strip_prefix("f:")?, fields)));
    let mut is_whole = true;
    for (name, fields) in members {
        is_whole = false;
        path.push(Step::Member(name.to_owned()));
        collect(owner, fields, sent.and_then(|sent| sent.get(name)), path, found);
        path.pop();
    }
    if is_whole && sent.is_none() {
        found.push((owner.to_owned(), path.clone()));
    }
}

/// What `manager` has applied of an object, as it would be applied again: its own members, with the object's identity.
/// `None` if it has applied nothing.
pub fn applied(held: &Value, manager: &str) -> Option<Value> {
    let entries = held.pointer("/metadata/managedFields").and_then(Value::as_array)?;
    let is_own = |entry: &&Value| {
        entry.get("manager").and_then(Value::as_str) == Some(manager)
            && entry.get("operation").and_then(Value::as_str) == Some("Apply")
            && entry.get("subresource").and_then(Value::as_str).unwrap_or_default().is_empty()
    };
    let fields = entries.iter().find(is_own)?.get("fieldsV1")?;
    let mut manifest = own(fields, held);
    for path in ["apiVersion", "kind", "metadata/name", "metadata/namespace"] {
        let value = held.pointer(&format!("/{path}"))?.clone();
        let place = path.split('/').fold(&mut manifest, |place, name| &mut place[name]);
        *place = value;
    }
    Some(manifest)
}

fn own(fields: &Value, value: &Value) -> Value {
    let (Some(fields), Some(members)) = (fields.as_object(), value.as_object()) else { return value.clone() };
    let names = fields.iter().filter_map(|(name, fields)| Some((name.strip_prefix("f:")?, fields)));
    let owned = names.filter_map(|(name, fields)| Some((name.to_owned(), own(fields, members.get(name)?))));
    let is_whole = fields.is_empty();
    if is_whole { value.clone() } else { Value::Object(owned.collect()) }
}

/// Names begin with `f:`. An entry without members stands for the whole value, as that of a list or an atomic map.
fn owns(fields: &Value, path: &[Step]) -> bool {
    let mut fields = fields;
    for (depth, step) in path.iter().enumerate() {
        let is_whole = fields.as_object().is_some_and(serde_json::Map::is_empty);
        if is_whole {
            return depth > 0;
        }
        let Step::Member(name) = step else { return false };
        let Some(next) = fields.get(format!("f:{name}")) else { return false };
        fields = next;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_manager_applied_is_applied_again_without_what_others_own() {
        let held = json!({
            "apiVersion": "g/v1", "kind": "K",
            "metadata": {
                "name": "web", "namespace": "team", "uid": "u", "finalizers": ["f"],
                "labels": {"ours": "1", "theirs": "2"}, "annotations": {"request": "j1"},
                "managedFields": [
                    {"manager": "agent", "operation": "Update", "fieldsV1": {"f:metadata": {"f:finalizers": {}}}},
                    {"manager": "agent", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
                    {"manager": "agent", "operation": "Apply", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:ours": {}}, "f:annotations": {"f:request": {}}},
                        "f:spec": {"f:chart": {"f:name": {}, "f:gone": {}}, "f:values": {"f:inline": {}, "f:texts": {}}},
                    }},
                ],
            },
            "spec": {
                "chart": {"name": "hello", "insecure": false},
                "values": {"inline": {"a": null, "b": [1]}, "texts": [{"text": "x"}]},
            },
            "status": {"x": 1},
        });
        let expected = json!({
            "apiVersion": "g/v1", "kind": "K",
            "metadata": {
                "name": "web", "namespace": "team", "labels": {"ours": "1"}, "annotations": {"request": "j1"},
            },
            "spec": {
                "chart": {"name": "hello"},
                "values": {"inline": {"a": null, "b": [1]}, "texts": [{"text": "x"}]},
            },
        });
        assert_eq!(applied(&held, "agent"), Some(expected));
        assert_eq!(applied(&held, "kubectl"), None);
        assert_eq!(applied(&json!({}), "agent"), None);
    }
}
