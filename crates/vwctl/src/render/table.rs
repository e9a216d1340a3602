//! Columns of text, without lines: easy to read, easy to cut.

use console::measure_text_width;

/// Space between columns.
const GAP: usize = 3;
/// Shown where there is nothing, so that every cell can be seen and counted.
const NOTHING: &str = "-";

/// A header and rows, aligned. The last column is not padded.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows = std::iter::once(header.map(str::to_owned)).chain(rows);
    let rows: Vec<_> =
        rows.map(|row| row.map(|cell| if cell.is_empty() { NOTHING.to_owned() } else { cell })).collect();
    align(&rows)
}

/// One `name: value` a line, aligned; empty values are left out.
pub(super) fn fields<const N: usize>(fields: [(&str, String); N]) -> String {
    let said = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let rows: Vec<_> = said.map(|(name, value)| [format!("{name}:"), value]).collect();
    align(&rows)
}

/// `parts` below each other with an empty line between; empty ones are left out.
pub(super) fn below<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| measure_text_width(&row[column])).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| {
            let padding = width + GAP - measure_text_width(cell);
            format!("{cell}{}", " ".repeat(padding))
        });
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_seen() {
        let text =
            table(["A", "BB"], [["日本".to_owned(), "x".to_owned()], [String::new(), "yyy".to_owned()]]);
        assert_eq!(text, "A      BB\n日本   x\n-      yyy\n");
        assert_eq!(table(["A"], []), "A\n");
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let text = fields([("name", "a".to_owned()), ("none", String::new()), ("id", "b".to_owned())]);
        assert_eq!(text, "name:   a\nid:     b\n");
    }
}
