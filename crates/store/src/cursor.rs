//! Cursors and record ids: places in lists, sealed with a key of the installation.
//!
//! A place holds row numbers, and these count what every tenant stores. Sealed, it shows neither its number nor its
//! length, nobody can make one, and it opens only in the list it was made for. The cipher resists repeated nonces
//! (AES-GCM-SIV), so one fixed nonce serves: the same place of a list always has the same text.

use crate::{Error, connection::Statements};
use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use rusqlite::Connection;
use serde::{Serialize, de::DeserializeOwned};

const KEY_BYTES: usize = 32;
/// A place is padded to a multiple of this, so that its length does not tell how large its numbers are.
const BLOCK_BYTES: usize = 32;

/// The key of the installation; it lives in the database, so that cursors survive a restart.
pub(crate) struct CursorKey(LessSafeKey);

impl CursorKey {
    /// Reads the key; draws it where there is none yet.
    pub(crate) fn load(connection: &Connection) -> Result<Self, Error> {
        let mut drawn = [0; KEY_BYTES];
        rand::fill(&mut drawn).map_err(|_| Error::Defect)?;
        connection.run("INSERT OR IGNORE INTO cursor_key (singleton, key) VALUES (1, ?1)", [drawn])?;
        let stored =
            connection.row("SELECT key FROM cursor_key", [], |row| row.get::<_, [u8; KEY_BYTES]>(0))?;
        Self::new(&stored.ok_or(Error::Corrupt { what: "cursor key" })?)
    }

    fn new(bytes: &[u8; KEY_BYTES]) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, bytes).map_err(|_| Error::Defect)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The list called `name` of the tenant or cluster in row `owner`.
    pub(crate) fn list(&self, name: &'static str, owner: Option<i64>) -> List<'_> {
        let owner = owner.map_or_else(|| "all".to_owned(), |row| row.to_string());
        List { key: self, scope: format!("{name} {owner}") }
    }
}

/// One list; its places open in no other.
pub(crate) struct List<'k> {
    key: &'k CursorKey,
    scope: String,
}

impl List<'_> {
    /// A place as text for callers.
    pub(crate) fn seal(&self, place: &impl Serialize) -> Result<String, Error> {
        let mut bytes = serde_json::to_vec(place).map_err(|_| Error::Defect)?;
        // JSON may be followed by spaces.
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), b' ');
        let sealed = self.key.0.seal_in_place_append_tag(nonce(), self.aad(), &mut bytes);
        sealed.map_err(|_| Error::Defect)?;
        Ok(hex::encode(bytes))
    }

    /// The place that [`List::seal`] made of it in this list; `None` for anything else.
    pub(crate) fn open<K: DeserializeOwned>(&self, sealed: &[u8]) -> Option<K> {
        let mut bytes = sealed.to_vec();
        let place = self.key.0.open_in_place(nonce(), self.aad(), &mut bytes).ok()?;
        serde_json::from_slice(place).ok()
    }

    fn aad(&self) -> Aad<&[u8]> {
        Aad::from(self.scope.as_bytes())
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key that is the same in every test.
    pub(crate) fn key() -> CursorKey {
        CursorKey::new(&[7; KEY_BYTES]).unwrap()
    }

    #[test]
    fn sealed_place_opens_only_in_its_own_list() {
        let key = key();
        let jobs = key.list("jobs", Some(3));
        let sealed = hex::decode(jobs.seal(&12_345_i64).unwrap()).unwrap();
        assert_eq!(jobs.open::<i64>(&sealed), Some(12_345));
        for other in [key.list("jobs", Some(4)), key.list("jobs", None), key.list("events", Some(3))] {
            assert_eq!(other.open::<i64>(&sealed), None);
        }
        let stranger = CursorKey::new(&[8; KEY_BYTES]).unwrap();
        assert_eq!(stranger.list("jobs", Some(3)).open::<i64>(&sealed), None);
    }

    #[test]
    fn sealed_places_show_no_number_and_no_magnitude() {
        let key = key();
        let list = key.list("jobs", Some(3));
        let [small, large] = [1, i64::MAX].map(|row: i64| list.seal(&row).unwrap());
        assert_eq!(small.len(), large.len());
        let bytes = hex::decode(&large).unwrap();
        let shown = i64::MAX.to_string();
        assert!(!bytes.windows(shown.len()).any(|window| window == shown.as_bytes()));
        assert_eq!(large, list.seal(&i64::MAX).unwrap(), "an id is the same in every answer");
    }

    #[test]
    fn changed_or_invented_places_do_not_open() {
        let key = key();
        let list = key.list("jobs", Some(3));
        let sealed = hex::decode(list.seal(&5_i64).unwrap()).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(list.open::<i64>(&changed), None, "byte {at}");
        }
        for invented in [&b"5"[..], b"", &sealed[1..]] {
            assert_eq!(list.open::<i64>(invented), None);
        }
    }

    #[test]
    fn key_is_drawn_once_and_kept() {
        let connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&connection).unwrap();
        let text = || CursorKey::load(&connection).unwrap().list("jobs", None).seal(&1_i64).unwrap();
        assert_eq!(text(), text());
    }
}
