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
