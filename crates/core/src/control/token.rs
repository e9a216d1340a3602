//! Tokens: `<prefix><16 hex: where to look><64 hex: the secret>`. Only a digest is ever kept.
//!
//! A random 256-bit secret needs no slow hash, so a lookup costs one digest and one comparison in constant time.

use crate::canonical::sha256;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::fmt;
use vworkspace_protocol::{
    Secret,
    credential::{ADMIN_PREFIX, AGENT_PREFIX, REGISTRATION_PREFIX},
    id::TokenId,
};

/// Bytes of the public part, by which a token is found.
const LOOKUP_BYTES: usize = 8;
/// Bytes of the secret part.
const SECRET_BYTES: usize = 32;
/// Random bytes that one token needs.
pub const RANDOM_BYTES: usize = LOOKUP_BYTES + SECRET_BYTES;

/// What a token is for; the prefix tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Single use, exchanged for an identity.
    Registration,
    /// A cluster's bearer credential.
    Agent,
    /// Of the admin API, both roles.
    Admin,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Registration, Self::Agent, Self::Admin];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Registration => REGISTRATION_PREFIX,
            Self::Agent => AGENT_PREFIX,
            Self::Admin => ADMIN_PREFIX,
        }
    }
}

/// What is kept of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Where to look for it: public, random, unique.
    pub lookup: i64,
    /// SHA-256 of the secret part.
    pub digest: [u8; 32],
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("lookup", &self.lookup).finish_non_exhaustive()
    }
}

impl Kept {
    /// Whether `presented` is the very token, compared in constant time.
    pub fn matches(&self, presented: &Presented) -> bool {
        verify_slices_are_equal(&self.digest, &presented.kept.digest).is_ok()
    }
}

/// The name of a token in lists: its public part, as it stands in the token's own text.
pub fn public_id(lookup: i64) -> TokenId {
    TokenId::new(hex::encode(lookup.to_be_bytes()))
}

/// Where to look for the token of this name; `None` if no token can have it.
pub fn read_id(id: &TokenId) -> Option<i64> {
    let mut key = [0; LOOKUP_BYTES];
    hex::decode_to_slice(id.as_str(), &mut key).ok()?;
    let lookup = i64::from_be_bytes(key);
    (public_id(lookup) == *id).then_some(lookup)
}

/// A token somebody presents: well-formed, nothing else is known.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    /// What its prefix says.
    pub kind: Kind,
    /// What would be kept of it.
    pub kept: Kept,
}

/// Makes a token of fresh random bytes: the text that is shown once, and what is kept.
pub fn mint(kind: Kind, random: &[u8; RANDOM_BYTES]) -> (Secret, Kept) {
    let (lookup, secret) = random.split_at(LOOKUP_BYTES);
    let text = Secret::new(&format!("{}{}{}", kind.prefix(), hex::encode(lookup), hex::encode(secret)));
    (text, keep(lookup, secret))
}

/// Reads a presented token; `None` when nobody can have issued it.
pub fn read(token: &Secret) -> Option<Presented> {
    Kind::ALL.into_iter().find_map(|kind| {
        let digits = token.expose().strip_prefix(kind.prefix())?;
        let mut bytes = [0; RANDOM_BYTES];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        let (lookup, secret) = bytes.split_at(LOOKUP_BYTES);
        Some(Presented { kind, kept: keep(lookup, secret) })
    })
}

fn keep(lookup: &[u8], secret: &[u8]) -> Kept {
    let mut key = [0; LOOKUP_BYTES];
    key.copy_from_slice(lookup);
    Kept { lookup: i64::from_be_bytes(key), digest: sha256(secret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_token_reads_back_as_itself_and_no_other() {
        for kind in Kind::ALL {
            let (token, kept) = mint(kind, &[7; RANDOM_BYTES]);
            assert!(token.expose().starts_with(kind.prefix()));
            let presented = read(&token).unwrap();
            assert_eq!((presented.kind, presented.kept.lookup), (kind, kept.lookup));
            assert!(kept.matches(&presented));
            let mut other = [7; RANDOM_BYTES];
            other[RANDOM_BYTES - 1] = 8;
            let near = read(&mint(kind, &other).0).unwrap();
            assert_eq!(near.kept.lookup, kept.lookup);
            assert!(!kept.matches(&near));
        }
    }

    #[test]
    fn what_nobody_issued_is_not_read() {
        let (good, _) = mint(Kind::Agent, &[1; RANDOM_BYTES]);
        let text = good.expose();
        for bad in [
            "",
            "vwksp-agt-",
            "hunter2",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.replace("agt", "xyz"),
        ] {
            assert!(read(&Secret::new(bad)).is_none());
        }
    }

    #[test]
    fn public_id_is_the_readable_part_of_the_token() {
        let random = std::array::from_fn(|n| u8::try_from(n).unwrap() ^ 0xf0);
        let (token, kept) = mint(Kind::Admin, &random);
        let id = public_id(kept.lookup);
        assert_eq!(token.expose()[ADMIN_PREFIX.len()..][..16], *id.as_str());
        assert_eq!(read_id(&id), Some(kept.lookup));
        let upper = id.as_str().to_uppercase();
        for other in ["", "x", &upper, &id.as_str()[1..], token.expose()] {
            assert_eq!(read_id(&TokenId::new(other)), None, "{other}");
        }
    }

    #[test]
    fn debug_shows_no_digest() {
        let (_, kept) = mint(Kind::Admin, &[1; RANDOM_BYTES]);
        assert!(!format!("{kept:?}").contains("digest"));
    }
}
