//! The ApplicationInstance that a command line or a file asks for. Pure.

use super::{KIND, deploy::ChartType};
use crate::{Error, yaml};
use serde_json::{Value, json};
use std::{path::Path, str::FromStr};
use vworkspace_rules::{instance, secret};

/// Group and version of [`KIND`].
const API_VERSION: &str = "apps.vworkspace.io/v1alpha1";

/// What the flags say.
pub(super) struct Wanted {
    pub name: String,
    pub namespace: String,
    pub catalog_id: Option<String>,
    pub chart: Chart,
    pub timeout: Option<String>,
    pub values: Option<Values>,
}

/// Where the chart comes from.
pub(super) struct Chart {
    pub chart_type: ChartType,
    pub url: String,
    pub name: String,
    pub version: String,
    pub insecure: bool,
    pub secret: Option<String>,
}

/// Where its values come from.
pub(super) enum Values {
    /// `spec.values` as it is.
    Given(Value),
    Secret(KeyRef),
    ConfigMap(KeyRef),
}

/// A key of a Secret or ConfigMap, written `NAME/KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRef {
    name: String,
    key: String,
}

impl FromStr for KeyRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((name, key)) if !name.is_empty() && !key.is_empty() && !key.contains('/') => {
                Ok(Self { name: name.to_owned(), key: key.to_owned() })
            }
            _ => Err("write NAME/KEY, for example web-values/values.yaml"),
        }
    }
}

/// The type of source a URL speaks of.
pub(super) fn chart_type(url: &str) -> ChartType {
    if path_of_registry(url).is_some() { ChartType::Oci } else { ChartType::Helm }
}

/// What stands after the scheme of a registry, in capitals or not.
fn path_of_registry(url: &str) -> Option<&str> {
    const SCHEME: &str = "oci://";
    let (scheme, path) = url.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(path)
}

/// The name of the chart, where the URL says it.
pub(super) fn chart_name(chart_type: ChartType, url: &str) -> Option<String> {
    let path = path_of_registry(url).unwrap_or(url).trim_end_matches('/');
    let (_, name) = path.rsplit_once('/').filter(|_| chart_type == ChartType::Oci)?;
    Some(name.to_owned())
}

/// The full object.
pub(super) fn build(wanted: Wanted) -> Value {
    let Wanted { name, namespace, catalog_id, chart, timeout, values } = wanted;
    let mut release = json!({ "name": name, "namespace": namespace });
    if let Some(timeout) = timeout {
        release["timeout"] = timeout.into();
    }
    let mut spec = json!({
        "appRef": { "catalogId": catalog_id.unwrap_or_else(|| chart.name.clone()) },
        "chart": {
            "sourceType": match chart.chart_type { ChartType::Helm => "helm", ChartType::Oci => "oci" },
            "url": chart.url,
            "name": chart.name,
            "version": chart.version,
            "insecure": chart.insecure,
        },
        "release": release,
    });
    if let Some(secret) = chart.secret {
        spec["chart"]["secretRef"] = json!({ "name": secret });
    }
    if let Some(values) = values {
        spec["values"] = values.into_json();
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

impl Values {
    fn into_json(self) -> Value {
        let key_ref = |of: KeyRef| json!({ "name": of.name, "key": of.key });
        match self {
            Self::Given(values) => values,
            Self::Secret(of) => json!({ "source": "secretRef", "secretRef": key_ref(of) }),
            Self::ConfigMap(of) => json!({ "source": "configMapRef", "configMapRef": key_ref(of) }),
        }
    }
}

/// Refuses what control plane and cluster would refuse. Credentials in an address never travel; everything else does where
/// `is_trusted` says so.
pub(super) fn check(object: &Value, is_trusted: bool) -> Result<(), Error> {
    let text = |member: &str| object["metadata"][member].as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text("name"), text("namespace"));
    if instance::check_address(object).is_some() {
        return Err(Error::CredentialsInUrl { name, namespace });
    }
    if is_trusted {
        return Ok(());
    }
    let faults = instance::check(object);
    if !faults.is_empty() {
        return Err(Error::Invalid { faults });
    }
    match secret::words(&secret::in_values(&object["spec"]["values"])) {
        Some(words) => Err(Error::SecretsInValues { words, name, namespace }),
        None => Ok(()),
    }
}

/// The object in a file, read as `kubectl` reads it. A namespace is added where it has none; everything else is the control plane's and the
/// cluster's to judge.
pub(super) fn from_text(text: &str, path: &Path, namespace: Option<&str>) -> Result<Value, Error> {
    let wrong = |detail: String| Error::Manifest { path: path.to_owned(), detail };
    let mut object = match vworkspace_values::yaml::read_object(text) {
        Ok(object) => Value::Object(object),
        Err(fault) => {
            // Says more about a fault, where it finds one.
            yaml::read(text, path)?;
            return Err(wrong(fault.to_string()));
        }
    };
    if object["apiVersion"] != API_VERSION || object["kind"] != KIND {
        return Err(wrong(format!("apiVersion is not {API_VERSION} or kind is not {KIND}")));
    }
    if metadata(&object, "name").map_err(wrong)?.is_empty() {
        return Err(wrong("metadata.name is missing".to_owned()));
    }
    let own = metadata(&object, "namespace").map_err(wrong)?;
    match namespace {
        Some(namespace) if own.is_empty() => object["metadata"]["namespace"] = namespace.into(),
        Some(namespace) if own != namespace => {
            return Err(wrong(format!("metadata.namespace is {own}, but --namespace says {namespace}")));
        }
        None if own.is_empty() => return Err(wrong("metadata.namespace is missing".to_owned())),
        _ => {}
    }
    Ok(object)
}

/// A text below `metadata`; empty where it is not there. YAML takes `name: 42` for a number.
fn metadata<'a>(object: &'a Value, member: &str) -> Result<&'a str, String> {
    match &object["metadata"][member] {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text),
        _ => Err(format!("metadata.{member} is not a string; quote it")),
    }
}

#[cfg(test)]
mod tests;
