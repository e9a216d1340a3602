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
