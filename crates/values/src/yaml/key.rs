//! Keys of mappings: what they are in YAML, and the text that JSON has in their place.

use super::scalar::Plain;
use crate::go::{self, Integer};

/// A key. Equal keys are one: the last counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Bool(bool),
    Integer(i64),
    /// By its bits.
    Float(u64),
    Text(String),
}

impl Key {
    /// # Errors
    /// Nothing that Helm takes as a key.
    pub(super) fn try_new(value: Plain) -> Result<Self, &'static str> {
        match value {
            Plain::Null => Err("has a key that is null"),
            Plain::Bool(value) => Ok(Self::Bool(value)),
            Plain::Integer(Integer::Signed(number)) => Ok(Self::Integer(number)),
            Plain::Integer(Integer::Unsigned(_)) => Err("has a key beyond 64 bits"),
            Plain::Float(number) => Ok(Self::Float(number.to_bits())),
            Plain::Text(text) => Ok(Self::Text(text)),
        }
    }

    /// The key in JSON.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Integer(number) => number.to_string(),
            Self::Float(bits) => go::key_of_float(f64::from_bits(*bits)),
            Self::Text(text) => text.clone(),
        }
    }
}
