//! One document, by Helm's rules.

mod decode;
mod key;
mod scalar;
mod tree;

use crate::Map;
use serde_json::Value;

/// Deepest nesting read. Helm takes more; a JSON text of that depth is no use to anybody.
pub const MOST_LEVELS: usize = 100;

/// A document that Helm refuses, or that this crate does. No message quotes a value: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something follows a separator on its line.
    #[error("line {line}: a line that begins with --- separates documents and holds nothing else")]
    Separator {
        /// Line of the file, from 1.
        line: usize,
    },
    /// The text is no YAML.
    #[error("line {line}: {problem}")]
    Syntax {
        /// Line of the text, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A value is not what its tag says, or nothing that JSON can hold.
    #[error("line {line}: {path} {problem}")]
    Value {
        /// Line of the text, from 1.
        line: usize,
        /// Path of the value, such as `db.hosts[0]`; `the document` for all of it.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Error {
    /// The same error in a text that has `lines` more lines before it.
    #[must_use]
    pub fn moved(mut self, lines: usize) -> Self {
        let (Self::Separator { line } | Self::Syntax { line, .. } | Self::Value { line, .. }) = &mut self;
        *line += lines;
        self
    }
}

/// Reads the first document of `text`, which is all that Flux reads of it. A document that holds nothing is an empty map.
///
/// # Errors
/// The text is no YAML, no mapping, or nothing that JSON can hold.
pub fn read(text: &str) -> Result<Map, Error> {
    read_as(text, Numbers::Doubles)
}

/// Reads the first document of `text` as [`read`] does, with integers as they are written. So `kubectl` reads objects.
///
/// # Errors
/// As those of [`read`].
pub fn read_object(text: &str) -> Result<Map, Error> {
    read_as(text, Numbers::Exact)
}

fn read_as(text: &str, numbers: Numbers) -> Result<Map, Error> {
    let Some(tree) = tree::parse(text)? else { return Ok(Map::new()) };
    match decode::decode(&tree, numbers)? {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::Value { line: 1, path: WHOLE.to_owned(), problem: "is not a mapping" }),
    }
}

/// How integers are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// As doubles, which is all that Helm has.
    Doubles,
    /// As they are.
    Exact,
}

/// How errors name the whole document.
const WHOLE: &str = "the document";

#[cfg(test)]
mod tests;
