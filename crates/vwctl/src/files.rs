//! Reading files with a bound.

use crate::Error;
use std::{fs::File, io::Read as _, path::Path};

/// Largest CA file read.
pub(crate) const CA_BYTES: u64 = 1024 * 1024;

/// The text of a file of at most `most` bytes; `-` is standard input.
pub(crate) fn text(path: &Path, most: u64) -> Result<String, Error> {
    let read = || {
        let mut text = String::new();
        if path == Path::new("-") {
            std::io::stdin().take(most + 1).read_to_string(&mut text)?;
        } else {
            File::open(path)?.take(most + 1).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    let text: String = read().map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > most {
        return Err(Error::TooLarge { path: path.to_owned(), most });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_bound_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(text(file.path(), 5).unwrap(), "12345");
        assert!(matches!(text(file.path(), 4), Err(Error::TooLarge { .. })));
        assert!(matches!(text(Path::new("/does/not/exist"), 4), Err(Error::Read { .. })));
    }
}
