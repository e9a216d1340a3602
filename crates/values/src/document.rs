//! Splitting a file into its documents, as Helm does before it reads any of them.

use crate::yaml::Error;

/// Begins a line that ends a document.
const SEPARATOR: &str = "---";

/// One document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Lines of the file before it.
    pub line: usize,
    /// Its text without separators; each line ends with a line feed.
    pub text: String,
}

impl Document {
    /// Returns `true` if there are only blanks, comments and a separator.
    pub fn is_blank(&self) -> bool {
        let mut lines = self.text.lines();
        lines.all(|line| {
            let content = line.trim_start();
            content.is_empty() || content.starts_with('#') || line.starts_with(SEPARATOR)
        })
    }
}

/// Splits a file at its separator lines. A separator at either end adds nothing.
///
/// # Errors
/// A line that begins with `---` and goes on with something else than a comment.
pub fn split(file: &str) -> Result<Vec<Document>, Error> {
    let mut documents = Vec::new();
    let mut current = Document { line: 0, text: String::new() };
    for (index, line) in file.lines().enumerate() {
        if let Some(rest) = line.strip_prefix(SEPARATOR) {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                return Err(Error::Separator { line: index + 1 });
            }
            if !current.text.is_empty() {
                let next = Document { line: index, text: String::new() };
                documents.push(std::mem::replace(&mut current, next));
                current.line = index + 1;
                continue;
            }
            current.line = index;
        }
        current.text.push_str(line);
        current.text.push('\n');
    }
    if !current.text.is_empty() {
        documents.push(current);
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> Vec<String> {
        split(file).unwrap().into_iter().map(|document| document.text).collect()
    }

    #[test]
    fn separators_end_documents() {
        assert_eq!(texts("a: 1\n---\nb: 2\n"), ["a: 1\n", "b: 2\n"]);
        assert_eq!(texts("a: 1\n--- # next\nb: 2"), ["a: 1\n", "b: 2\n"]);
        assert_eq!(texts("a: 1\r\n---\r\n"), ["a: 1\n"]);
        assert_eq!(texts(""), [""; 0]);
    }

    #[test]
    fn a_leading_separator_stays_with_its_document() {
        assert_eq!(texts("---\na: 1\n"), ["---\na: 1\n"]);
        assert_eq!(split("---\na: 1\n").unwrap()[0].line, 0);
        assert_eq!(split("a: 1\n---\nb: 1\n").unwrap()[1].line, 2);
    }

    #[test]
    fn what_follows_a_separator_on_its_line_is_refused() {
        for wrong in ["--- a: 1\n", "----\n", "a: 1\n---b\n"] {
            assert!(matches!(split(wrong), Err(Error::Separator { .. })), "{wrong}");
        }
        assert_eq!(texts("a: |\n  ---x\n"), ["a: |\n  ---x\n"]);
    }

    #[test]
    fn comments_and_blanks_make_a_blank_document() {
        let blank = |text: &str| Document { line: 0, text: text.to_owned() }.is_blank();
        assert!(blank("") && blank("# a\n\n  # b\n") && blank("---\n"));
        assert!(!blank("a: 1\n") && !blank("---\n~\n"));
    }
}
