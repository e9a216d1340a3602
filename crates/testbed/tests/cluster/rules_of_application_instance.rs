//! Static rules of ApplicationInstance, enforced by the API server with no webhook running.

use crate::objects::{Specs, expect, with};
use serde_json::{Value, json};
use vworkspace_rules::{address, instance};

async fn instances() -> (Specs, Value) {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let namespace = testbed.namespace("rules").await;
    let specs = Specs::namespaced(testbed.admin(), "apps.vworkspace.io", "ApplicationInstance", &namespace);
    let managed = json!({
        "appRef": { "catalogId": "hello" },
        "chart": { "sourceType": "helm", "url": "https://charts.example", "name": "hello", "version": "1.0.0" },
        "release": { "name": "hello", "namespace": namespace },
    });
    (specs, managed)
}

const INCOMPLETE: &str = "a managed instance needs spec.chart and spec.release";
const NOT_EMPTY: &str = "a placeholder has neither spec.chart nor spec.values";
const NOT_HTTP: &str = "chart.url of a helm source starts with https:// or http://";
const NOT_OCI: &str = "chart.url of an oci source starts with oci:// or has no scheme";
const MEMBERS: &str = "values need exactly the member that values.source names";

#[tokio::test]
async fn what_may_be_made() {
    // size: one table of cases.
    let (specs, managed) = instances().await;
    let key = json!({ "name": "settings", "key": "values.yaml" });
    let placeholder = json!({ "mode": "placeholder", "chart": null });
    let metadata = json!({ "name": "tried", "namespace": managed["release"]["namespace"] });
    let cases = [
        ("as it is", json!({}), None),
        ("helm over plain http", json!({ "chart": { "url": "http://charts.example" } }), None),
        ("helm without a scheme", json!({ "chart": { "url": "charts.example" } }), Some(NOT_HTTP)),
        (
            "helm with the registry's scheme",
            json!({ "chart": { "url": "oci://r.example/x" } }),
            Some(NOT_HTTP),
        ),
        (
            "oci with its scheme",
            json!({ "chart": { "sourceType": "oci", "url": "oci://r.example/x" } }),
            None,
        ),
        ("oci without a scheme", json!({ "chart": { "sourceType": "oci", "url": "r.example/x" } }), None),
        ("an unknown source", json!({ "chart": { "sourceType": "git" } }), Some("spec.chart.sourceType")),
        (
            "oci with another scheme",
            json!({ "chart": { "sourceType": "oci", "url": "https://r.example/x" } }),
            Some(NOT_OCI),
        ),
        (
            "credentials in the address",
            json!({ "chart": { "url": "https://user:pw@charts.example" } }),
            Some(address::NO_CREDENTIALS_MESSAGE),
        ),
        (
            "credentials in an address without a scheme",
            json!({ "chart": { "sourceType": "oci", "url": "user%3Apw%40r.example/x" } }),
            Some(address::NO_CREDENTIALS_MESSAGE),
        ),
        (
            "a token in the address",
            json!({ "chart": { "url": "https://charts.example/x?a=1&private_token=pw" } }),
            Some(address::NO_CREDENTIALS_MESSAGE),
        ),
        (
            "an archive",
            json!({ "chart": { "url": "https://charts.example/hello-1.0.0.TGZ" } }),
            Some(address::NO_FILE_MESSAGE),
        ),
        (
            "an index",
            json!({ "chart": { "url": "https://charts.example/index.yaml?a=1" } }),
            Some(address::NO_FILE_MESSAGE),
        ),
        ("a Secret of the source", json!({ "chart": { "secretRef": { "name": "a.b" } } }), None),
        (
            "a Secret of the source without a name",
            json!({ "chart": { "secretRef": { "name": "A" } } }),
            Some("spec.chart.secretRef.name"),
        ),
        ("a path as chart name", json!({ "chart": { "name": "./hello" } }), Some("spec.chart.name")),
        ("a chart name with capitals", json!({ "chart": { "name": "Hello" } }), Some("spec.chart.name")),
        (
            "a release's namespace that is none",
            json!({ "release": { "namespace": "NS_bad" } }),
            Some("spec.release.namespace"),
        ),
        ("no chart name", json!({ "chart": { "name": "" } }), Some("spec.chart.name")),
        ("no chart version", json!({ "chart": { "version": null } }), Some("spec.chart.version")),
        ("no chart", json!({ "chart": null }), Some(INCOMPLETE)),
        ("no release", json!({ "release": null }), Some(INCOMPLETE)),
        (
            "the one catalog entry that brings its own",
            json!({ "appRef": { "catalogId": "seaweedfs" }, "chart": null, "release": null }),
            None,
        ),
        ("no entry of the catalog", json!({ "appRef": null }), Some("spec.appRef")),
        (
            "an empty entry of the catalog",
            json!({ "appRef": { "catalogId": "" } }),
            Some("spec.appRef.catalogId"),
        ),
        ("an unknown mode", json!({ "mode": "automatic" }), Some("spec.mode")),
        ("a placeholder", placeholder.clone(), None),
        ("a placeholder without a release", placeholder.merged(&json!({ "release": null })), None),
        ("a placeholder with a chart", json!({ "mode": "placeholder" }), Some(NOT_EMPTY)),
        (
            "a placeholder with values",
            placeholder.merged(&json!({ "values": { "source": "inline", "inline": {} } })),
            Some(NOT_EMPTY),
        ),
        ("a release of 53 characters", json!({ "release": { "name": "a".repeat(53) } }), None),
        (
            "a release of 54 characters",
            json!({ "release": { "name": "a".repeat(54) } }),
            Some("spec.release.name"),
        ),
        ("a release that is no label", json!({ "release": { "name": "Hello" } }), Some("spec.release.name")),
        ("a timeout of several parts", json!({ "release": { "timeout": "1h30m" } }), None),
        (
            "a timeout in words",
            json!({ "release": { "timeout": "5 minutes" } }),
            Some("spec.release.timeout"),
        ),
        ("inline values", json!({ "values": { "source": "inline", "inline": { "replicas": 1 } } }), None),
        ("values of a Secret", json!({ "values": { "source": "secretRef", "secretRef": key } }), None),
        (
            "values of a ConfigMap",
            json!({ "values": { "source": "configMapRef", "configMapRef": key } }),
            None,
        ),
        (
            "values of texts",
            json!({ "values": { "source": "text", "texts": [
                { "text": "a: 0440" }, { "text": "x", "targetPath": "a.b\\.c[0]/d", "literal": true },
            ] } }),
            None,
        ),
        ("no text", json!({ "values": { "source": "text", "texts": [] } }), Some("spec.values.texts")),
        (
            "a text for a path that Flux does not take",
            json!({ "values": { "source": "text", "texts": [{ "text": "x", "targetPath": "a b" }] } }),
            Some("targetPath"),
        ),
        (
            "texts beside inline values",
            json!({ "values": { "source": "text", "texts": [{ "text": "x" }], "inline": {} } }),
            Some(MEMBERS),
        ),
        ("values of nothing", json!({ "values": { "source": "inline" } }), Some(MEMBERS)),
        (
            "values of another member",
            json!({ "values": { "source": "secretRef", "configMapRef": key } }),
            Some(MEMBERS),
        ),
        (
            "values of two members",
            json!({ "values": { "source": "secretRef", "secretRef": key, "inline": {} } }),
            Some(MEMBERS),
        ),
        (
            "values of an unknown source",
            json!({ "values": { "source": "file" } }),
            Some("spec.values.source"),
        ),
        (
            "a Secret without its key",
            json!({ "values": { "source": "secretRef", "secretRef": { "name": "s" } } }),
            Some("secretRef.key"),
        ),
    ];
    for (case, change, refusal) in cases {
        // A `null` in `change` means "absent": the merge removes it.
        let spec = with(&managed, &change);
        expect(case, specs.verdict(&spec).await, refusal);
        // Command line and control plane judge alike, before it travels.
        let faults = instance::check(&json!({ "metadata": metadata, "spec": spec }));
        assert_eq!(faults.is_empty(), refusal.is_none(), "{case}: {faults:?}");
    }
}

#[tokio::test]
async fn an_explicit_null_counts_as_absent() {
    let (specs, managed) = instances().await;
    let mut without_chart = managed.clone();
    without_chart["chart"] = Value::Null;
    expect("managed, chart null", specs.verdict(&without_chart).await, Some(INCOMPLETE));
    without_chart["mode"] = json!("placeholder");
    without_chart["values"] = Value::Null;
    expect("placeholder, chart and values null", specs.verdict(&without_chart).await, None);
}

#[tokio::test]
async fn what_may_be_changed() {
    let (specs, managed) = instances().await;
    specs.make("managed", &managed).await;
    let placeholder = with(&managed, &json!({ "mode": "placeholder", "chart": null }));
    specs.make("placeholder", &placeholder).await;
    let immutable = "release.name and release.namespace cannot change";
    let chart = managed["chart"].clone();
    let cases = [
        ("managed", "nothing", json!({}), None),
        ("managed", "the version", json!({ "chart": { "version": "1.1.0" } }), None),
        ("managed", "the values", json!({ "values": { "source": "inline", "inline": {} } }), None),
        ("managed", "the timeout", json!({ "release": { "timeout": "1m" } }), None),
        ("managed", "the release's name", json!({ "release": { "name": "other" } }), Some(immutable)),
        (
            "managed",
            "the release's namespace",
            json!({ "release": { "namespace": "other" } }),
            Some(immutable),
        ),
        (
            "managed",
            "away with the release",
            json!({ "release": null }),
            Some("spec.release cannot be removed"),
        ),
        (
            "managed",
            "into a placeholder",
            json!({ "mode": "placeholder", "chart": null }),
            Some("a managed instance cannot become a placeholder"),
        ),
        ("placeholder", "into a managed one", json!({ "mode": "managed", "chart": chart }), None),
        ("placeholder", "into a managed one without a chart", json!({ "mode": "managed" }), Some(INCOMPLETE)),
        ("placeholder", "the release's name", json!({ "release": { "name": "other" } }), Some(immutable)),
        (
            "placeholder",
            "away with the release",
            json!({ "release": null }),
            Some("spec.release cannot be removed"),
        ),
    ];
    for (name, case, change, refusal) in cases {
        expect(&format!("{name}: {case}"), specs.verdict_on_change(name, &change).await, refusal);
    }
}

#[tokio::test]
async fn inline_values_are_kept_as_they_are() {
    let (specs, managed) = instances().await;
    let values = json!({ "deep": { "list": [1, "two", { "three": null }], "flag": false } });
    let spec = with(&managed, &json!({ "values": { "source": "inline", "inline": {} } }));
    let mut spec = spec;
    spec["values"]["inline"] = values.clone();
    let kept = specs.verdict(&spec).await.unwrap();
    assert_eq!(kept.data["spec"]["values"]["inline"], values);
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let (specs, managed) = instances().await;
    let kept = specs.verdict(&managed).await.unwrap().data["spec"].clone();
    assert_eq!(kept["mode"], "managed");
    assert_eq!(kept["release"]["timeout"], "5m");
    assert_eq!(kept["chart"]["insecure"], false);
}

trait Merged {
    fn merged(&self, more: &Value) -> Value;
}

impl Merged for Value {
    /// Two changes as one: members of `more` are added, also its `null`s.
    fn merged(&self, more: &Value) -> Value {
        let mut all = self.clone();
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        all
    }
}
