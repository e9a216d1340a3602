//! What should not be as it is, while what runs goes on: rules that became stricter judge changes only (contract, section
//! 2). Pure.

use super::{apply, running};
use crate::conditions;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use vworkspace_crds::{ApplicationInstance, application_instance::Chart};
use vworkspace_protocol::{
    ConditionStatus,
    condition::{reasons, types},
};
use vworkspace_rules::{address, redact, secret};

/// One thing to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Reason of the condition, if it is the first.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// All of them.
pub fn warnings(instance: &ApplicationInstance) -> Vec<Warning> {
    let of_url = instance.spec.chart.as_ref().filter(|chart| address::holds_credentials(&chart.url));
    let of_url = of_url.map(|_| Warning {
        reason: reasons::CREDENTIALS_IN_URL,
        message: address::NO_CREDENTIALS_MESSAGE.to_owned(),
    });
    let of_values = secrets(instance).map(|message| Warning { reason: reasons::SECRETS_IN_VALUES, message });
    of_url.into_iter().chain(of_values).collect()
}

/// Names the values that look like secrets, by path.
pub fn secrets(instance: &ApplicationInstance) -> Option<String> {
    let values = serde_json::to_value(instance.spec.values.as_ref()?).ok()?;
    secret::words(&secret::in_values(&values))
}

/// Whether the spec as it stands was installed already: a rule that became stricter does not judge it.
pub fn is_served(instance: &ApplicationInstance) -> bool {
    running::reported(instance).is_ready
}

/// Whether Flux was asked for a chart at this address before. The status shows it without credentials.
pub fn is_known(instance: &ApplicationInstance, chart: &Chart) -> bool {
    apply::requested(instance).is_some_and(|known| redact(&known.url) == redact(&chart.url))
}

/// Reports them in one condition, which is absent until there was one.
pub fn apply(conditions: &mut Vec<Condition>, warnings: &[Warning], generation: i64, now: Timestamp) {
    let is_reported = conditions.iter().any(|condition| condition.type_ == types::INSECURE);
    let messages: Vec<_> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    let (status, reason) = match warnings.first() {
        Some(warning) => (ConditionStatus::True, warning.reason),
        None if is_reported => (ConditionStatus::False, reasons::SECURED),
        None => return,
    };
    conditions::set(conditions, types::INSECURE, status, reason, &messages.join("; "), generation, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instance(url: &str, known: &str) -> ApplicationInstance {
        let chart =
            |url: &str| json!({"sourceType": "helm", "url": url, "name": "hello", "version": "1.0.0"});
        serde_json::from_value(json!({
            "metadata": {"name": "shop", "namespace": "team"},
            "spec": {"appRef": {"catalogId": "x"}, "chart": chart(url)},
            "status": {"lastAppliedChart": chart(known)},
        }))
        .unwrap()
    }

    #[test]
    fn credentials_in_the_address_are_a_warning_until_they_are_gone() {
        let told = |before: &[Condition], url: &str| {
            let mut conditions = before.to_vec();
            apply(&mut conditions, &warnings(&instance(url, url)), 1, Timestamp::UNIX_EPOCH);
            conditions
        };
        assert!(told(&[], "https://c.example").is_empty());
        let insecure = told(&[], "https://user:hunter2@c.example");
        assert_eq!((insecure[0].status.as_str(), insecure[0].reason.as_str()), ("True", "CredentialsInURL"));
        assert!(insecure[0].message.contains("chart.secretRef") && !insecure[0].message.contains("hunter2"));
        let secured = told(&insecure, "https://c.example");
        assert_eq!((secured[0].status.as_str(), secured[0].reason.as_str()), ("False", "Secured"));
    }

    #[test]
    fn secrets_in_values_are_a_warning_that_names_their_paths() {
        let mut instance = instance("https://c.example", "https://c.example");
        let texts = json!({"source": "text", "texts": [{"text": "password: hunter2\napiKey: 7\n"}]});
        instance.spec.values = serde_json::from_value(texts).unwrap();
        let warnings = warnings(&instance);
        let Warning { reason, message } = &warnings[0];
        assert_eq!((warnings.len(), *reason), (1, "SecretsInValues"));
        assert!(message.starts_with("values.texts[0].apiKey, values.texts[0].password look"), "{message}");
        assert!(message.contains("values.secretRef") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn address_is_known_with_and_without_its_credentials() {
        let url = "https://user:hunter2@c.example";
        for (known, is) in [(url, true), ("https://***@c.example", true), ("https://d.example", false)] {
            let instance = instance(url, known);
            assert_eq!(is_known(&instance, instance.spec.chart.as_ref().unwrap()), is, "{known}");
        }
    }
}
