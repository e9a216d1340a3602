//! What a cluster would refuse, told at enqueue: a job that waits for a cluster that is away would fail days later.

use super::Error;
use serde_json::Value;
use std::sync::LazyLock;
use vworkspace_core::{canonical::sha256_hex, control::admission::AdmittedJob};
use vworkspace_protocol::{
    JobKind,
    headers::{SCHEMA_PREFIX, SECRETS_REFUSED},
};
use vworkspace_rules::{Broken, instance, schema, secret};

/// The capability of a cluster whose schema this server knows.
static KNOWN_SCHEMA: LazyLock<String> = LazyLock::new(|| {
    let digest: String = sha256_hex(schema::TEXT.as_bytes()).chars().take(SCHEMA_DIGITS).collect();
    format!("{SCHEMA_PREFIX}{digest}")
});
/// Digits of the digest that are announced.
const SCHEMA_DIGITS: usize = 16;
/// The API and kind that the rules are about.
const APPLICATION_INSTANCE: (&str, &str) = ("apps.vworkspace.io/v1alpha1", "ApplicationInstance");

/// Judges the ApplicationInstance that a job carries, if it carries one, as the cluster with these capabilities will.
///
/// Credentials in the address are refused for every cluster: they would stand in this server's database.
///
/// # Errors
/// All rules that are broken, by path.
pub fn check(job: &AdmittedJob, capabilities: &[String]) -> Result<(), Error> {
    // It was read before.
    let payload: Value = serde_json::from_str(job.payload()).unwrap_or_default();
    let Some(object) = application_instance(job.kind(), &payload) else { return Ok(()) };
    let can = |capability: &str| capabilities.iter().any(|one| one == capability);
    let mut broken: Vec<String> = match can(&KNOWN_SCHEMA) {
        true => instance::check(object).iter().map(Broken::to_string).collect(),
        false => instance::check_address(object).iter().map(Broken::to_string).collect(),
    };
    if can(SECRETS_REFUSED) {
        let secrets = secret::words(&secret::in_values(&object["spec"]["values"]));
        broken.extend(secrets.map(|words| format!("spec.{words}")));
    }
    if broken.is_empty() { Ok(()) } else { Err(Error::invalid(broken.join("; "))) }
}

fn application_instance<'a>(kind: &JobKind, payload: &'a Value) -> Option<&'a Value> {
    match kind {
        JobKind::Apply => {
            let is = (payload["apiVersion"].as_str()?, payload["kind"].as_str()?) == APPLICATION_INSTANCE;
            is.then_some(payload)
        }
        JobKind::Intent => payload.get("applicationInstance"),
        JobKind::Delete | JobKind::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vworkspace_core::control::admission;
    use vworkspace_protocol::admin::EnqueueJob;
    use vworkspace_transport::Refusal;

    fn told(spec: &Value, capabilities: &[&str]) -> String {
        let object = json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": "web", "namespace": "team"}, "spec": spec,
        });
        let intent = json!({"intent": "ensure-application-instance", "applicationInstance": object});
        let capabilities: Vec<_> = capabilities.iter().map(|one| (*one).to_owned()).collect();
        let judged = [("apply", object), ("intent", intent)].map(|(kind, payload)| {
            let job = admission::admit(EnqueueJob::new(kind, payload)).unwrap();
            check(&job, &capabilities).map_err(Refusal::from).err().map(|refusal| refusal.message)
        });
        assert_eq!(judged[0], judged[1]);
        judged[0].clone().unwrap_or_default()
    }

    fn spec(url: &str) -> Value {
        json!({
            "appRef": {"catalogId": "x"}, "release": {"name": "web", "namespace": "team"},
            "chart": {"sourceType": "helm", "url": url, "name": "hello", "version": "1.0.0"},
        })
    }

    #[test]
    fn schema_is_enforced_for_clusters_that_have_it() {
        let misspelt = json!({"vaules": {}});
        assert_eq!(told(&misspelt, &[]), "");
        assert_eq!(told(&misspelt, &["schema-0000000000000000"]), "");
        let words = told(&misspelt, &["status", &KNOWN_SCHEMA]);
        assert!(words.contains("spec.vaules is not a known member; did you mean values?"), "{words}");
        assert_eq!(told(&spec("https://c.example"), &[&KNOWN_SCHEMA]), "");
    }

    #[test]
    fn credentials_in_an_address_are_refused_for_every_cluster() {
        for capabilities in [&[][..], &[KNOWN_SCHEMA.as_str()]] {
            let words = told(&spec("https://user:hunter2@c.example"), capabilities);
            assert!(words.starts_with("spec.chart.url: ") && words.contains("chart.secretRef"), "{words}");
            assert!(!words.contains("hunter2"));
        }
    }

    #[test]
    fn secrets_in_values_are_refused_for_clusters_that_refuse_them() {
        let mut exposed = spec("https://c.example");
        exposed["values"] = json!({"source": "inline", "inline": {"password": "hunter2"}});
        assert_eq!(told(&exposed, &[]), "");
        let words = told(&exposed, &[SECRETS_REFUSED]);
        assert!(words.starts_with("spec.values.inline.password looks like a secret"), "{words}");
        assert!(!words.contains("hunter2"));
    }
}
