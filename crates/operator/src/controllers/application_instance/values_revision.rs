//! The revision of referenced values: a keyed digest of the bytes that are used. Pure.
//!
//! The revision stands in an annotation of the HelmRelease, for everybody in the namespace to read. A plain digest would
//! let them try guesses of a password against it; this one takes a key that only the operator's own namespace holds.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

/// First part of a revision: how it was made.
const SCHEME: &str = "hmac-sha256";
/// Hex digits of the key's identity: enough to tell two keys apart, too few to say anything about one.
const ID_DIGITS: usize = 16;

/// Where referenced values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValuesAddress<'a> {
    /// `Secret` or `ConfigMap`.
    pub kind: &'a str,
    /// Namespace of the object.
    pub namespace: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// Key within it.
    pub key: &'a str,
}

/// The key of this cluster's revisions.
pub struct RevisionKey {
    key: Key,
    id: String,
}

/// What to do about a revision that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The release carries it already.
    Keep,
    /// Write it; Flux need not look.
    Write,
    /// Write it and ask Flux to read the values again.
    WriteAndRequest,
}

impl RevisionKey {
    /// Shortest key, in bytes.
    pub const LENGTH: usize = 32;

    /// A key of these bytes; `None` if they are too few.
    pub fn try_new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < Self::LENGTH {
            return None;
        }
        let key = Key::new(HMAC_SHA256, bytes);
        let id = hex::encode(sign(&key, b"vworkspace values key id")).chars().take(ID_DIGITS).collect();
        Some(Self { key, id })
    }

    /// The revision of the content at `address`. Equal content at another address has another revision, so that nobody
    /// learns which applications share a password.
    pub fn revision(&self, address: &ValuesAddress<'_>, content: &[u8]) -> String {
        let ValuesAddress { kind, namespace, name, key } = address;
        let mut message = Vec::with_capacity(content.len() + 256);
        for part in [kind.as_bytes(), namespace.as_bytes(), name.as_bytes(), key.as_bytes(), content] {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        format!("{SCHEME}:{}:{}", self.id, hex::encode(sign(&self.key, &message)))
    }
}

/// Compares the revision that a release carries with the present one.
///
/// A mark that was made otherwise (by an earlier version, which wrote the object's resourceVersion, or under a key that is
/// lost) says nothing about the content. It is replaced without a request: what runs is not disturbed, and if the content
/// did change meanwhile, Flux reads it at its interval.
pub fn mark(carried: Option<&str>, revision: &str, is_release_new: bool) -> Mark {
    match carried {
        Some(carried) if carried == revision => Mark::Keep,
        // Flux reads the values of a new release anyway.
        _ if is_release_new => Mark::Write,
        Some(carried) if !is_comparable(carried, revision) => Mark::Write,
        None | Some(_) => Mark::WriteAndRequest,
    }
}

/// Returns `true` if both were made by the same scheme under the same key.
fn is_comparable(carried: &str, revision: &str) -> bool {
    let made_by = |text: &str| text.rsplit_once(':').map(|(made_by, _)| made_by.to_owned());
    made_by(carried) == made_by(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: ValuesAddress<'_> =
        ValuesAddress { kind: "Secret", namespace: "team", name: "v", key: "values.yaml" };

    fn key(byte: u8) -> RevisionKey {
        RevisionKey::try_new(&[byte; 32]).unwrap()
    }

    #[test]
    fn revision_follows_the_content_and_nothing_else() {
        let revision = key(1).revision(&ADDRESS, b"password: hunter2");
        assert_eq!(revision, key(1).revision(&ADDRESS, b"password: hunter2"));
        assert_ne!(revision, key(1).revision(&ADDRESS, b"password: hunter3"));
    }

    #[test]
    fn revision_says_nothing_without_the_key() {
        let revision = key(1).revision(&ADDRESS, b"password: hunter2");
        assert_ne!(revision, key(2).revision(&ADDRESS, b"password: hunter2"));
        let elsewhere = ValuesAddress { namespace: "other", ..ADDRESS };
        assert_ne!(revision, key(1).revision(&elsewhere, b"password: hunter2"));
        assert!(RevisionKey::try_new(&[1; 31]).is_none());
    }

    #[test]
    fn changed_content_asks_flux_to_look() {
        let (old, new) = (key(1).revision(&ADDRESS, b"a"), key(1).revision(&ADDRESS, b"b"));
        assert_eq!(mark(Some(&old), &old, false), Mark::Keep);
        assert_eq!(mark(Some(&old), &new, false), Mark::WriteAndRequest);
        assert_eq!(mark(None, &new, false), Mark::WriteAndRequest);
        assert_eq!(mark(None, &new, true), Mark::Write);
    }

    #[test]
    fn mark_of_another_kind_is_replaced_without_a_request() {
        let revision = key(1).revision(&ADDRESS, b"a");
        let of_lost_key = key(2).revision(&ADDRESS, b"a");
        for carried in ["secret/v@4711", "configmap/v@1", "", &of_lost_key] {
            assert_eq!(mark(Some(carried), &revision, false), Mark::Write, "{carried}");
        }
    }
}
