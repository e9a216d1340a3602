//! Comparing the chart version asked for with the one Flux names, and telling a tag from a range.

use regex::Regex;
use semver::{BuildMetadata, Version};
use std::sync::LazyLock;

/// Ranges of versions as Helm and Flux write them: comparisons with up to three numbers, `x` for any of them, joined by
/// blanks, commas, `||` or ` - `.
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    const PART: &str = r"(?:[=!<>]=?|=[<>]|~>?|\^)?\s*v?(?:[0-9]+|[xX*])(?:\.(?:[0-9]+|[xX*])){0,2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?";
    Regex::new(&format!(r"^{PART}(?:(?:\s*\|\|\s*|\s*,\s*|\s+-\s+|\s+){PART})*$"))
        .expect("the pattern compiles")
});

/// Returns `true` if a registry has to look for a version among its tags, as Helm does for anything but a whole version:
/// `1.x`, `^1.0.0`, `1.1`, `=1.1.0`, and `v1.1.0`, which may be tagged with and without the letter.
pub fn is_range(text: &str) -> bool {
    Version::parse(text).is_err() && RANGE.is_match(text)
}

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
    fn ranges_are_told_from_whole_versions_and_tags() {
        for range in [
            "1.x",
            "*",
            "^1.0.0",
            "~1.2",
            ">=1.0.0 <2.0.0",
            ">=1.0.0, <2",
            "1.2 - 1.4",
            "1.0.x || 2.x",
            "1.1",
            "1",
            "v1.1.0",
            "=v1.1.0",
            "= 1.1.0",
        ] {
            assert!(is_range(range), "{range}");
        }
        for tag in [
            "1.1.0",
            "1.1.0-rc.1",
            "1.1.0+b1",
            "latest",
            "main-20240101",
            "sha256:ab",
            "v1.1.0@sha256:ab",
            "",
        ] {
            assert!(!is_range(tag), "{tag}");
        }
    }

    #[test]
    fn a_revision_has_a_digest_and_maybe_a_tag() {
        assert_eq!(split_revision("1.0.0@sha256:ab"), (Some("1.0.0"), "sha256:ab"));
        assert_eq!(split_revision("sha256:ab"), (None, "sha256:ab"));
        assert_eq!(tag_of("1.0.0+b1"), "1.0.0_b1");
    }
}
