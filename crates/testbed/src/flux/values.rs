//! The values a release is rendered with: `valuesFrom` in order, then `values` over them.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Map, Value};

use super::Flux;
use super::objects::{HelmReleaseSpec, ValuesReference};
use super::store::sha256;

/// The key of a Secret or ConfigMap that holds values unless the reference names another.
const DEFAULT_KEY: &str = "values.yaml";

/// Resolved values.
pub(super) struct Values(Map<String, Value>);

impl Values {
    /// Resolves a release's values. The outer error is the cluster's, the inner one is for the release's status.
    pub(super) async fn of(
        flux: &Flux,
        namespace: &str,
        spec: &HelmReleaseSpec,
    ) -> anyhow::Result<Result<Self, String>> {
        let mut merged = Map::new();
        for reference in &spec.values_from {
            match referenced(flux, namespace, reference).await? {
                Ok(Some(values)) => merge(&mut merged, values),
                Ok(None) => {}
                Err(message) => return Ok(Err(message)),
            }
        }
        if let Some(Value::Object(inline)) = &spec.values {
            merge(&mut merged, inline.clone());
        }
        Ok(Ok(Self(merged)))
    }

    /// As a file for Helm. JSON is YAML.
    pub(super) fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        serde_json::to_vec(&self.0).context("write values")
    }

    /// Changes when the values do; that of no values is the digest of nothing.
    pub(super) fn digest(&self) -> anyhow::Result<String> {
        Ok(if self.0.is_empty() { sha256(b"") } else { sha256(&self.to_json()?) })
    }
}

/// The values behind one reference: `Ok(None)` when it is optional and not there.
async fn referenced(
    flux: &Flux,
    namespace: &str,
    reference: &ValuesReference,
) -> anyhow::Result<Result<Option<Map<String, Value>>, String>> {
    let ValuesReference { kind, name, values_key, target_path, optional } = reference;
    let key = values_key.as_deref().unwrap_or(DEFAULT_KEY);
    let complain = |why: String| {
        format!(
            "could not resolve {kind} chart values reference '{namespace}/{name}' with key '{key}': {why}"
        )
    };
    if target_path.is_some() {
        return Ok(Err(complain("targetPath is not served by the Flux stand-in".to_owned())));
    }
    let text = match kind.as_str() {
        "Secret" => flux.api::<Secret>(namespace).get_opt(name).await?.map(|secret| {
            let bytes = secret.data.unwrap_or_default().remove(key);
            bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())
        }),
        "ConfigMap" => flux
            .api::<ConfigMap>(namespace)
            .get_opt(name)
            .await?
            .map(|map| map.data.unwrap_or_default().remove(key)),
        other => return Ok(Err(complain(format!("unsupported kind {other}")))),
    };
    Ok(match text {
        Some(Some(text)) => parse(&text).map(Some).map_err(complain),
        None | Some(None) if *optional => Ok(None),
        None => Err(complain(format!("{}s \"{name}\" not found", kind.to_lowercase()))),
        Some(None) => Err(complain("missing key".to_owned())),
    })
}

/// The parser's own message may quote a Secret's content: it is not passed on.
fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("not a map of values".to_owned()),
        Err(_) => Err("not YAML".to_owned()),
    }
}

/// Lays `over` on `base`: maps are merged, everything else is replaced.
fn merge(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_values_win_and_maps_are_merged() {
        let mut base = parse("a: {x: 1, y: 2}\nlist: [1, 2]").unwrap();
        merge(&mut base, parse("a: {y: 3}\nlist: [4]").unwrap());
        assert_eq!(Value::Object(base), serde_json::json!({"a": {"x": 1, "y": 3}, "list": [4]}));
    }

    #[test]
    fn what_is_not_a_map_is_refused_without_being_quoted() {
        assert_eq!(parse("s3cret"), Err("not a map of values".to_owned()));
        assert_eq!(parse("{s3cret"), Err("not YAML".to_owned()));
        assert_eq!(parse(" \n"), Ok(Map::new()));
    }
}
