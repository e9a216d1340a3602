//! The values a release is rendered with: `valuesFrom` in order, then `values` over them.
//!
//! What a text means is for the real Helm to say: documents go to it as files, values for a path as `--set`. Nothing here
//! reads YAML.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Map, Value};
use vworkspace_values::document;

use super::Flux;
use super::helm::{HelmFailure, ValuesInput};
use super::objects::{HelmReleaseSpec, ValuesReference};
use super::store::sha256;

/// The key of a Secret or ConfigMap that holds values unless the reference names another.
const DEFAULT_KEY: &str = "values.yaml";

/// Resolved values.
pub(super) struct Values {
    /// As Helm is given them for the release.
    inputs: Vec<ValuesInput>,
    /// What Helm makes of them.
    read: Map<String, Value>,
}

impl Values {
    /// Resolves a release's values. The outer error is the cluster's, the inner one is for the release's status.
    pub(super) async fn of(
        flux: &Flux,
        namespace: &str,
        spec: &HelmReleaseSpec,
    ) -> anyhow::Result<Result<Self, String>> {
        let inline = match &spec.values {
            Some(Value::Object(inline)) => inline.clone(),
            _ => Map::new(),
        };
        let mut inputs = Vec::new();
        for reference in &spec.values_from {
            match referenced(flux, namespace, reference).await? {
                Ok(input) => inputs.extend(input),
                Err(message) => return Ok(Err(message)),
            }
        }
        let is_inline_alone = inputs.is_empty();
        if !inline.is_empty() {
            inputs.push(ValuesInput::Document(serde_json::to_string(&inline)?));
        }
        if is_inline_alone {
            return Ok(Ok(Self { inputs, read: inline }));
        }
        Ok(match reduced(flux, inputs).await {
            Ok(values) => Ok(values),
            // Helm's own words may quote a Secret's content: they are not passed on.
            Err(_) => Err("could not resolve chart values: Helm cannot read what is referenced".to_owned()),
        })
    }

    /// As Helm is given them.
    pub(super) fn inputs(&self) -> &[ValuesInput] {
        &self.inputs
    }

    /// Changes when the values do; that of no values is the digest of nothing.
    pub(super) fn digest(&self) -> anyhow::Result<String> {
        let read = serde_json::to_vec(&self.read).context("write values")?;
        Ok(if self.read.is_empty() { sha256(b"") } else { sha256(&read) })
    }
}

/// Has Helm read all of it. Helm applies its flags kind by kind: what comes in another order is read in parts.
async fn reduced(flux: &Flux, inputs: Vec<ValuesInput>) -> Result<Values, HelmFailure> {
    let mut part: Vec<ValuesInput> = Vec::new();
    for input in inputs {
        if part.last().is_some_and(|last| last.rank() > input.rank()) {
            let read = flux.helm.values(flux.store.scratch(), &part).await?;
            part = vec![ValuesInput::Document(Value::Object(read).to_string())];
        }
        part.push(input);
    }
    let read = flux.helm.values(flux.store.scratch(), &part).await?;
    Ok(Values { inputs: part, read })
}

/// The values behind one reference: `Ok(None)` when it is optional and not there.
async fn referenced(
    flux: &Flux,
    namespace: &str,
    reference: &ValuesReference,
) -> anyhow::Result<Result<Option<ValuesInput>, String>> {
    let ValuesReference { kind, name, values_key, optional, .. } = reference;
    let key = values_key.as_deref().unwrap_or(DEFAULT_KEY);
    let complain = |why: String| {
        format!(
            "could not resolve {kind} chart values reference '{namespace}/{name}' with key '{key}': {why}"
        )
    };
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
        Some(Some(text)) => Ok(Some(input(reference, text))),
        None | Some(None) if *optional => Ok(None),
        None => Err(complain(format!("{}s \"{name}\" not found", kind.to_lowercase()))),
        Some(None) => Err(complain("missing key".to_owned())),
    })
}

/// A text as Flux uses it (facts 25 and 26 of the recordings).
fn input(reference: &ValuesReference, text: String) -> ValuesInput {
    let Some(path) = reference.target_path.clone().filter(|path| !path.is_empty()) else {
        return ValuesInput::Document(first_document(text));
    };
    if reference.literal {
        return ValuesInput::SetLiteral { path, value: text };
    }
    let is_quoted = ['"', '\''].iter().any(|quote| text.starts_with(*quote) && text.ends_with(*quote));
    if is_quoted {
        let value = text.trim_matches(['"', '\'']).to_owned();
        return ValuesInput::SetString { path, value };
    }
    ValuesInput::Set { path, value: text }
}

/// Flux reads one document, Helm all of a file. One that cannot be cut is left to Helm.
fn first_document(text: String) -> String {
    match document::split(&text) {
        Ok(documents) => documents.into_iter().next().map(|document| document.text).unwrap_or_default(),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(reference: &Value, text: &str) -> ValuesInput {
        let mut whole = json!({"kind": "Secret", "name": "v"});
        whole.as_object_mut().unwrap().extend(reference.as_object().unwrap().clone());
        input(&serde_json::from_value(whole).unwrap(), text.to_owned())
    }

    #[test]
    fn texts_are_used_as_flux_uses_them() {
        let (path, value) = ("a.b".to_owned(), "0440".to_owned());
        assert_eq!(read(&json!({}), "a: 1\n---\nb: 2\n"), ValuesInput::Document("a: 1\n".to_owned()));
        let set = json!({"targetPath": "a.b"});
        assert_eq!(read(&set, "0440"), ValuesInput::Set { path: path.clone(), value: value.clone() });
        let quoted = read(&set, "'0440'");
        assert_eq!(quoted, ValuesInput::SetString { path: path.clone(), value: value.clone() });
        let literal = read(&json!({"targetPath": "a.b", "literal": true}), "0440");
        assert_eq!(literal, ValuesInput::SetLiteral { path, value });
    }
}
