//! Chart values as a command line gives them: files, `--set`, `--set-string`, `--set-file`.
//!
//! They travel as texts that Helm reads itself (`texts.rs`). For a cluster that cannot take texts they are read here by
//! Helm's rules and travel as JSON (`inline.rs`).

mod inline;
mod texts;

use crate::Error as CommandError;
use serde_json::Value;
use std::path::PathBuf;
use vworkspace_values::{Map, document, merge, read_file, set, text, yaml};

/// Why values cannot be used. No message quotes a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of values that Helm would refuse.
    #[error("{} cannot be read as chart values: {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: yaml::Error,
    },
    /// A flag that Helm would refuse.
    #[error("{flag}: {fault}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// Why.
        fault: set::Error,
    },
    /// What a flag sets cannot travel.
    #[error("{flag} {path}: {problem}")]
    Path {
        /// The flag.
        flag: &'static str,
        /// Where it sets something.
        path: String,
        /// Why it cannot travel.
        problem: &'static str,
    },
    /// More than a job can carry.
    #[error("the chart's values hold {bytes} bytes, and a job carries at most {most}")]
    TooLarge {
        /// Their size.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// More texts than an instance can hold.
    #[error("the chart's values make {count} texts, and an application holds at most {most}")]
    TooMany {
        /// How many.
        count: usize,
        /// The bound.
        most: usize,
    },
}

impl Error {
    /// What to do next.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "correct the file; `helm template -f` must be able to read it",
            Self::Flag { .. } => "write it as `helm --set` takes it",
            Self::Path { .. } => "put it into a file and pass that with --values",
            Self::TooLarge { .. } => {
                "put large values into a Secret or ConfigMap of the application's namespace, see --values-secret"
            }
            Self::TooMany { .. } => "put several values into one file",
        }
    }
}

/// The values of a command line, read from disk.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Given {
    /// `--values`, in order.
    pub files: Vec<(PathBuf, String)>,
    /// `--set`, in order.
    pub set: Vec<String>,
    /// `--set-string`, in order.
    pub set_string: Vec<String>,
    /// `--set-file`, in order: where each goes, and what the files hold.
    pub set_file: Vec<(String, Value)>,
}

/// Names of the flags, for errors.
const SET: &str = "--set";
const SET_STRING: &str = "--set-string";
const SET_FILE: &str = "--set-file";

impl Given {
    /// Adds a `--set-file`; `read` gives the text of a file.
    ///
    /// # Errors
    /// What Helm refuses, and files that cannot be read.
    pub(crate) fn add_set_file(
        &mut self,
        flag: &str,
        read: impl Fn(&str) -> Result<String, CommandError>,
    ) -> Result<(), CommandError> {
        set::apply(flag, set::Typing::Text, &mut Map::new()).map_err(of_flag(SET_FILE))?;
        for one in set::assignments(flag) {
            let content = match plain(&one.value) {
                Value::Array(paths) => {
                    let paths = paths.iter().map(|path| path.as_str().unwrap_or_default());
                    Value::Array(paths.map(|path| read(path).map(Value::from)).collect::<Result<_, _>>()?)
                }
                path => read(path.as_str().unwrap_or_default())?.into(),
            };
            self.set_file.push((one.path, content));
        }
        Ok(())
    }

    /// Looks for what Helm would refuse, whatever the cluster can take.
    ///
    /// # Errors
    /// What Helm refuses.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.evaluate().map(drop)
    }

    /// What Helm would make of all of it.
    ///
    /// # Errors
    /// What Helm refuses.
    fn evaluate(&self) -> Result<Map, Error> {
        let mut values = Map::new();
        for (path, file) in &self.files {
            let of_file = |fault| Error::File { path: path.clone(), fault };
            merge(&mut values, read_file(file).map_err(of_file)?);
        }
        for flag in &self.set {
            set::apply(flag, set::Typing::Guessed, &mut values).map_err(of_flag(SET))?;
        }
        for flag in &self.set_string {
            set::apply(flag, set::Typing::Text, &mut values).map_err(of_flag(SET_STRING))?;
        }
        for (path, content) in &self.set_file {
            set_at(path, content, &mut values).map_err(of_flag(SET_FILE))?;
        }
        Ok(values)
    }

    /// `spec.values` of the instance; `None` where nothing is given.
    ///
    /// # Errors
    /// What Helm refuses, what is too large, and what cannot travel to a cluster without texts.
    pub(crate) fn values(&self, takes_texts: bool) -> Result<Option<Value>, Error> {
        let values = self.evaluate()?;
        let spec = if takes_texts { texts::spec(self)? } else { inline::spec(self, &values)? };
        let bytes = spec.as_ref().map(|spec| spec.to_string().len()).unwrap_or_default();
        if bytes > text::MOST_BYTES {
            return Err(Error::TooLarge { bytes, most: text::MOST_BYTES });
        }
        Ok(spec)
    }
}

fn of_flag(flag: &'static str) -> impl Fn(set::Error) -> Error {
    move |fault| Error::Flag { flag, fault }
}

/// Puts a value at a path.
fn set_at(path: &str, content: &Value, values: &mut Map) -> Result<(), set::Error> {
    set::apply_with(&format!("{path}=x"), &|_| content.clone(), values)
}

/// The text of a value, or its texts where it is a list, without escapes.
fn plain(value: &str) -> Value {
    let mut values = Map::new();
    // A value alone can only be a list that does not end; that was found before.
    let _ = set::apply(&format!("x={value}"), set::Typing::Text, &mut values);
    values.remove("x").unwrap_or_default()
}

/// Documents of a file that hold something.
fn documents(path: &std::path::Path, file: &str) -> Result<Vec<String>, Error> {
    let of_file = |fault| Error::File { path: path.to_owned(), fault };
    let documents = document::split(file).map_err(of_file)?;
    Ok(documents.into_iter().filter(|document| !document.is_blank()).map(|document| document.text).collect())
}

#[cfg(test)]
mod tests;
