use super::*;
use serde_json::json;

fn instance(spec: &serde_json::Value) -> ApplicationInstance {
    serde_json::from_value(json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1",
        "kind": "ApplicationInstance",
        "metadata": {"name": "shop", "namespace": "team"},
        "spec": spec,
    }))
    .unwrap()
}

fn spec() -> serde_json::Value {
    json!({
        "appRef": {"catalogId": "hello"},
        "chart": {"sourceType": "helm", "url": "https://charts.example", "name": "hello", "version": "1.0.0"},
        "release": {"name": "shop", "namespace": "team"},
    })
}

fn refusal(spec: &serde_json::Value) -> String {
    validate(&instance(spec), true, SecretsInValues::Warn).unwrap_err().to_string()
}

#[test]
fn a_plain_instance_is_fine() {
    let instance = instance(&spec());
    let Ok(Validated::Managed(managed)) = validate(&instance, true, SecretsInValues::Warn) else {
        unreachable!("refused")
    };
    assert_eq!(managed.release.timeout, "5m");
    assert!(matches!(managed.values, ChartValues::Default));
}

#[test]
fn a_closed_gate_comes_first() {
    let refusal =
        validate(&instance(&json!({"appRef": {"catalogId": "seaweedfs"}})), false, SecretsInValues::Warn)
            .unwrap_err();
    assert_eq!(refusal.rule(), "NamespaceNotGated");
}

#[test]
fn rules_hold_where_the_server_has_no_cel() {
    let mut elsewhere = spec();
    elsewhere["release"]["namespace"] = json!("other");
    assert!(refusal(&elsewhere).contains("not the instance's own namespace team"));

    let mut scheme = spec();
    scheme["chart"]["url"] = json!("oci://registry.example");
    assert!(refusal(&scheme).contains("https://"));

    let mut placeholder = spec();
    placeholder["mode"] = json!("placeholder");
    assert!(refusal(&placeholder).contains("neither"));

    assert!(refusal(&json!({"appRef": {"catalogId": "x"}})).contains("needs spec.chart"));

    let mut seaweed = spec();
    seaweed["appRef"]["catalogId"] = json!("seaweedfs");
    assert!(refusal(&seaweed).contains("not served"));

    let mut two = spec();
    two["values"] = json!({"source": "inline", "inline": {}, "secretRef": {"name": "a", "key": "b"}});
    assert!(refusal(&two).contains("exactly the member"));
}

#[test]
fn credentials_in_an_address_are_refused_unless_it_is_served_already() {
    let mut exposed = spec();
    exposed["chart"]["url"] = json!("https://user:hunter2@charts.example");
    let words = refusal(&exposed);
    assert!(words.contains("chart.secretRef") && !words.contains("hunter2"), "{words}");
    let mut served = instance(&exposed);
    served.status = serde_json::from_value(json!({"lastAppliedChart": exposed["chart"]})).unwrap();
    assert!(validate(&served, true, SecretsInValues::Warn).is_ok());
}

#[test]
fn values_under_a_name_that_is_none_are_refused_and_the_name_is_pointed_at() {
    for name in ["my values", "a/b", "Values"] {
        let mut unnamed = spec();
        unnamed["values"] = json!({"source": "secretRef", "secretRef": {"name": name, "key": "k"}});
        assert!(refusal(&unnamed).contains("values.secretRef.name"), "{name}");
        unnamed["values"] = json!({"source": "configMapRef", "configMapRef": {"name": name, "key": "k"}});
        assert!(refusal(&unnamed).contains("values.configMapRef.name"), "{name}");
    }
}

#[test]
fn secrets_in_values_are_refused_by_path_where_the_owner_says_so() {
    let mut secret = spec();
    secret["values"] = json!({"source": "inline", "inline": {"db": {"password": "hunter2"}}});
    let mut secret = instance(&secret);
    assert!(validate(&secret, true, SecretsInValues::Warn).is_ok());
    let refusal = validate(&secret, true, SecretsInValues::Refuse).unwrap_err();
    assert_eq!(refusal.rule(), "InlineSecretMaterialRejected");
    let words = refusal.to_string();
    assert!(words.contains("values.inline.db.password") && !words.contains("hunter2"), "{words}");
    // What runs goes on when the owner changes his mind.
    secret.metadata.generation = Some(2);
    let ready = json!([{"type": "Ready", "status": "True", "reason": "HelmReleaseReady", "message": "",
        "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    secret.status = serde_json::from_value(json!({"conditions": ready})).unwrap();
    assert!(validate(&secret, true, SecretsInValues::Refuse).is_ok());
}

#[test]
fn a_release_keeps_its_name_and_its_mode() {
    let mut renamed = instance(&spec());
    renamed.status =
        serde_json::from_value(json!({"helmReleaseRef": {"name": "old", "namespace": "team"}})).unwrap();
    assert!(
        validate(&renamed, true, SecretsInValues::Warn)
            .unwrap_err()
            .to_string()
            .contains("release.name was old")
    );
    renamed.spec.mode = Mode::Placeholder;
    assert!(
        validate(&renamed, true, SecretsInValues::Warn)
            .unwrap_err()
            .to_string()
            .contains("cannot become a placeholder")
    );
}
