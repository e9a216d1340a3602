//! Values as texts that reach Helm unread. Pure.
//!
//! Each document of a file is a text. What `--set` sets is a text for a path, which Flux reads as Helm reads `--set`; where
//! Flux does not take the path, and for what is a text anyway, it is a document of JSON, which is YAML.

use super::{Error, Given, SET, SET_FILE, SET_STRING, documents, inline, plain, set_at};
use serde_json::{Value, json};
use vworkspace_values::{
    Map, merge,
    set::{self, Assignment},
    text::{MOST_TEXTS, is_path},
};

/// The texts so far. Neighbouring documents of JSON become one.
#[derive(Default)]
struct Texts {
    texts: Vec<Value>,
    open: Map,
}

/// `spec.values` with the texts; `None` where there are none.
pub(super) fn spec(given: &Given) -> Result<Option<Value>, Error> {
    let mut texts = Texts::default();
    for (path, file) in &given.files {
        for text in documents(path, file)? {
            texts.push(json!({ "text": text }));
        }
    }
    for one in given.set.iter().flat_map(|flag| set::assignments(flag)) {
        texts.set(&one)?;
    }
    for one in given.set_string.iter().flat_map(|flag| set::assignments(flag)) {
        texts.set_text(SET_STRING, &one.path, &plain(&one.value))?;
    }
    for (path, content) in &given.set_file {
        texts.set_text(SET_FILE, path, content)?;
    }
    texts.close();
    let count = texts.texts.len();
    if count > MOST_TEXTS {
        return Err(Error::TooMany { count, most: MOST_TEXTS });
    }
    Ok((count > 0).then(|| json!({ "source": "text", "texts": texts.texts })))
}

impl Texts {
    fn push(&mut self, text: Value) {
        self.close();
        self.texts.push(text);
    }

    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        if !open.is_empty() {
            self.texts.push(json!({ "text": Value::Object(open).to_string() }));
        }
    }

    /// `--set`: the type of the value is Helm's to guess.
    fn set(&mut self, one: &Assignment) -> Result<(), Error> {
        let Assignment { path, value } = one;
        if is_path(path) {
            self.push(json!({ "text": unquotable(value), "targetPath": path }));
            return Ok(());
        }
        inline::check(one)?;
        let mut values = Map::new();
        let flag = format!("{path}={value}");
        set::apply(&flag, set::Typing::Guessed, &mut values).map_err(super::of_flag(SET))?;
        self.document(SET, path, values)
    }

    /// `--set-string` and `--set-file`: what is set is a text, or a list of texts.
    fn set_text(&mut self, flag: &'static str, path: &str, content: &Value) -> Result<(), Error> {
        match content {
            Value::String(text) if set::is_in_list(path) && is_path(path) && !path.contains('\\') => {
                self.push(json!({ "text": text, "targetPath": path, "literal": true }));
                Ok(())
            }
            _ => {
                let mut values = Map::new();
                set_at(path, content, &mut values).map_err(super::of_flag(flag))?;
                self.document(flag, path, values)
            }
        }
    }

    /// A document replaces lists, so it cannot set an item.
    fn document(&mut self, flag: &'static str, path: &str, values: Map) -> Result<(), Error> {
        if set::is_in_list(path) && !values.is_empty() {
            let problem = "an item of a list cannot be set at such a path";
            return Err(Error::Path { flag, path: path.to_owned(), problem });
        }
        merge(&mut self.open, values);
        Ok(())
    }
}

/// Flux takes a value in quotes for a text without them: a backslash before the first keeps them.
fn unquotable(value: &str) -> String {
    if value.starts_with(['"', '\'']) { format!("\\{value}") } else { value.to_owned() }
}
