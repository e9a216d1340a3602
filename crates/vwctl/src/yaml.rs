//! Reading YAML that a person wrote.

use crate::Error;
use serde_json::Value;
use serde_saphyr::{SnippetMode, UserMessageFormatter, render_options};
use std::path::Path;

/// What the file at `path`, which holds `text`, says.
///
/// # Errors
/// [`Error::Yaml`], with the lines around the fault.
pub(crate) fn read(text: &str, path: &Path) -> Result<Value, Error> {
    serde_saphyr::from_str(text).map_err(|fault| {
        let name = path.display().to_string();
        let whole = fault.render_with_options(
            render_options! { formatter: &UserMessageFormatter, source_name: Some(&name) },
        );
        let reason = fault.render_with_options(
            render_options! { formatter: &UserMessageFormatter, snippets: SnippetMode::Off },
        );
        // The first line of the whole is the reason once more.
        let excerpt = whole.split_once('\n').map(|(_, excerpt)| excerpt.to_owned()).unwrap_or_default();
        Error::Yaml { path: path.to_owned(), reason, excerpt }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once_and_its_lines_stay_lines() {
        let error = read("a: 1\nb: \"open\n", Path::new("app.yaml")).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("app.yaml cannot be read as YAML: ") && !told.contains("error:"), "{told}");
        assert!(!told.contains('\n') && !told.contains("mapping"), "{told}");
        let excerpt = error.excerpt();
        assert!(excerpt.lines().any(|line| line.ends_with("b: \"open")), "{excerpt}");
        assert!(excerpt.contains("app.yaml:2") && !excerpt.contains("error:"), "{excerpt}");
    }
}
