//! Values as JSON, read by Helm's rules, for a cluster that cannot take texts. Pure.

use super::{Error, Given, SET};
use serde_json::{Value, json};
use vworkspace_values::{
    Map,
    set::{self, Assignment},
};

/// From here on a template prints a double with an exponent, and an integer without.
const PRINTED_ALIKE: u64 = 1_000_000;

/// `spec.values` with the values; `None` where nothing is given.
pub(super) fn spec(given: &Given, values: &Map) -> Result<Option<Value>, Error> {
    for one in given.set.iter().flat_map(|flag| set::assignments(flag)) {
        check(&one)?;
    }
    let is_given = *given != Given::default();
    Ok(is_given.then(|| json!({ "source": "inline", "inline": values })))
}

/// Refuses what JSON cannot express: `--set` makes integers, JSON gives the chart doubles.
pub(super) fn check(one: &Assignment) -> Result<(), Error> {
    let mut values = Map::new();
    // What Helm refuses was refused before.
    let _ = set::apply(&format!("x={}", one.value), set::Typing::Guessed, &mut values);
    let is_large = match values.get("x") {
        Some(Value::Array(items)) => items.iter().any(is_large),
        Some(value) => is_large(value),
        None => false,
    };
    if is_large {
        let problem =
            "a number of a million and more would reach the chart's templates as a float, such as 1e+06";
        return Err(Error::Path { flag: SET, path: one.path.clone(), problem });
    }
    Ok(())
}

fn is_large(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| number.unsigned_abs() >= PRINTED_ALIKE)
}
