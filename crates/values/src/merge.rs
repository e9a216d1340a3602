//! Laying values over values.

use crate::Map;
use serde_json::Value;

/// Lays `over` on `base` as Helm does: maps are merged, everything else is replaced.
pub fn merge(base: &mut Map, over: Map) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(base: &Value, over: &Value) -> Value {
        let mut map = base.as_object().cloned().unwrap();
        merge(&mut map, over.as_object().cloned().unwrap());
        Value::Object(map)
    }

    #[test]
    fn maps_are_merged_and_everything_else_is_replaced() {
        let base = json!({"a": {"x": 1, "y": 2}, "list": [1, 2], "b": {"x": 1}, "c": 1});
        let over = json!({"a": {"y": 3}, "list": [4], "b": null, "c": {"x": 1}});
        assert_eq!(
            merged(&base, &over),
            json!({"a": {"x": 1, "y": 3}, "list": [4], "b": null, "c": {"x": 1}})
        );
    }
}
