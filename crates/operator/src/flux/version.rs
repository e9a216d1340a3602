//! Comparing the chart version asked for with the one Flux names.

use semver::{BuildMetadata, Version};

/// The version as three numbers and a pre-release, without build metadata; `None` for a range or a free-form tag.
///
/// Flux appends the digest of an OCI artifact as build metadata (fact 12), and charts may carry a leading `v`.
pub fn exact(text: &str) -> Option<Version> {
    let mut version = Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?;
    version.build = BuildMetadata::EMPTY;
    Some(version)
}

/// Whether two versions name the same chart; equal texts always do.
pub fn same(a: &str, b: &str) -> bool {
    a == b || matches!((exact(a), exact(b)), (Some(a), Some(b)) if a == b)
}

/// Splits an OCI revision `tag@digest`; a revision without a tag is all digest.
pub fn split_revision(revision: &str) -> (Option<&str>, &str) {
    match revision.split_once('@') {
        Some((tag, digest)) => (Some(tag), digest),
        None => (None, revision),
    }
}

/// The tag under which a registry keeps a version: `+` is not allowed there, and Helm writes `_` for it.
pub fn tag_of(version: &str) -> String {
    version.replace('+', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_metadata_and_a_leading_v_do_not_count() {
        assert!(same("1.0.0", "1.0.0+41afb7f0efcc"));
        assert!(same("v1.0.0", "1.0.0"));
        assert!(!same("1.0.0", "1.0.0-rc.1"));
        assert!(!same("1.0.0", "2.0.0"));
    }

    #[test]
    fn ranges_and_tags_are_not_exact() {
        for text in ["1.x", ">=1.0.0", "1.0", "latest", "*", ""] {
            assert_eq!(exact(text), None, "{text}");
        }
    }

    #[test]
    fn a_revision_has_a_digest_and_maybe_a_tag() {
        assert_eq!(split_revision("1.0.0@sha256:ab"), (Some("1.0.0"), "sha256:ab"));
        assert_eq!(split_revision("sha256:ab"), (None, "sha256:ab"));
        assert_eq!(tag_of("1.0.0+b1"), "1.0.0_b1");
    }
}
