//! What an application must keep before it travels. Pure.
//!
//! Command line, control plane and operator judge by the same rules, so that what one of them lets through the next one
//! does not refuse. Where a rule stands in the CRD's schema too, the API server enforces it with none of them running.

pub mod address;
pub mod instance;
pub mod redact;
pub mod schema;
pub mod secret;
mod words;

pub use redact::redact;

use std::fmt;

/// A rule that is broken, without the value that breaks it where that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where, for example `spec.chart.url`.
    pub path: String,
    /// One plain sentence that begins with a verb, or stands by itself.
    pub rule: String,
}

impl Broken {
    pub(crate) fn new(path: &str, rule: impl Into<String>) -> Self {
        Self { path: path.to_owned(), rule: rule.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, rule } = self;
        let is_predicate = ["is ", "has ", "must "].iter().any(|verb| rule.starts_with(verb));
        write!(f, "{path}{}{rule}", if is_predicate { " " } else { ": " })
    }
}
