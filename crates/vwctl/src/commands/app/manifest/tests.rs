use super::*;

fn file(text: &str, namespace: Option<&str>) -> Result<Value, Error> {
    from_text(text, Path::new("app.yaml"), namespace)
}

const WEB: &str =
    "apiVersion: apps.vworkspace.io/v1alpha1\nkind: ApplicationInstance\nmetadata:\n  name: web\n";

#[test]
fn flags_become_the_full_object() {
    let object = build(Wanted {
        name: "web".to_owned(),
        namespace: "demo".to_owned(),
        catalog_id: None,
        chart: Chart {
            chart_type: ChartType::Oci,
            url: "oci://registry.example/charts".to_owned(),
            name: "hello".to_owned(),
            version: "1.0.0".to_owned(),
            insecure: false,
            secret: Some("registry".to_owned()),
        },
        timeout: Some("10m".to_owned()),
        values: Some(Values::Secret("web-values/values.yaml".parse().unwrap())),
    });
    let spec = &object["spec"];
    assert_eq!(object["metadata"], json!({ "name": "web", "namespace": "demo" }));
    assert_eq!(spec["appRef"]["catalogId"], "hello");
    assert_eq!(spec["chart"]["sourceType"], "oci");
    assert_eq!(spec["chart"]["secretRef"], json!({ "name": "registry" }));
    assert!(check(&object, false).is_ok());
    assert_eq!(spec["release"], json!({ "name": "web", "namespace": "demo", "timeout": "10m" }));
    let key = json!({ "name": "web-values", "key": "values.yaml" });
    assert_eq!(spec["values"], json!({ "source": "secretRef", "secretRef": key }));
}

#[test]
fn the_url_says_the_type_and_for_a_registry_the_name() {
    assert_eq!(chart_type("oci://r.example/charts/hello"), ChartType::Oci);
    assert_eq!(chart_type("OCI://r.example/charts/hello"), ChartType::Oci);
    assert_eq!(chart_name(ChartType::Oci, "OCI://r.example/charts/hello").as_deref(), Some("hello"));
    assert_eq!(chart_type("https://charts.example"), ChartType::Helm);
    assert_eq!(chart_name(ChartType::Oci, "oci://r.example/charts/hello/").as_deref(), Some("hello"));
    assert_eq!(chart_name(ChartType::Helm, "https://charts.example/hello"), None);
}

#[test]
fn a_key_reference_has_exactly_two_parts() {
    assert!("name/key".parse::<KeyRef>().is_ok());
    for wrong in ["", "name", "/key", "name/", "a/b/c"] {
        assert!(wrong.parse::<KeyRef>().is_err(), "{wrong}");
    }
}

#[test]
fn a_file_without_a_namespace_takes_the_flag_and_one_with_another_is_refused() {
    assert_eq!(file(WEB, Some("demo")).unwrap()["metadata"]["namespace"], "demo");
    assert!(file(WEB, None).is_err());
    let placed = format!("{WEB}  namespace: other\n");
    assert_eq!(file(&placed, None).unwrap()["metadata"]["namespace"], "other");
    assert!(file(&placed, Some("demo")).is_err());
}

#[test]
fn a_file_that_holds_something_else_is_refused() {
    for wrong in [
        "",
        "[]",
        "kind: Secret",
        ": :",
        "apiVersion: apps.vworkspace.io/v1alpha1\nkind: ApplicationInstance",
    ] {
        assert!(file(wrong, Some("demo")).is_err(), "{wrong}");
    }
}

#[test]
fn a_name_that_yaml_takes_for_something_else_is_to_be_quoted() {
    for name in ["42", "true", "[web]"] {
        let told = file(&WEB.replace("web", name), Some("demo")).unwrap_err().to_string();
        assert!(told.ends_with("metadata.name is not a string; quote it"), "{told}");
    }
    assert!(file(&WEB.replace("web", "'42'"), Some("demo")).is_ok());
    let told = file(&format!("{WEB}  namespace: 7\n"), Some("demo")).unwrap_err().to_string();
    assert!(told.ends_with("metadata.namespace is not a string; quote it"), "{told}");
    assert!(file(&WEB.replace("web", "''"), Some("demo")).unwrap_err().to_string().ends_with("is missing"));
}

#[test]
fn a_fault_of_yaml_is_not_taken_for_a_wrong_object() {
    let broken = "a: \"open";
    assert!(matches!(file(broken, None), Err(Error::Yaml { .. })));
}

#[test]
fn a_file_is_read_as_kubectl_reads_it() {
    let values = "spec: {values: {source: inline, inline: {mode: 0440, on: 1, big: 9007199254740993}}}\n";
    let object = file(&format!("{WEB}  namespace: demo\n{values}"), None).unwrap();
    let expected = json!({"mode": 288, "true": 1, "big": 9_007_199_254_740_993_i64});
    assert_eq!(object["spec"]["values"]["inline"], expected);
}

fn web(url: &str, values: &Value) -> Value {
    let chart = json!({ "sourceType": "helm", "url": url, "name": "hello", "version": "1.0.0" });
    let release = json!({ "name": "web", "namespace": "demo" });
    let spec =
        json!({ "appRef": { "catalogId": "hello" }, "chart": chart, "release": release, "values": values });
    json!({ "metadata": { "name": "web", "namespace": "demo" }, "spec": spec })
}

#[test]
fn credentials_in_an_address_never_travel() {
    let exposed = web("https://user:hunter2@c.example", &Value::Null);
    for is_trusted in [false, true] {
        let error = check(&exposed, is_trusted).unwrap_err();
        let words = format!("{error} {}", error.hint());
        assert!(words.contains("spec.chart.url") && words.contains("--chart-secret"), "{words}");
        assert!(words.contains("kubectl create secret generic web-chart --namespace demo"), "{words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
}

#[test]
fn secrets_in_values_travel_only_where_that_is_asked_for() {
    let exposed =
        web("https://c.example", &json!({ "source": "text", "texts": [{ "text": "password: hunter2" }] }));
    let error = check(&exposed, false).unwrap_err();
    let words = format!("{error} {}", error.hint());
    assert!(words.contains("values.texts[0].password") && words.contains("--values-secret"), "{words}");
    assert!(!words.contains("hunter2"), "{words}");
    assert!(check(&exposed, true).is_ok());
}

#[test]
fn faults_are_named_by_path_unless_nobody_asks() {
    let mut wrong = web("charts.example", &Value::Null);
    wrong["metadata"]["name"] = json!("My-App");
    wrong["spec"]["vaules"] = json!({});
    let error = check(&wrong, false).unwrap_err();
    let words = error.to_string();
    for path in [
        "metadata.name is \"My-App\"",
        "spec.vaules is not a known member",
        "spec.chart: chart.url of a helm source",
    ] {
        assert!(words.contains(path), "{words}");
    }
    assert!(error.hint().contains("--no-validate"));
    assert!(check(&wrong, true).is_ok());
}
