//! Pages of lists: a limit, a size and an opaque cursor.

use crate::{Error, cursor::List};
use serde::{Serialize, de::DeserializeOwned};
use std::ops::ControlFlow;

/// Items on a page when the caller does not say.
const DEFAULT_LIMIT: u32 = 50;
/// Most items on a page.
const MOST: u32 = 200;
/// Most bytes of text on a page whose items' size agents decide; one item always fits.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Longest cursor read. The longest of ours names an object by four texts of 1,024 bytes, each byte of which JSON may
/// escape as six, sealed and in hex.
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

    /// The place in `list` after which the page starts.
    pub(crate) fn after<K: DeserializeOwned>(&self, list: &List<'_>) -> Result<Option<K>, Error> {
        self.cursor.as_ref().map(|sealed| list.open(sealed).ok_or_else(not_ours)).transpose()
    }

    /// Cuts `items` to the page and makes the next page's cursor of the last one shown.
    pub(crate) fn finish<T, K: Serialize>(
        &self,
        list: &List<'_>,
        mut items: Vec<T>,
        place: impl Fn(&T) -> K,
    ) -> Result<(Vec<T>, Option<String>), Error> {
        let limit = self.limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        Filling { limit, items, bytes: 0, more }.finish(list, place)
    }

    /// An empty page, to be filled as items are found.
    pub(crate) fn filling<T>(&self) -> Filling<T> {
        Filling { limit: self.limit as usize, items: Vec::new(), bytes: 0, more: false }
    }
}

/// A page that is being filled: it takes as many items as were asked for, and no more than [`PAGE_BYTES`] of them.
pub(crate) struct Filling<T> {
    limit: usize,
    items: Vec<T>,
    bytes: usize,
    more: bool,
}

impl<T> Filling<T> {
    /// Takes the next item of so many bytes. The first that finds no room ends the page: nothing more need be found.
    pub(crate) fn add(&mut self, item: T, bytes: usize) -> ControlFlow<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        let is_full = self.items.len() >= self.limit || self.bytes > PAGE_BYTES;
        if is_full && !self.items.is_empty() {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.items.push(item);
        ControlFlow::Continue(())
    }

    /// The items, and the next page's cursor made of the last one.
    pub(crate) fn finish<K: Serialize>(
        self,
        list: &List<'_>,
        place: impl Fn(&T) -> K,
    ) -> Result<(Vec<T>, Option<String>), Error> {
        let last = self.items.last().filter(|_| self.more);
        let cursor = last.map(|item| list.seal(&place(item))).transpose()?;
        Ok((self.items, cursor))
    }
}

fn not_ours() -> Error {
    Error::InvalidPage { rule: "cursor must be a nextCursor of this list" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::tests::key;

    #[test]
    fn a_cursor_leads_to_where_the_page_ended() {
        let key = key();
        let list = key.list("numbers", None);
        let first = PageRequest::parse(Some(2), None).unwrap();
        let (items, cursor) = first.finish(&list, vec![10i64, 20, 30], |n| *n).unwrap();
        assert_eq!(items, [10, 20]);
        let second = PageRequest::parse(None, cursor.as_deref()).unwrap();
        assert_eq!(second.after::<i64>(&list).unwrap(), Some(20));
        assert_eq!(first.finish(&list, vec![10i64, 20], |n| *n).unwrap().1, None);
    }

    #[test]
    fn a_page_is_full_by_number_or_by_size_and_takes_one_item_always() {
        let key = key();
        let filled = |limit, sizes: &[usize]| {
            let mut page = PageRequest::parse(Some(limit), None).unwrap().filling();
            let _ = sizes.iter().zip(0i64..).try_for_each(|(bytes, n)| page.add(n, *bytes));
            let (items, cursor) = page.finish(&key.list("numbers", None), |n| *n).unwrap();
            (items.len(), cursor.is_some())
        };
        assert_eq!(filled(2, &[1, 1]), (2, false));
        assert_eq!(filled(2, &[1, 1, 1]), (2, true));
        assert_eq!(filled(9, &[PAGE_BYTES - 1, 1, 1]), (2, true));
        assert_eq!(filled(9, &[PAGE_BYTES + 1, 1]), (1, true));
    }

    #[test]
    fn foreign_cursors_and_limits_are_refused() {
        let key = key();
        let list = key.list("numbers", None);
        let plain = hex::encode("20");
        for cursor in ["zz", "00", &plain, &"0".repeat(CURSOR_BYTES + 2)] {
            let page = PageRequest::parse(None, Some(cursor)).and_then(|page| page.after::<i64>(&list));
            assert!(matches!(page, Err(Error::InvalidPage { .. })), "{cursor}");
        }
        for limit in [0, 201] {
            assert!(PageRequest::parse(Some(limit), None).is_err());
        }
    }
}
