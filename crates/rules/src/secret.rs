//! Secrets in values, which everybody may read who may read the object (reference contract, section 9).
//!
//! A secret is told by its name, or by its own look: a private key, a well-known token, an address with a password.
//! Names of objects that hold secrets are none (`docs/decisions/0017-secrets-in-values.md`).

use crate::words::Words;
use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;
use vworkspace_values::text::{self, Text};

/// Most paths that are named.
const MOST: usize = 20;
/// Texts that say that the secret is elsewhere; compared in lower case.
const ELSEWHERE: [&str; 2] = ["<set via externalsecret>", "<set via external-secret>"];
/// Members of an entry that give its name and its value, as in `env: [{name: A, value: b}]`.
const NAMED: [&str; 2] = ["name", "key"];
/// See [`NAMED`].
const VALUE: &str = "value";

/// Texts that are secrets whatever their name is.
static LOOKS: LazyLock<Regex> = LazyLock::new(|| {
    let looks = [
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
        // An address with a password that is no placeholder.
        r"://[^\s/?#:@]*:[^\s/?#@*{$<][^\s/?#@]*@",
        r"(?i)(?:^|[;\s?&])(?:password|passwd|pwd|accountkey|sharedaccesskey)\s*=\s*[^\s;&${<*]",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"\bgh[pousr]_[0-9A-Za-z]{36}",
        r"\bgithub_pat_[0-9A-Za-z_]{40}",
        r"\bglpat-[0-9A-Za-z_-]{20}",
        r"\bxox[abprs]-[0-9A-Za-z-]{10}",
        r"\b[sr]k_live_[0-9A-Za-z]{16}",
        r"\bAIza[0-9A-Za-z_-]{35}",
        r"\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]+",
    ];
    Regex::new(&looks.join("|")).expect("the patterns above compile")
});

/// Paths of secrets in `spec.values`, such as `inline.db.password` or `texts[0].token`; never a value. Texts are read by
/// Helm's rules; one that cannot be read is Helm's to refuse.
pub fn in_values(values: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(inline) = values["inline"].as_object() {
        in_object(inline, "inline", false, &mut found);
    }
    for (index, entry) in values["texts"].as_array().into_iter().flatten().enumerate() {
        let text = Text {
            text: entry["text"].as_str().unwrap_or_default(),
            target_path: entry["targetPath"].as_str(),
            is_literal: entry["literal"] == true,
        };
        let mut read = Map::new();
        if text::apply(&text, &mut read).is_ok() {
            in_object(&read, &format!("texts[{index}]"), false, &mut found);
        }
    }
    found
}

/// One sentence about these paths below `values`, with the way out; `None` if there are none.
pub fn words(paths: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let shown = paths.iter().take(SHOWN).map(|path| format!("values.{path}")).collect::<Vec<_>>().join(", ");
    let more = match paths.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let verb = if paths.len() == 1 { "looks like a secret" } else { "look like secrets" };
    let way = "everybody may read it there; put it into a Secret and refer to it by values.secretRef";
    (!paths.is_empty()).then(|| format!("{shown}{more} {verb}; {way}"))
}

/// Paths of secrets in chart values, such as `.db.password`.
pub fn find(values: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    in_object(values, "", false, &mut found);
    found
}

/// `of_secrets`: the members of the object are secrets, whatever their names are.
fn in_object(object: &Map<String, Value>, path: &str, of_secrets: bool, found: &mut Vec<String>) {
    let named = NAMED.into_iter().find_map(|member| object.get(member)?.as_str());
    for (key, value) in object {
        let words = Words::of(key);
        let is_named = key == VALUE && named.is_some_and(|name| Words::of(name).name_a_secret());
        let is_inherited = of_secrets && !words.name_an_object();
        in_value(value, &format!("{path}.{key}"), is_named || is_inherited || words.name_a_secret(), found);
    }
}

/// A list under a secret's name is a list of secrets. What stands under `passwords` are secrets by other names; an object
/// under `password` has members that say more about one.
fn in_value(value: &Value, path: &str, is_secret: bool, found: &mut Vec<String>) {
    if found.len() >= MOST {
        return;
    }
    let is_found = match value {
        Value::String(text) => LOOKS.is_match(text) || (is_secret && !is_elsewhere(text)),
        Value::Number(_) => is_secret,
        Value::Null | Value::Bool(_) => false,
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                in_value(item, &format!("{path}[{index}]"), is_secret, found);
            }
            false
        }
        Value::Object(object) => {
            in_object(object, path, is_secret, found);
            false
        }
    };
    if is_found {
        found.push(path.to_owned());
    }
}

/// A placeholder that something fills in later, or that a template reads.
fn is_elsewhere(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let is_wrapped = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    text.is_empty()
        || ELSEWHERE.contains(&text.as_str())
        || [("{{", "}}"), ("${", "}"), ("$(", ")")].into_iter().any(|(start, end)| is_wrapped(start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(values: &Value) -> Vec<String> {
        find(values.as_object().unwrap())
    }

    #[test]
    fn secrets_are_found_in_all_common_spellings() {
        for (values, path) in [
            (json!({"password": 12_345_678}), ".password"),
            (json!({"db": {"rootPassword": "x"}}), ".db.rootPassword"),
            (json!({"extraEnv": [{"name": "DB_PASSWORD", "value": "hunter2"}]}), ".extraEnv[0].value"),
            (json!({"env": [{"name": "API_KEY", "value": 7}]}), ".env[0].value"),
            (json!({"env": {"DB_PASSWORD": "hunter2"}}), ".env.DB_PASSWORD"),
            (json!({"smtp": {"pass": "x"}}), ".smtp.pass"),
            (json!({"connectionString": "postgres://u:hunter2@db/x"}), ".connectionString"),
            (json!({"dsn": "Server=db;User=sa;Password=hunter2;"}), ".dsn"),
            (json!({"passwd": "x"}), ".passwd"),
            (json!({"api_key": "x"}), ".api_key"),
            (json!({"access-key": "x"}), ".access-key"),
            (json!({"authToken": "x"}), ".authToken"),
            (json!({"users": [{"TOKEN": "x"}]}), ".users[0].TOKEN"),
            (json!({"passwords": {"admin": "x"}}), ".passwords.admin"),
            (json!({"apiKey": ["x"]}), ".apiKey[0]"),
            (json!({"password2": "x"}), ".password2"),
            (json!({"password": {"value": "x"}}), ".password.value"),
            (json!({"clientSecret": "x"}), ".clientSecret"),
            (json!({"jwtSecret": "x"}), ".jwtSecret"),
            (json!({"secretKey": "x"}), ".secretKey"),
            (json!({"encryptionKey": "x"}), ".encryptionKey"),
            (json!({"adminPassword": "changeme"}), ".adminPassword"),
            (json!({"note": "-----BEGIN RSA PRIVATE KEY-----\nAAAA"}), ".note"),
            (json!({"note": format!("ghp_{}", "a".repeat(36))}), ".note"),
        ] {
            assert_eq!(found(&values), [path], "{values}");
        }
    }

    #[test]
    fn names_of_objects_and_settings_are_no_secrets() {
        let values = json!({
            "auth": {"existingSecret": "db-credentials", "existingSecretPasswordKey": "password"},
            "configFromSecret": "a", "envFromSecret": "a", "adminTokenSecret": "a", "existingPasswordSecret": "a",
            "useExistingSecret": "true", "imagePullSecret": "a", "imagePullSecrets": ["a", {"name": "b"}],
            "passwordSecretName": "a", "secretName": "a", "tlsSecret": "a", "secretRef": {"name": "a", "key": "b"},
            "password": {"valueFrom": {"secretKeyRef": {"name": "a", "key": "password"}}},
            "passwordKey": "a", "tokenUrl": "https://a", "tokenTtl": "5m", "passwordFile": "/a", "passwordPolicy": "a",
            "automountServiceAccountToken": true, "secret": {"enabled": true, "name": "a"}, "publicKey": "a",
            "accessKeyId": "a", "proxyPass": "http://a", "bypass": "a", "compass": "a", "key": "a", "sortKey": "a",
            "env": [{"name": "DB_PASSWORD_FILE", "value": "/a"}, {"name": "DB_HOST", "value": "db"},
                    {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
            "url": "https://user@c.example/x", "dsn": "postgres://u:$(DB_PASSWORD)@db/x",
        });
        assert_eq!(found(&values), [""; 0]);
    }

    #[test]
    fn blanks_and_placeholders_are_no_secrets() {
        let values = json!({
            "password": "  ", "clientSecret": "<set via ExternalSecret>", "token": "<Set via external-secret>",
            "dbPassword": "{{ .Values.global.password }}", "apiKey": "${API_KEY}", "authToken": null,
        });
        assert_eq!(found(&values), [""; 0]);
    }

    #[test]
    fn texts_are_read_by_helms_rules_and_unreadable_ones_are_left_to_helm() {
        let values = json!({"source": "text", "texts": [
            {"text": "a: [\n"}, {"text": "a: &x {password: hunter2}\nb: {<<: *x}\n"},
            {"text": "hunter2", "targetPath": "db.password"},
        ]});
        assert_eq!(
            in_values(&values),
            ["texts[1].a.password", "texts[1].b.password", "texts[2].db.password"]
        );
        assert_eq!(in_values(&json!({"inline": {"token": "x"}})), ["inline.token"]);
        assert!(in_values(&json!({"secretRef": {"name": "a", "key": "password"}})).is_empty());
    }

    #[test]
    fn paths_are_bounded() {
        let many: Map<String, Value> = (0..100).map(|n| (format!("password{n}"), json!("x"))).collect();
        assert_eq!(find(&many).len(), MOST);
    }
}
