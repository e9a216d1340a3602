//! Reading files with a bound.

use crate::Error;
use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Largest CA file read.
const CA_BYTES: u64 = 1024 * 1024;

/// The text of a file of at most `most` bytes; `-` is standard input.
pub(crate) fn text(path: &Path, most: u64) -> Result<String, Error> {
    let mut bytes = most + 1;
    let mut read = || -> io::Result<String> {
        let mut text = String::new();
        if path == Path::new("-") {
            std::io::stdin().take(most + 1).read_to_string(&mut text)?;
        } else {
            let file = File::open(path)?;
            bytes = bytes.max(file.metadata()?.len());
            if bytes > most + 1 {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            file.take(most + 1).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    let too_large = |bytes| Error::TooLarge { path: path.to_owned(), bytes, most };
    match read() {
        Ok(text) if text.len() as u64 <= most => Ok(text),
        Ok(_) => Err(too_large(most + 1)),
        Err(fault) if fault.kind() == io::ErrorKind::FileTooLarge => Err(too_large(bytes)),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// The PEM text of a file with certificates to trust.
pub(crate) fn ca(path: &Path) -> Result<String, Error> {
    text(path, CA_BYTES).map_err(|error| match error {
        Error::Read { path, source } if source.kind() == io::ErrorKind::InvalidData && is_der(&path) => {
            Error::DerCa { path }
        }
        other => other,
    })
}

/// A DER sequence, as a certificate is.
fn is_der(path: &Path) -> bool {
    let mut start = [0; 2];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && matches!(start, [0x30, 0x81..=0x84])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_bound_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(text(file.path(), 5).unwrap(), "12345");
        assert!(matches!(text(file.path(), 4), Err(Error::TooLarge { bytes: 5, most: 4, .. })));
        assert!(matches!(text(file.path(), 2), Err(Error::TooLarge { bytes: 5, most: 2, .. })));
        assert!(matches!(text(Path::new("/does/not/exist"), 4), Err(Error::Read { .. })));
    }

    #[test]
    fn ca_in_binary_form_is_named_as_such() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0x30, 0x82, 0x01, 0xff, 0x80]).unwrap();
        let error = ca(file.path()).unwrap_err();
        assert!(error.to_string().ends_with("holds a certificate as DER, not as PEM"), "{error}");
        assert!(error.hint().contains("openssl x509 -inform der"));
    }
}
