//! What people can change of an object beside its spec and data.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vworkspace_core::canonical::sha256_hex;

/// A digest of labels and annotations. Somebody who changes one of a Cluster, or of its credentials Secret, asks the
/// operator to try again what was rejected (contract, section 4).
pub fn marks(metadata: &ObjectMeta) -> String {
    // Maps of text are always JSON.
    let text = serde_json::to_vec(&(&metadata.labels, &metadata.annotations)).unwrap_or_default();
    sha256_hex(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_differ_when_an_annotation_or_a_label_does() {
        let map = || Some([("a".to_owned(), "b".to_owned())].into());
        let labelled = ObjectMeta { labels: map(), ..ObjectMeta::default() };
        let annotated = ObjectMeta { annotations: map(), ..ObjectMeta::default() };
        let written = ObjectMeta { resource_version: Some("2".to_owned()), ..ObjectMeta::default() };
        assert_ne!(marks(&labelled), marks(&annotated));
        assert_ne!(marks(&labelled), marks(&ObjectMeta::default()));
        assert_eq!(marks(&written), marks(&ObjectMeta::default()));
    }
}
