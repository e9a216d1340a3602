//! Values given as texts: what our rules say of them, and the Secret in which they reach Helm unread. Pure.
//!
//! Helm alone decides what a text means.

use super::validate::{Managed, Refusal};
use crate::flux::written::ValuesReference;
use aws_lc_rs::digest::{Context, SHA256};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt as _;
use vworkspace_crds::{
    ApplicationInstance,
    application_instance::{ValuesSource, ValuesText},
};
use vworkspace_values::text::MOST_BYTES;

/// Stands between the instance's name and the digest.
const INFIX: &str = "-values-";
/// Hex digits of the digest in the name.
const DIGITS: usize = 16;
/// Longest name of an object.
const MOST_NAME_BYTES: usize = 253;

/// Applies our rule: no more than fits into a Secret.
///
/// # Errors
/// The rule that is broken.
pub fn check(texts: &[ValuesText]) -> Result<(), Refusal> {
    let bytes = texts.iter().map(|text| text.text.len()).sum();
    if bytes > MOST_BYTES {
        return Err(Refusal::TextsTooLarge { bytes, most: MOST_BYTES });
    }
    Ok(())
}

/// The name of the Secret that the instance's texts need; `None` for other values.
pub fn secret_name(instance: &ApplicationInstance) -> Option<String> {
    let values = instance.spec.values.as_ref().filter(|values| values.source == ValuesSource::Text)?;
    Some(name(instance, values.texts.as_deref()?))
}

/// The digest covers the instance's uid: another life of the instance never meets a Secret that is about to go.
fn name(instance: &ApplicationInstance, texts: &[ValuesText]) -> String {
    let mut digest = Context::new(&SHA256);
    let uid = instance.uid().unwrap_or_default();
    for part in std::iter::once(uid.as_str()).chain(texts.iter().map(|text| text.text.as_str())) {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let digest: String = hex::encode(digest.finish()).chars().take(DIGITS).collect();
    let instance = instance.name_any();
    let most = MOST_NAME_BYTES - INFIX.len() - DIGITS;
    let kept = instance.get(..most).unwrap_or(&instance).trim_end_matches(['-', '.']);
    format!("{kept}{INFIX}{digest}")
}

/// Key of the text at `index`.
fn key(index: usize) -> String {
    format!("values-{index:03}")
}

/// The Secret that holds the texts; `metadata` is that of every object we make.
pub fn secret(
    managed: &Managed<'_>,
    texts: &[ValuesText],
    metadata: impl FnOnce(&str) -> ObjectMeta,
) -> Secret {
    let data =
        texts.iter().enumerate().map(|(index, text)| (key(index), ByteString(text.text.clone().into())));
    Secret {
        metadata: metadata(&name(managed.instance, texts)),
        data: Some(data.collect()),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// How the HelmRelease refers to the texts, in order.
pub fn references(managed: &Managed<'_>, texts: &[ValuesText]) -> Vec<ValuesReference> {
    let name = name(managed.instance, texts);
    let reference = |(index, text): (usize, &ValuesText)| ValuesReference {
        kind: "Secret",
        name: name.clone(),
        values_key: key(index),
        target_path: text.target_path.clone(),
        literal: text.literal && text.target_path.is_some(),
    };
    texts.iter().enumerate().map(reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instance(name: &str, uid: &str, texts: &[&str]) -> ApplicationInstance {
        let texts: Vec<_> = texts.iter().map(|text| json!({ "text": text })).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "team", "uid": uid},
            "spec": {"appRef": {"catalogId": "x"}, "values": {"source": "text", "texts": texts}},
        }))
        .unwrap()
    }

    fn text(text: &str) -> ValuesText {
        ValuesText { text: text.to_owned(), ..ValuesText::default() }
    }

    #[test]
    fn secret_name_follows_content_and_uid() {
        let name = |uid: &str, texts: &[&str]| secret_name(&instance("web", uid, texts)).unwrap();
        let first = name("u", &["a: 1"]);
        assert!(first.starts_with("web-values-") && first.len() == "web-values-".len() + 16, "{first}");
        assert_eq!(first, name("u", &["a: 1"]));
        for other in
            [name("u", &["a: 2"]), name("v", &["a: 1"]), name("u", &["a: 1", ""]), name("u", &["a:", " 1"])]
        {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn secret_name_of_a_long_instance_is_a_name() {
        let long = format!("{}.{}", "a".repeat(228), "b".repeat(20));
        let name = secret_name(&instance(&long, "u", &["a: 1"])).unwrap();
        assert!(
            name.len() <= 253 && name.contains("a-values-") && vworkspace_crds::key::is_name(&name),
            "{name}"
        );
    }

    #[test]
    fn texts_over_the_bound_are_refused_with_both_numbers() {
        let large = text(&format!("a: {}", "x".repeat(MOST_BYTES)));
        let refusal = check(&[large]).unwrap_err().to_string();
        assert!(refusal.contains("524291") && refusal.contains("524288"), "{refusal}");
    }
}
