//! The one byte form of a JSON value (RFC 8785) and its digest: equal values have equal bytes.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use thiserror::Error;

/// Largest integer that RFC 8785's number form (IEEE 754 double) holds exactly.
const EXACT_INTEGER: u64 = 1 << 53;

/// Why a value has no canonical form.
#[derive(Debug, Error)]
pub enum Error {
    /// The canonical form would silently be another number.
    #[error("the integer {number} is beyond 2^53 and has no canonical form; write it as a string")]
    InexactInteger {
        /// The number as written.
        number: String,
    },
    /// The serializer refused, for example a number that is not finite.
    #[error("the value has no canonical form")]
    Unserializable(#[source] serde_json::Error),
}

/// The canonical bytes of `value`.
///
/// # Errors
/// An integer beyond 2^53 anywhere in it: the canonicalizer alone would round it.
pub fn to_bytes(value: &Value) -> Result<Vec<u8>, Error> {
    refuse_inexact(value)?;
    serde_json_canonicalizer::to_vec(value).map_err(Error::Unserializable)
}

/// SHA-256 of `bytes` as 64 lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// SHA-256 over parts that cannot run into each other: each is preceded by its length.
pub fn sha256_of_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    sha256(&bytes)
}

/// The depth of a `Value` is bounded by its parser (128), hence so is this recursion.
fn refuse_inexact(value: &Value) -> Result<(), Error> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => {
            let exact = match (number.as_u64(), number.as_i64()) {
                (Some(n), _) => n <= EXACT_INTEGER,
                (None, Some(n)) => n.unsigned_abs() <= EXACT_INTEGER,
                (None, None) => true,
            };
            if exact { Ok(()) } else { Err(Error::InexactInteger { number: number.to_string() }) }
        }
        Value::Array(items) => items.iter().try_for_each(refuse_inexact),
        Value::Object(members) => members.values().try_for_each(refuse_inexact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_and_white_space_is_gone() {
        let bytes = to_bytes(&json!({"b": 1.0, "a": ["x", null], "é": true})).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), r#"{"a":["x",null],"b":1,"é":true}"#);
    }

    #[test]
    fn an_integer_that_would_be_rounded_is_refused_wherever_it_stands() {
        for number in [9_007_199_254_740_993_i64, -9_007_199_254_740_993] {
            let error = to_bytes(&json!({"spec": [{"n": number}]})).unwrap_err();
            assert!(error.to_string().contains(&number.to_string()));
        }
        assert!(to_bytes(&json!(9_007_199_254_740_992_u64)).is_ok());
    }

    #[test]
    fn digest_is_the_published_one() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    proptest! {
        #[test]
        fn canonical_bytes_read_back_as_the_same_value(entries in proptest::collection::btree_map(".*", -1_000_000i64..1_000_000, 0..8)) {
            let value = json!(entries);
            let bytes = to_bytes(&value).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        }
    }
}
