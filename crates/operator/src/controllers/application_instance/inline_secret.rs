//! Secret material in inline values (reference contract, section 9). Pure.

use serde_json::{Map, Value};

/// Ends of keys whose text is a secret; compared in lower case.
const SECRET_ENDINGS: [&str; 2] = ["password", "secret"];
/// Whole keys whose text is a secret; compared in lower case.
const SECRET_KEYS: [&str; 4] = ["accesskey", "secretkey", "apikey", "token"];
/// Texts that say that the secret is elsewhere; compared in lower case.
const ELSEWHERE: [&str; 2] = ["<set via externalsecret>", "<set via external-secret>"];

/// Path of the first secret, as `.db.password` or `.hosts[0].token`; never the value itself.
pub fn find(values: &Map<String, Value>) -> Option<String> {
    in_object(values, "")
}

fn in_object(object: &Map<String, Value>, path: &str) -> Option<String> {
    object.iter().find_map(|(key, value)| in_value(value, &format!("{path}.{key}"), is_secret_key(key)))
}

/// A list under a secret key is a list of secrets; an object under one has keys of its own.
fn in_value(value: &Value, path: &str, names_secret: bool) -> Option<String> {
    match value {
        Value::String(text) => is_secret(text, names_secret).then(|| path.to_owned()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(i, item)| in_value(item, &format!("{path}[{i}]"), names_secret)),
        Value::Object(object) => in_object(object, path),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending)) || SECRET_KEYS.contains(&key.as_str())
}

fn is_secret(text: &str, names_secret: bool) -> bool {
    is_private_key(text) || (names_secret && !is_elsewhere(text))
}

fn is_elsewhere(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    text.is_empty() || ELSEWHERE.contains(&text.as_str())
}

/// A PEM private key, wherever in the text it begins.
fn is_private_key(text: &str) -> bool {
    text.split("-----BEGIN ").skip(1).any(|rest| {
        let label = rest.split("-----").next().unwrap_or_default();
        label.ends_with("PRIVATE KEY")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(values: &Value) -> Option<String> {
        values.as_object().and_then(find)
    }

    #[test]
    fn secrets_are_found_by_their_key() {
        assert_eq!(found(&json!({"db": {"rootPassword": "x"}})).as_deref(), Some(".db.rootPassword"));
        assert_eq!(found(&json!({"users": [{"TOKEN": "x"}]})).as_deref(), Some(".users[0].TOKEN"));
        assert_eq!(found(&json!({"apiKey": ["x"]})).as_deref(), Some(".apiKey[0]"));
    }

    #[test]
    fn private_keys_are_found_anywhere() {
        let pem = "# mine\n-----BEGIN RSA PRIVATE KEY-----\nAAAA";
        assert_eq!(found(&json!({"files": ["a", pem]})).as_deref(), Some(".files[1]"));
        assert_eq!(found(&json!({"ca": "-----BEGIN CERTIFICATE-----\nAAAA"})), None);
    }

    #[test]
    fn references_and_blanks_are_no_secrets() {
        let values = json!({
            "password": "  ", "clientSecret": "<set via ExternalSecret>", "token": "<Set via external-secret>",
            "tokenTtl": "5m", "password2": "x", "secret": {"enabled": true}, "apikey": 7,
        });
        assert_eq!(found(&values), None);
    }
}
