//! Chart values as Helm reads them. Pure.
//!
//! Helm reads values by YAML 1.1 with rules of its own: `0440` is 288, the key `on:` is `"true"`, the last of two equal
//! keys counts, several documents of a file are merged. Where a text can reach Helm unread, it does (contract,
//! section 7) and nothing here is asked. This crate serves what must look inside: a control plane that has to send
//! JSON, the guard against secrets, previews.
//!
//! ```text
//!   text ──document::split──▶ documents ──yaml::read──▶ Map ──merge──▶ Map ──set::Assignment::apply──▶ Map
//! ```
//!
//! The scanner is a port of libyaml, as Helm's is; `tests/helm.rs` compares the result with the real Helm.

pub mod document;
mod go;
mod merge;
pub mod set;
pub mod text;
pub mod yaml;

pub use merge::merge;

/// Values of a chart.
pub type Map = serde_json::Map<String, serde_json::Value>;

/// Reads a file of values: all its documents, merged in order.
///
/// # Errors
/// The first document that Helm refuses.
pub fn read_file(file: &str) -> Result<Map, yaml::Error> {
    let mut values = Map::new();
    for document in document::split(file)? {
        merge(&mut values, yaml::read(&document.text).map_err(|error| error.moved(document.line))?);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(text: &str) -> Result<serde_json::Value, String> {
        read_file(text).map(serde_json::Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn documents_of_a_file_are_merged() {
        assert_eq!(file("a: {x: 1}\n---\na: {z: 2}\n---\n"), Ok(json!({"a": {"x": 1, "z": 2}})));
        assert_eq!(file(""), Ok(json!({})));
        assert_eq!(file("# nothing\n---\n~\n"), Ok(json!({})));
    }

    #[test]
    fn a_fault_names_the_line_of_the_file() {
        assert_eq!(file("a: 1\n---\nb: 2\nc: [\n").unwrap_err().split(':').next(), Some("line 5"));
        assert_eq!(file("a: 1\n--- b\n").unwrap_err().split(':').next(), Some("line 2"));
    }
}
