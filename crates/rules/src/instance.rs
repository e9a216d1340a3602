//! The rules of a whole ApplicationInstance.

use crate::{Broken, address, schema};
use serde_json::Value;

/// Longest name of an object.
const NAME_BYTES: usize = 253;
/// Longest name of a namespace.
const NAMESPACE_BYTES: usize = 63;

/// Everything that the cluster will refuse in the object: names, schema, and that the release stays in its namespace.
pub fn check(object: &Value) -> Vec<Broken> {
    let metadata = &object["metadata"];
    let mut faults = Vec::new();
    faults.extend(name(&metadata["name"], "metadata.name", "-.", NAME_BYTES));
    faults.extend(name(&metadata["namespace"], "metadata.namespace", "-", NAMESPACE_BYTES));
    faults.extend(schema::check(object));
    let release = object["spec"]["release"]["namespace"].as_str();
    if let (Some(release), Some(own)) = (release, metadata["namespace"].as_str())
        && release != own
    {
        let rule = format!("is not {own:?}, the namespace of the object; it must be the same");
        faults.push(Broken::new("spec.release.namespace", rule));
    }
    faults
}

/// The one rule that holds everywhere, whatever the cluster's schema is: an address shows to all who may read the object.
pub fn check_address(object: &Value) -> Option<Broken> {
    let url = object["spec"]["chart"]["url"].as_str()?;
    address::holds_credentials(url).then(|| Broken::new("spec.chart.url", address::NO_CREDENTIALS_MESSAGE))
}

fn name(value: &Value, path: &str, signs: &str, most: usize) -> Option<Broken> {
    let Some(text) = value.as_str() else {
        let rule = match value {
            Value::Null => "is missing".to_owned(),
            other => format!("is {other} and must be a text; write it in quotes"),
        };
        return Some(Broken::new(path, rule));
    };
    let is_outer = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit();
    let is_good = text.starts_with(is_outer)
        && text.ends_with(is_outer)
        && text.chars().all(|sign| is_outer(sign) || signs.contains(sign));
    if text.len() > most {
        let length = text.len();
        return Some(Broken::new(path, format!("has {length} characters, and at most {most} are allowed")));
    }
    let words = if signs.contains('.') { "0-9, dashes and dots" } else { "0-9 and dashes" };
    (!is_good).then(|| {
        let rule =
            format!("is {text:?}; it may hold a-z, {words}, and starts and ends with a letter or digit");
        Broken::new(path, rule)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(name: &Value, namespace: &str, release: &str) -> Vec<String> {
        let object = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "appRef": {"catalogId": "hello"},
                "chart": {"sourceType": "helm", "url": "https://c.example", "name": "hello", "version": "1"},
                "release": {"name": "shop", "namespace": release},
            },
        });
        check(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_that_no_object_can_have_are_refused() {
        assert!(told(&json!("my-app.1"), "team", "team").is_empty());
        for wrong in
            [json!("My-App"), json!("app_1"), json!("-a"), json!("å"), json!("a b"), json!(""), json!(42)]
        {
            let told = told(&wrong, "team", "team");
            assert!(told.len() == 1 && told[0].starts_with("metadata.name "), "{told:?}");
        }
        assert!(told(&json!("a"), "NS_bad", "team")[0].starts_with("metadata.namespace is \"NS_bad\""));
        assert!(told(&json!("a"), "my.ns", "team")[0].starts_with("metadata.namespace is \"my.ns\""));
    }

    #[test]
    fn release_stays_in_the_namespace_of_its_object() {
        let told = told(&json!("a"), "team", "other");
        assert_eq!(
            told,
            ["spec.release.namespace is not \"team\", the namespace of the object; it must be the same"]
        );
    }
}
