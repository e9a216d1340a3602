//! Data on stdout, talk on stderr.

use crate::Error;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{self, Write as _};

/// How data is printed.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people; may change.
    #[default]
    Table,
    /// The bodies of the admin API: a contract.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Format {
    /// A body in this format; `table` makes the table.
    pub(crate) fn render<T: Serialize>(
        self,
        body: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<String, Error> {
        match self {
            Self::Table => Ok(table(body)),
            Self::Json => serde_json::to_string_pretty(body).map_err(|e| Error::Encode(e.to_string())),
            Self::Yaml => serde_saphyr::to_string(body).map_err(|e| Error::Encode(e.to_string())),
        }
    }

    /// One of many bodies that come one after the other: a line of JSON, a YAML document.
    pub(crate) fn render_one_of<T: Serialize>(
        self,
        body: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<String, Error> {
        match self {
            Self::Table => Ok(table(body)),
            Self::Json => serde_json::to_string(body).map_err(|e| Error::Encode(e.to_string())),
            Self::Yaml => Ok(format!("---\n{}", self.render(body, table)?)),
        }
    }
}

/// Prints data, ending with a line end. A reader that went away is no error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.trim_end().as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::Stdout),
    }
}

/// Tells that a listing was cut after so many items.
pub(crate) fn say_if_cut(is_cut: bool, items: usize) {
    if is_cut {
        say(&format!("Only the first {items}; there are more."));
    }
}

/// Talks to the person. Colours are left out where nobody sees them or `NO_COLOR` is set.
pub(crate) fn say(text: &str) {
    anstream::eprintln!("{text}");
}
