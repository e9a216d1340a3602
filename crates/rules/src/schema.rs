//! What the CRD's schema asks of an ApplicationInstance, told by path before it travels. The schema itself is generated
//! from the CRD: `cargo xtask codegen`.
//!
//! The structural part is walked here. Rules in CEL are not interpreted: each has its twin in `RULES`, and a test on the
//! real API server shows that both judge alike.

use crate::{Broken, address::pattern_of};
use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The schema, as JSON. Its digest tells two versions apart.
pub const TEXT: &str = include_str!("../schema/application_instance.json");

/// Most faults that are named.
const MOST: usize = 20;
/// Longest quotation of a value.
const QUOTED_BYTES: usize = 64;
/// Most characters of a member's name that may be mistyped.
const TYPING_ERRORS: usize = 2;

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(TEXT).expect("the committed schema is JSON"));

/// A rule in CEL that has been translated.
type Twin = fn(&Value) -> bool;

/// Rules with more than a pattern. Those that compare with the former object say nothing about a new one.
const RULES: [(&str, Twin); 8] = [
    (
        "self.sourceType != 'helm' || self.url.startsWith('https://') || self.url.startsWith('http://')",
        |chart| {
            let url = text(chart, "url");
            text(chart, "sourceType") != "helm" || url.starts_with("https://") || url.starts_with("http://")
        },
    ),
    ("self.sourceType != 'oci' || !self.url.contains('://') || self.url.matches('(?i)^ *oci://')", |chart| {
        let url = text(chart, "url").to_ascii_lowercase();
        let is_plain = !url.contains("://");
        text(chart, "sourceType") != "oci" || is_plain || url.trim_start_matches(' ').starts_with("oci://")
    }),
    (
        "has(self.inline) == (self.source == 'inline') && has(self.texts) == (self.source == 'text') && has(self.secretRef) == (self.source == 'secretRef') && has(self.configMapRef) == (self.source == 'configMapRef')",
        |values| {
            let members = [
                ("inline", "inline"),
                ("text", "texts"),
                ("secretRef", "secretRef"),
                ("configMapRef", "configMapRef"),
            ];
            let source = text(values, "source");
            members.into_iter().all(|(named, member)| has(values, member) == (source == named))
        },
    ),
    (
        "self.mode != 'managed' || self.appRef.catalogId == 'seaweedfs' || (has(self.chart) && has(self.release))",
        |spec| {
            let is_other = is_placeholder(spec) || text(&spec["appRef"], "catalogId") == "seaweedfs";
            is_other || (has(spec, "chart") && has(spec, "release"))
        },
    ),
    ("self.mode != 'placeholder' || (!has(self.chart) && !has(self.values))", |spec| {
        !is_placeholder(spec) || (!has(spec, "chart") && !has(spec, "values"))
    }),
    ("self.mode == 'managed' || oldSelf.mode != 'managed' || !has(oldSelf.chart)", |_| true),
    ("!has(oldSelf.release) || has(self.release)", |_| true),
    ("self.name == oldSelf.name && self.__namespace__ == oldSelf.__namespace__", |_| true),
];

/// What people may write where a text has a pattern.
const PATTERNS: [(&str, &str); 6] = [
    (
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "may hold a-z, 0-9 and dashes, and starts and ends with a letter or digit",
    ),
    (
        "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "may hold a-z, 0-9, dashes and dots, and starts and ends with a letter or digit",
    ),
    (
        "^[a-z0-9]([a-z0-9._/-]*[a-z0-9])?$",
        "may hold a-z, 0-9, dashes, dots and underscores, and starts and ends with a letter or digit",
    ),
    ("^[-._a-zA-Z0-9]+$", "may hold letters, digits, dashes, dots and underscores"),
    (r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$", "is a duration such as 90s or 1h30m"),
    (r"^([a-zA-Z0-9_\-.\\\/]|\[[0-9]{1,5}\])+$", "is a path as `helm --set` takes it"),
];

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_default()
}

fn has(object: &Value, member: &str) -> bool {
    object.get(member).is_some_and(|value| !value.is_null())
}

fn is_placeholder(spec: &Value) -> bool {
    text(spec, "mode") == "placeholder"
}

/// Everything in the object that its schema refuses, at most twenty faults.
pub(crate) fn check(object: &Value) -> Vec<Broken> {
    let mut faults = Vec::new();
    // What Kubernetes asks of every object is not in the schema.
    if let Some(members) = object.as_object() {
        let known = |name: &str| matches!(name, "apiVersion" | "kind" | "metadata" | "spec" | "status");
        for name in members.keys().filter(|name| !known(name)) {
            faults.push(unknown(name, "", ["spec", "metadata"].into_iter()));
        }
    }
    match object.get("spec") {
        Some(spec) => walk(&SCHEMA["properties"]["spec"], spec, "spec", &mut faults),
        None => faults.push(Broken::new("spec", "is missing")),
    }
    faults.truncate(MOST);
    faults
}

fn walk(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Broken>) {
    if faults.len() >= MOST || (value.is_null() && schema["nullable"] == true) {
        return;
    }
    let before = faults.len();
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(members)) => object(schema, members, path, faults),
        (Some("array"), Value::Array(items)) => array(schema, items, path, faults),
        (Some("string"), Value::String(content)) => string(schema, content, path, faults),
        (Some("boolean"), Value::Bool(_)) | (Some("integer" | "number"), Value::Number(_)) | (None, _) => {}
        (Some(wanted), _) => faults.push(Broken::new(path, wrong_type(wanted, value))),
    }
    // A rule reads members that are as they should be.
    if faults.len() == before {
        rules(schema, value, path, faults);
    }
}

fn object(schema: &Value, members: &Map<String, Value>, path: &str, faults: &mut Vec<Broken>) {
    let known = schema["properties"].as_object();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if members.get(name).is_none_or(Value::is_null) {
            faults.push(Broken::new(&format!("{path}.{name}"), "is missing"));
        }
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    for (name, value) in members {
        match known.and_then(|known| known.get(name)) {
            Some(_) if value.is_null() => {}
            Some(schema) => walk(schema, value, &format!("{path}.{name}"), faults),
            None => {
                let known = known.into_iter().flat_map(|known| known.keys().map(String::as_str));
                faults.push(unknown(name, path, known));
            }
        }
    }
}

fn array(schema: &Value, items: &[Value], path: &str, faults: &mut Vec<Broken>) {
    let bound = |name: &str| schema[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    if bound("minItems").is_some_and(|least| items.len() < least) {
        faults.push(Broken::new(path, "is empty"));
    }
    if let Some(most) = bound("maxItems").filter(|most| items.len() > *most) {
        faults.push(Broken::new(path, format!("has {} items, and at most {most} are allowed", items.len())));
        return;
    }
    for (index, item) in items.iter().enumerate() {
        walk(&schema["items"], item, &format!("{path}[{index}]"), faults);
    }
}

fn string(schema: &Value, content: &str, path: &str, faults: &mut Vec<Broken>) {
    let bound = |name: &str| schema[name].as_u64().and_then(|bound| usize::try_from(bound).ok());
    let length = content.chars().count();
    let mut fault = |words: String| faults.push(Broken::new(path, words));
    if let Some(allowed) = schema["enum"].as_array() {
        let mut allowed = allowed.iter().filter_map(Value::as_str);
        if !allowed.clone().any(|allowed| allowed == content) {
            let words = allowed.by_ref().collect::<Vec<_>>().join(", ");
            fault(format!("is {}, and must be one of {words}", quoted(content)));
        }
    } else if content.is_empty() && bound("minLength").is_some_and(|least| least > 0) {
        fault("is empty".to_owned());
    } else if let Some(most) = bound("maxLength").filter(|most| length > *most) {
        fault(format!("has {length} characters, and at most {most} are allowed"));
    } else if let Some(pattern) = schema["pattern"].as_str()
        && Regex::new(pattern).is_ok_and(|allowed| !allowed.is_match(content))
    {
        let words = PATTERNS.iter().find(|(known, _)| *known == pattern);
        let words = words.map_or_else(|| format!("matches {pattern}"), |(_, words)| (*words).to_owned());
        fault(format!("is {}; it {words}", quoted(content)));
    }
}

fn rules(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Broken>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let (rule, message) = (text(rule, "rule"), text(rule, "message"));
        if !holds(rule, value).unwrap_or(true) {
            faults.push(Broken::new(path, message.to_owned()));
        }
    }
}

/// `None` for a rule that nobody translated; a test says that there is none.
fn holds(rule: &str, value: &Value) -> Option<bool> {
    let twin = RULES.iter().find(|(known, _)| *known == rule).map(|(_, twin)| twin(value));
    twin.or_else(|| Some(!pattern_of(rule)?.is_match(value.as_str()?)))
}

fn wrong_type(wanted: &str, value: &Value) -> String {
    match (wanted, value) {
        ("string", Value::Number(_) | Value::Bool(_)) => {
            format!("is {value} and must be a text; write it in quotes")
        }
        ("string", _) => "must be a text".to_owned(),
        ("boolean", _) => "must be true or false".to_owned(),
        ("array", _) => "must be a list".to_owned(),
        ("object", _) => "must be a mapping".to_owned(),
        _ => "must be a number".to_owned(),
    }
}

fn unknown<'a>(name: &str, path: &str, known: impl Iterator<Item = &'a str>) -> Broken {
    let near = known.map(|known| (distance(name, known), known)).min();
    let meant = near.filter(|(distance, _)| *distance <= TYPING_ERRORS);
    let meant = meant.map(|(_, known)| format!("; did you mean {known}?")).unwrap_or_default();
    let name: String = name.chars().take(QUOTED_BYTES).collect();
    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
    Broken::new(&path, format!("is not a known member{meant}"))
}

/// Letters to be inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().take(QUOTED_BYTES).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

fn quoted(content: &str) -> String {
    let short: String = content.chars().take(QUOTED_BYTES).collect();
    format!("{:?}", crate::redact(&short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec() -> Value {
        json!({
            "appRef": {"catalogId": "hello"},
            "chart": {"sourceType": "helm", "url": "https://charts.example", "name": "hello", "version": "1.0.0"},
            "release": {"name": "shop", "namespace": "team"},
        })
    }

    fn told(pointer: &str, value: Value) -> String {
        let mut spec = spec();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[member] = value;
        let faults = check(&json!({ "metadata": {}, "spec": spec }));
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_rule_of_the_schema_has_a_twin_and_every_pattern_words() {
        fn visit(schema: &Value, rules: &mut Vec<String>, patterns: &mut Vec<String>) {
            if let Some(members) = schema.as_object() {
                let found = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
                rules.extend(found.map(|rule| text(rule, "rule").to_owned()));
                patterns.extend(schema["pattern"].as_str().map(str::to_owned));
                members.values().for_each(|schema| visit(schema, rules, patterns));
            }
        }
        let (mut rules, mut patterns) = (Vec::new(), Vec::new());
        visit(&SCHEMA, &mut rules, &mut patterns);
        assert!(rules.len() >= RULES.len() && patterns.len() >= PATTERNS.len());
        let has_twin =
            |rule: &String| RULES.iter().any(|(known, _)| known == rule) || pattern_of(rule).is_some();
        assert_eq!(rules.iter().find(|rule| !has_twin(rule)), None);
        assert!(patterns.iter().all(|pattern| PATTERNS.iter().any(|(known, _)| known == pattern)));
        assert!(patterns.iter().all(|pattern| Regex::new(pattern).is_ok()));
    }

    #[test]
    fn good_instance_has_no_fault() {
        assert_eq!(told("/release/timeout", json!("90s")), "");
        assert_eq!(told("/values", json!({"source": "inline", "inline": {"any": {"thing": [1, null]}}})), "");
        assert_eq!(told("/values", Value::Null), "");
        assert_eq!(told("/mode", json!("managed")), "");
    }

    #[test]
    fn each_fault_is_one_plain_sentence_with_its_path() {
        for (pointer, value, words) in [
            ("/vaules", json!({}), "spec.vaules is not a known member; did you mean values?"),
            ("/values", json!({"inline": {}}), "spec.values.source is missing"),
            (
                "/values",
                json!({"source": "file"}),
                "spec.values.source is \"file\", and must be one of inline, text, secretRef, configMapRef",
            ),
            (
                "/values",
                json!({"source": "text", "inline": {}}),
                "spec.values: values need exactly the member that values.source names",
            ),
            ("/values", json!({"source": "text", "texts": []}), "spec.values.texts is empty"),
            (
                "/chart/version",
                json!(1.1),
                "spec.chart.version is 1.1 and must be a text; write it in quotes",
            ),
            ("/chart/version", Value::Null, "spec.chart.version is missing"),
            ("/chart/name", json!("./hello"), "spec.chart.name is \"./hello\"; it may hold a-z"),
            ("/chart/name", json!("Hello"), "spec.chart.name is \"Hello\"; it may hold a-z"),
            ("/chart/url", json!("file:///x"), "spec.chart: chart.url of a helm source starts with https://"),
            (
                "/chart/url",
                json!("charts.example"),
                "spec.chart: chart.url of a helm source starts with https://",
            ),
            (
                "/chart/url",
                json!("https://c.example/hello-1.0.0.tgz"),
                "spec.chart.url: chart.url names a file",
            ),
            ("/chart/url", json!("https://c.example/index.yaml"), "spec.chart.url: chart.url names a file"),
            (
                "/chart/url",
                json!("https://user:hunter2@c.example"),
                "spec.chart.url: chart.url holds credentials",
            ),
            ("/chart/url", json!(""), "spec.chart.url is empty"),
            ("/chart/insecure", json!("yes"), "spec.chart.insecure must be true or false"),
            ("/chart", json!([]), "spec.chart must be a mapping"),
            ("/chart", Value::Null, "spec: a managed instance needs spec.chart and spec.release"),
            (
                "/release/name",
                json!("a".repeat(54)),
                "spec.release.name has 54 characters, and at most 53 are allowed",
            ),
            (
                "/release/name",
                json!("my.app"),
                "spec.release.name is \"my.app\"; it may hold a-z, 0-9 and dashes",
            ),
            ("/release/name", json!("å"), "spec.release.name is \"å\"; it may hold"),
            ("/release/namespace", json!("NS_bad"), "spec.release.namespace is \"NS_bad\"; it may hold"),
            (
                "/release/timeout",
                json!("5 minutes"),
                "spec.release.timeout is \"5 minutes\"; it is a duration",
            ),
        ] {
            let told = told(pointer, value);
            assert!(told.starts_with(words) && !told.contains("hunter2"), "{words}\n{told}");
        }
    }

    #[test]
    fn an_oci_address_has_its_own_scheme_or_none() {
        let told = |url: &str| {
            let mut spec = spec();
            spec["chart"]["sourceType"] = json!("oci");
            spec["chart"]["url"] = json!(url);
            check(&json!({ "spec": spec })).len()
        };
        assert_eq!(["oci://r.example/x", "OCI://r.example/x", "r.example/x"].map(told), [0, 0, 0]);
        assert_eq!(told("https://r.example/x"), 1);
    }

    #[test]
    fn faults_are_bounded_whatever_comes() {
        let many: Map<String, Value> = (0..1_000).map(|n| (format!("m{n}"), json!(n))).collect();
        assert_eq!(check(&json!({ "spec": many })).len(), MOST);
        for none in [json!(null), json!(7), json!([]), json!({"spec": 7}), json!({})] {
            assert!(!check(&none).is_empty());
        }
    }
}
