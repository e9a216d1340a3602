//! The ways in which a deploy fails.

use super::Place;
use serde_json::{Value, json};
use std::fs;

/// One way.
pub(super) struct Case {
    /// For the document.
    pub what: &'static str,
    pub namespace: Namespace,
    /// What the cluster's admin made before.
    pub objects: fn(&Place<'_>) -> Vec<Value>,
    /// Of `vwctl app deploy`, without those that all have.
    pub arguments: fn(&Place<'_>) -> Vec<String>,
    /// It may come right by itself, so it is waited for up to the deadline.
    pub may_come_right: bool,
}

impl Case {
    pub fn deadline(&self) -> &'static str {
        if self.may_come_right { "20s" } else { "80s" }
    }
}

/// Where it is deployed to.
#[derive(Clone, Copy)]
pub(super) enum Namespace {
    /// Opened to the operator.
    Open,
    /// There, and not opened.
    Closed,
    /// As written.
    Named(&'static str),
}

const fn case(what: &'static str, arguments: fn(&Place<'_>) -> Vec<String>) -> Case {
    Case { what, namespace: Namespace::Open, objects: |_| Vec::new(), arguments, may_come_right: false }
}

const fn waiting(what: &'static str, arguments: fn(&Place<'_>) -> Vec<String>) -> Case {
    Case { may_come_right: true, ..case(what, arguments) }
}

/// `NAME` with a chart of the testbed's repository.
fn chart(place: &Place<'_>, name: &str, chart: &str, version: &str) -> Vec<String> {
    from(place, name, place.world.testbed.charts_url(), &["--chart-name", chart, "--chart-version", version])
}

fn from(place: &Place<'_>, name: &str, url: &str, more: &[&str]) -> Vec<String> {
    let own = [name, "--namespace", &place.namespace, "--chart-url", url];
    own.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
}

fn and(mut arguments: Vec<String>, more: &[&str]) -> Vec<String> {
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    arguments
}

fn file(place: &Place<'_>, name: &str, text: &str) -> String {
    let path = place.files.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn manifest(place: &Place<'_>, name: &str, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut instance = place.world.hello(&place.namespace, "web", "1.0.0");
    change(&mut instance);
    vec!["--file".to_owned(), file(place, name, &instance.to_string())]
}

fn nothing(_: &Place<'_>) -> Vec<Value> {
    Vec::new()
}

pub(super) const CASES: &[Case] = &[
    case("name with a capital", |place| chart(place, "My-App", "hello", "1.0.0")),
    case("name with an underscore", |place| chart(place, "app_1", "hello", "1.0.0")),
    case("name with a dot", |place| chart(place, "my.app", "hello", "1.0.0")),
    case("name of 54 characters", |place| chart(place, &"a".repeat(54), "hello", "1.0.0")),
    Case {
        namespace: Namespace::Named("NS_bad"),
        ..case("namespace that is no name", |place| chart(place, "web", "hello", "1.0.0"))
    },
    case("no chart name", |place| {
        from(place, "web", place.world.testbed.charts_url(), &["--chart-version", "1.0.0"])
    }),
    case("chart URL without a scheme", |place| {
        from(place, "web", "charts.example", &["--chart-name", "hello", "--chart-version", "1.0.0"])
    }),
    case("chart URL of a file", |place| {
        from(place, "web", "file:///charts", &["--chart-name", "hello", "--chart-version", "1.0.0"])
    }),
    case("chart URL with a password", |place| {
        let url = "https://user:pw@charts.example";
        from(place, "web", url, &["--chart-name", "hello", "--chart-version", "1.0.0"])
    }),
    case("chart URL of an index", |place| {
        let url = "https://charts.example/index.yaml";
        from(place, "web", url, &["--chart-name", "hello", "--chart-version", "1.0.0"])
    }),
    case("chart name that is a path", |place| chart(place, "web", "./hello", "1.0.0")),
    case("version `latest`", |place| chart(place, "web", "hello", "latest")),
    case("values that are no YAML", |place| {
        let values = file(place, "broken.yaml", "a: [");
        and(chart(place, "web", "hello", "1.0.0"), &["--values", &values])
    }),
    case("values over the bound", |place| {
        let values = file(place, "large.yaml", &format!("a: {}", "x".repeat(600_000)));
        and(chart(place, "web", "hello", "1.0.0"), &["--values", &values])
    }),
    case("manifest with a misspelt member", |place| {
        manifest(place, "misspelt.yaml", |instance| instance["spec"]["vaules"] = json!({}))
    }),
    case("manifest with a version that is a number", |place| {
        manifest(place, "number.yaml", |instance| instance["spec"]["chart"]["version"] = json!(1.10))
    }),
    case("manifest with values and no source", |place| {
        manifest(place, "no-source.yaml", |instance| instance["spec"]["values"] = json!({"inline": {"a": 1}}))
    }),
    Case {
        namespace: Namespace::Closed,
        ..case("namespace that its admin did not open", |place| chart(place, "web", "hello", "1.0.0"))
    },
    Case {
        namespace: Namespace::Named("nobody-made-it"),
        ..case("namespace that does not exist", |place| chart(place, "web", "hello", "1.0.0"))
    },
    Case {
        objects: |place| {
            let mut held = place.world.hello(&place.namespace, "web", "1.1.0");
            held["spec"]["release"]["name"] = json!("web");
            vec![held]
        },
        ..case("field that somebody else holds", |place| chart(place, "web", "hello", "1.0.0"))
    },
    case("chart that the repository does not have", |place| chart(place, "web", "nothing", "1.0.0")),
    case("version that the repository does not have", |place| chart(place, "web", "hello", "9.9.9")),
    waiting("chart that the registry does not have", |place| {
        let url = format!("oci://{}/charts/nothing", place.world.testbed.registry());
        from(place, "web", &url, &["--chart-version", "1.0.0", "--chart-insecure"])
    }),
    waiting("repository that nobody serves", |place| {
        let url = "http://127.0.0.1:1/charts";
        from(place, "web", url, &["--chart-name", "hello", "--chart-version", "1.0.0"])
    }),
    waiting("Secret of values that does not exist", |place| {
        and(chart(place, "web", "hello", "1.0.0"), &["--values-secret", "missing/values.yaml"])
    }),
    Case {
        objects: |_| {
            let metadata = json!({"name": "own"});
            vec![
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"other": "a: 1"}}),
            ]
        },
        ..waiting("Secret of values without the key", |place| {
            and(chart(place, "web", "hello", "1.0.0"), &["--values-secret", "own/values.yaml"])
        })
    },
    case("tag in the URL of a registry", |place| {
        let url = format!("oci://{}/charts/hello:1.0.0", place.world.testbed.registry());
        from(place, "web", &url, &["--chart-version", "1.0.0", "--chart-insecure"])
    }),
    case("template that requires a value", |place| chart(place, "web", "needs", "1.0.0")),
    case("values that the chart's schema refuses", |place| {
        and(chart(place, "web", "schema", "1.0.0"), &["--set", "replicas=many"])
    }),
    case("chart for another Kubernetes", |place| chart(place, "web", "old", "1.0.0")),
    case("record that is too large for Helm", |place| chart(place, "web", "large", "1.0.0")),
    case("pod that never gets ready", |place| chart(place, "web", "hello", "2.0.0")),
    Case {
        objects: nothing,
        ..case("template that cannot be read", |place| chart(place, "web", "broken", "1.0.0"))
    },
];
