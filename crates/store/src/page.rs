//! Pages of lists: a limit and an opaque cursor.

use crate::Error;
use serde::{Serialize, de::DeserializeOwned};

/// Items on a page when the caller does not say.
const DEFAULT_LIMIT: u32 = 50;
/// Most items on a page.
const MOST: u32 = 200;
/// Longest cursor read. The longest of ours names an object by four texts of 1,024 bytes, each byte of which JSON may
/// escape as six, in hex.
const CURSOR_BYTES: usize = 52 * 1024;

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    limit: u32,
    cursor: Option<Vec<u8>>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, cursor: None }
    }
}

impl PageRequest {
    /// Reads `limit` (1 to 200, default 50) and `cursor` (as answered in `nextCursor`).
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub fn parse(limit: Option<u32>, cursor: Option<&str>) -> Result<Self, Error> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MOST).contains(&limit) {
            return Err(Error::InvalidPage { rule: "limit must be 1 to 200" });
        }
        let cursor = match cursor {
            Some(text) if text.len() <= CURSOR_BYTES => Some(hex::decode(text).map_err(|_| not_ours())?),
            Some(_) => return Err(not_ours()),
            None => None,
        };
        Ok(Self { limit, cursor })
    }

    /// Rows to ask for: one more than shown tells whether more follow.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The place after which the page starts, in the list's own terms.
    pub(crate) fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Error> {
        let place = |bytes: &Vec<u8>| serde_json::from_slice(bytes).map_err(|_| not_ours());
        self.cursor.as_ref().map(place).transpose()
    }

    /// Cuts `items` to the page and makes the next page's cursor of the last one shown.
    pub(crate) fn finish<T, K: Serialize>(
        &self,
        mut items: Vec<T>,
        place: impl Fn(&T) -> K,
    ) -> (Vec<T>, Option<String>) {
        let limit = self.limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        let cursor = last.and_then(|item| serde_json::to_vec(&place(item)).ok()).map(hex::encode);
        (items, cursor)
    }
}

fn not_ours() -> Error {
    Error::InvalidPage { rule: "cursor must be a nextCursor of this list" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_where_the_page_ended() {
        let first = PageRequest::parse(Some(2), None).unwrap();
        let (items, cursor) = first.finish(vec![10i64, 20, 30], |n| *n);
        assert_eq!(items, [10, 20]);
        let second = PageRequest::parse(None, cursor.as_deref()).unwrap();
        assert_eq!(second.after::<i64>().unwrap(), Some(20));
        assert_eq!(first.finish(vec![10i64, 20], |n| *n).1, None);
    }

    #[test]
    fn foreign_cursors_and_limits_are_refused() {
        for cursor in ["zz", "00", &"0".repeat(CURSOR_BYTES + 2)] {
            let page = PageRequest::parse(None, Some(cursor)).and_then(|page| page.after::<i64>());
            assert!(matches!(page, Err(Error::InvalidPage { .. })), "{cursor}");
        }
        for limit in [0, 201] {
            assert!(PageRequest::parse(Some(limit), None).is_err());
        }
    }
}
