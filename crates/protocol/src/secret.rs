//! Text that must never be shown.

use serde::{Deserialize, Deserializer, Serializer};
use zeroize::Zeroizing;

/// A token or other secret text: wiped when dropped, without `Debug`, `Display` or `Serialize`.
///
/// The one way out is [`Secret::expose`]; a wire body that must carry a secret says so with
/// `#[serde(serialize_with = "secret::expose_on_wire")]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; surrounding white space is not part of a secret.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// The text itself. Whoever calls this must not log it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

/// Writes a secret into a body whose whole purpose is to hand it over.
///
/// # Errors
/// Those of the serializer.
pub fn expose_on_wire<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}
