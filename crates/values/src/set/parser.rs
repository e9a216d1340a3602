//! The grammar of `--set`, with what Helm does at its edges: a flag that ends early simply ends.

use super::{Assignment, Error};
use crate::Map;
use serde_json::Value;

/// Highest index of a list.
const MOST_ITEMS: i64 = 65_536;
/// Most levels of a key.
const MOST_LEVELS: usize = 30;

/// Why one assignment is over.
enum Stop {
    /// The flag is over.
    End,
    /// Helm refuses it.
    Refused(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

type Read<'a> = &'a dyn Fn(&str) -> Value;

/// Applies all assignments.
pub(super) fn apply(flag: &str, read: Read<'_>, values: &mut Map) -> Result<(), Error> {
    let mut parser = Parser { rest: flag, read };
    loop {
        match parser.key(values, 0) {
            Ok(()) => {}
            Err(Stop::End) => return Ok(()),
            Err(Stop::Refused(error)) => return Err(error),
        }
    }
}

/// Cuts a flag into its assignments.
pub(super) fn assignments(flag: &str) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut rest = flag;
    while let Some(at) = position(rest, &['=']) {
        let (path, value) = (&rest[..at], &rest[at + 1..]);
        let (value, after) = if value.starts_with('{') {
            let end = position(value, &['}']).map_or(value.len(), |at| at + 1);
            let after = &value[end..];
            (&value[..end], after.strip_prefix(',').unwrap_or(after))
        } else {
            match position(value, &[',']) {
                Some(at) => (&value[..at], &value[at + 1..]),
                None => (value, ""),
            }
        };
        found.push(Assignment { path: path.to_owned(), value: value.to_owned() });
        rest = after;
    }
    found
}

/// Where the first of these stands without a backslash before it.
pub(super) fn position(text: &str, stops: &[char]) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if stops.contains(&c) {
            return Some(at);
        }
        if c == '\\' {
            chars.next();
        }
    }
    None
}

struct Parser<'a> {
    rest: &'a str,
    read: Read<'a>,
}

impl Parser<'_> {
    /// The text up to one of `stops`, without its backslashes, and which one ended it.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut text = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            if stops.contains(&c) {
                self.rest = chars.as_str();
                return (text, Some(c));
            }
            text.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        self.rest = "";
        (text, None)
    }

    fn key(&mut self, values: &mut Map, level: usize) -> Result<(), Stop> {
        let (key, stop) = self.until(&['=', '[', ',', '.']);
        match stop {
            None if key.is_empty() => Err(Stop::End),
            None => Err(Error::NoValue(key).into()),
            Some('[') => {
                let index = self.index()?;
                let mut list = match values.get(&key) {
                    None => Vec::new(),
                    Some(Value::Array(list)) => list.clone(),
                    Some(_) => return Err(Error::Mismatch { key, wanted: "list" }.into()),
                };
                let ended = self.item(&mut list, index, &key, level);
                set(values, key, Value::Array(list));
                ended
            }
            Some('=') => {
                let (value, ended) = self.value()?;
                set(values, key, value);
                ended
            }
            Some(',') => Err(Error::NoValue(key).into()),
            Some(_) => {
                let mut inner = self.inner(values.get(&key), &key, level)?;
                let ended = self.key(&mut inner, level + 1);
                if ended.is_ok() && inner.is_empty() {
                    return Err(Error::EmptyMap(key).into());
                }
                if !inner.is_empty() {
                    set(values, key, Value::Object(inner));
                }
                ended
            }
        }
    }

    /// The map that a dot leads into.
    fn inner(&self, there: Option<&Value>, key: &str, level: usize) -> Result<Map, Stop> {
        if level >= MOST_LEVELS {
            return Err(Error::Levels.into());
        }
        match there {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(Error::Mismatch { key: key.to_owned(), wanted: "map" }.into()),
        }
    }

    fn index(&mut self) -> Result<usize, Stop> {
        let (text, stop) = self.until(&[']']);
        if stop.is_none() {
            return Err(Stop::End);
        }
        let index = text.parse::<i64>().ok().filter(|index| (0..=MOST_ITEMS).contains(index));
        index.and_then(|index| usize::try_from(index).ok()).ok_or_else(|| Error::Index(text).into())
    }

    /// What follows an index.
    fn item(&mut self, list: &mut Vec<Value>, index: usize, key: &str, level: usize) -> Result<(), Stop> {
        let (between, stop) = self.until(&['[', '.', '=']);
        if !between.is_empty() {
            return Err(Error::AfterIndex(between).into());
        }
        match stop {
            None => Err(Stop::End),
            Some('=') => {
                // Behind an index, an end of the flag is noticed only at the next key.
                let (value, _) = self.value()?;
                set_item(list, index, value);
                Ok(())
            }
            Some('[') => {
                let next = self.index()?;
                let mut nested = match list.get(index) {
                    None | Some(Value::Null) => Vec::new(),
                    Some(Value::Array(nested)) => nested.clone(),
                    Some(_) => return Err(Error::Mismatch { key: key.to_owned(), wanted: "list" }.into()),
                };
                self.item(&mut nested, next, key, level)?;
                set_item(list, index, Value::Array(nested));
                Ok(())
            }
            Some(_) => {
                let is_there = index < list.len();
                let mut inner = match list.get(index) {
                    Some(Value::Object(map)) => map.clone(),
                    _ => Map::new(),
                };
                let ended = self.key(&mut inner, level);
                // A new item is lost if the flag ends in it; one that was there has changed already.
                if ended.is_ok() || is_there {
                    set_item(list, index, Value::Object(inner));
                }
                ended
            }
        }
    }

    /// A value, and whether the flag ended where it should begin.
    fn value(&mut self) -> Result<(Value, Result<(), Stop>), Stop> {
        if self.rest.is_empty() {
            return Ok((Value::String(String::new()), Err(Stop::End)));
        }
        let Some(rest) = self.rest.strip_prefix('{') else {
            let (text, _) = self.until(&[',']);
            return Ok(((self.read)(&text), Ok(())));
        };
        self.rest = rest;
        let mut items = Vec::new();
        loop {
            let (text, stop) = self.until(&[',', '}']);
            if stop.is_none() {
                return Err(Error::OpenList.into());
            }
            items.push((self.read)(&text));
            if stop == Some('}') {
                self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
                return Ok((Value::Array(items), Ok(())));
            }
        }
    }
}

/// A key that is empty is set nowhere.
fn set(values: &mut Map, key: String, value: Value) {
    if !key.is_empty() {
        values.insert(key, value);
    }
}

fn set_item(list: &mut Vec<Value>, index: usize, value: Value) {
    if list.len() <= index {
        list.resize(index + 1, Value::Null);
    }
    // The list was made long enough.
    list[index] = value;
}
