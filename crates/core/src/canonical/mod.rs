//! The one byte form of a JSON value (RFC 8785) and its digest: equal values have equal bytes.
//!
//! It is made from the text, so that nothing is lost on the way: a number that a double does not hold keeps the digits
//! that were written, and a member that stands twice is refused.

mod number;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;
use thiserror::Error;

/// Deepest nesting, as `serde_json` reads it into a `Value`.
const MAX_DEPTH: usize = 128;

/// Why a text has no canonical form.
#[derive(Debug, Error)]
pub enum Error {
    /// Not JSON. The error names a position, never the text.
    #[error("it is no JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    /// An array or object within 128 others.
    #[error("it is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Which of the two counts is up to each reader.
    #[error("{path} stands twice in its object")]
    RepeatedMember {
        /// The member, with dots between names and `[n]` for items.
        path: String,
    },
}

/// A JSON text, read.
#[derive(Debug, Default)]
pub struct Form {
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// The first number that a Kubernetes API server would hold as another one.
    pub inexact: Option<Inexact>,
}

/// A number that an API server would round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inexact {
    /// Where it stands, with dots between names and `[n]` for items.
    pub path: String,
    /// As it is written.
    pub number: String,
}

/// Reads a JSON text.
///
/// # Errors
/// It has no canonical form.
pub fn read(text: &str) -> Result<Form, Error> {
    let mut reader = Reader::default();
    reader.add(serde_json::from_str(text)?)?;
    Ok(reader.form)
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

/// Adds one value after the other to a form.
#[derive(Default)]
struct Reader {
    form: Form,
    /// Where in the text it is.
    path: Vec<Step>,
}

enum Step {
    Member(String),
    Item(usize),
}

impl Reader {
    fn add(&mut self, raw: &RawValue) -> Result<(), Error> {
        if self.path.len() > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'{') => self.add_object(serde_json::from_str(text)?),
            Some(b'[') => self.add_array(serde_json::from_str(text)?),
            Some(b'"') => self.add_string(&serde_json::from_str::<String>(text)?),
            Some(b't' | b'f' | b'n') => self.add_bytes(text),
            _ => self.add_number(text),
        }
    }

    fn add_object(&mut self, Members(mut members): Members<'_>) -> Result<(), Error> {
        members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        let mut before = None;
        self.form.bytes.push(b'{');
        for (name, value) in members {
            if before.is_some() {
                self.form.bytes.push(b',');
            }
            self.path.push(Step::Member(name.clone()));
            if before.as_ref() == Some(&name) {
                return Err(Error::RepeatedMember { path: self.path() });
            }
            self.add_string(&name)?;
            self.form.bytes.push(b':');
            self.add(value)?;
            self.path.pop();
            before = Some(name);
        }
        self.form.bytes.push(b'}');
        Ok(())
    }

    fn add_array(&mut self, items: Vec<&RawValue>) -> Result<(), Error> {
        self.form.bytes.push(b'[');
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                self.form.bytes.push(b',');
            }
            self.path.push(Step::Item(place));
            self.add(item)?;
            self.path.pop();
        }
        self.form.bytes.push(b']');
        Ok(())
    }

    fn add_string(&mut self, text: &str) -> Result<(), Error> {
        serde_json::to_writer(&mut self.form.bytes, text)?;
        Ok(())
    }

    fn add_number(&mut self, literal: &str) -> Result<(), Error> {
        if self.form.inexact.is_none() && !number::is_held_exactly(literal) {
            self.form.inexact = Some(Inexact { path: self.path(), number: literal.to_owned() });
        }
        self.add_bytes(number::canonical(literal).as_deref().unwrap_or(literal))
    }

    fn add_bytes(&mut self, text: &str) -> Result<(), Error> {
        self.form.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Member(name) if path.is_empty() => path.push_str(name),
                Step::Member(name) => path.extend([".", name]),
                Step::Item(place) => path.push_str(&format!("[{place}]")),
            }
        }
        path
    }
}

/// The members of an object as they stand, repeated ones too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = access.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn form(text: &str) -> String {
        String::from_utf8(read(text).unwrap().bytes).unwrap()
    }

    #[test]
    fn members_are_sorted_and_white_space_is_gone() {
        let text = r#" {"b": 1.0, "a" : ["x", null ], "\u00e9": true} "#;
        assert_eq!(form(text), r#"{"a":["x",null],"b":1,"é":true}"#);
    }

    #[test]
    fn numbers_that_differ_in_any_digit_have_forms_of_their_own() {
        let of = |number: &str| form(&format!(r#"{{"spec": [{{"n": {number}}}]}}"#));
        assert_ne!(of("123456789012345678901"), of("123456789012345678902"));
        assert_ne!(of("9007199254740993"), of("9007199254740992"));
        assert_eq!(of("1e2"), of("100"));
    }

    #[test]
    fn number_that_an_api_server_would_round_is_found_by_path() {
        let inexact = |text: &str| read(text).unwrap().inexact;
        let found = inexact(r#"{"spec": {"a": 1, "b": [1, {"n": 123456789012345678901}]}}"#);
        assert_eq!(
            found,
            Some(Inexact { path: "spec.b[1].n".to_owned(), number: "123456789012345678901".to_owned() })
        );
        assert_eq!(inexact(r#"{"n": 9007199254740993, "s": "123456789012345678901"}"#), None);
    }

    #[test]
    fn repeated_member_is_refused_by_path_however_it_is_spelled() {
        for text in [r#"{"a": {"b": 1, "b": 1}}"#, r#"{"a": {"b": 1, "c": 2, "\u0062": 3}}"#] {
            assert_eq!(read(text).unwrap_err().to_string(), "a.b stands twice in its object");
        }
        assert!(read(r#"[{"a": 1}, {"a": 1}]"#).is_ok());
    }

    #[test]
    fn nesting_has_a_bound() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert!(matches!(read(&nested(MAX_DEPTH + 2)), Err(Error::TooDeep)));
        assert!(read(&nested(500_000)).is_err());
    }

    #[test]
    fn digest_is_the_published_one() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let exact = 1i64 << 53;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-exact..=exact).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..4).prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        /// So that digests of before are those of now.
        #[test]
        fn form_is_rfc_8785s_wherever_that_loses_nothing(value in any_value()) {
            let expected = serde_json_canonicalizer::to_string(&value).unwrap();
            prop_assert_eq!(form(&value.to_string()), expected);
        }
    }
}
