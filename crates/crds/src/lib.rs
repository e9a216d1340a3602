//! The words in the cluster: custom resources, labels and annotations.
//!
//! Field names, enums, short names and printer columns are those of the v1 reference (reference contract,
//! section 6); static rules are CEL in the schema, so that the API server enforces them with no webhook running
//! (contract, section 5).

pub mod application_instance;
pub mod cluster;
pub mod key;
pub mod operation;

pub use application_instance::ApplicationInstance;
pub use cluster::Cluster;
pub use operation::Operation;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use schemars::{Schema, json_schema};
use serde_json::Value;

/// Our three definitions, as they are installed.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    [ApplicationInstance::crd(), Operation::crd(), Cluster::crd()]
}

/// What the schema of an ApplicationInstance asks of a payload, as `vworkspace-rules` reads it: without descriptions and
/// status.
pub fn application_instance_rules() -> Value {
    let definition = serde_json::to_value(ApplicationInstance::crd()).unwrap_or_default();
    let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    if let Some(members) = schema["properties"].as_object_mut() {
        members.remove("status");
    }
    drop_descriptions(&mut schema);
    schema
}

/// A member of that name has an object as its schema, a description is a text.
fn drop_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.retain(|name, value| name != "description" || !value.is_string());
            members.values_mut().for_each(drop_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_descriptions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Places in the specs of our kinds whose members are the user's own: a job's object holds there what it was sent, and
/// nothing more (contract, section 2).
pub fn free_form(kind: &str) -> &'static [&'static [&'static str]] {
    match kind {
        "ApplicationInstance" => &[&["spec", "values", "inline"]],
        "Operation" => &[&["spec", "parameters"]],
        _ => &[],
    }
}

/// An object whose members are the user's own.
///
/// It has one owner: server-side apply replaces it as a whole. Merged member by member, an emptied `{}` would become
/// `null`, and members of other field managers would stay.
fn preserved_object(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// `status.conditions`: a list-map keyed by `type`, so that two managers can own different conditions.
fn conditions(generator: &mut schemars::SchemaGenerator) -> Schema {
    let condition =
        <k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as schemars::JsonSchema>::json_schema(
            generator,
        );
    json_schema!({
        "type": "array",
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}
