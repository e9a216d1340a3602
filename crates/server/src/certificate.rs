//! `vworkspace-server certificate`: an authority of one's own, and a server certificate that it issues.
//!
//! The authority is kept beside the certificate, so that the next certificate is trusted by whoever trusts this one.

use crate::args;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::ServerName;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use thiserror::Error;
use time::OffsetDateTime;

/// Life of the authority: it is replaced in every cluster and on every desk, so seldom.
const AUTHORITY_DAYS: u16 = 3650;
/// Validity begins this long ago: a client's clock may be behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// Why no certificate was made.
#[derive(Debug, Error)]
pub enum Error {
    /// Not what a client could ask for.
    #[error("{name:?} is neither a host name nor an IP address; write it without scheme and port")]
    Name {
        /// The text as given.
        name: String,
    },
    /// There is a certificate already.
    #[error("{} exists; --replace replaces it, and a running server takes the new one up by itself", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Half of an authority.
    #[error("{} is missing beside {}: an authority needs both; restore it, or choose another folder", missing.display(), found.display())]
    HalfAuthority {
        /// The file that is not there.
        missing: PathBuf,
        /// The file that is.
        found: PathBuf,
    },
    /// A file of the folder cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The authority cannot be read, or nothing can be signed.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The authority's certificate, to be trusted by clients.
    pub authority: PathBuf,
    /// Whether it is new: nobody trusts it yet.
    pub is_new_authority: bool,
    /// The server's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// End of its time.
    pub expires_at: Timestamp,
}

/// Makes a certificate for the names, valid from `now` on, and its authority if the folder has none.
///
/// # Errors
/// See [`enum@Error`]. Nothing is changed then, but that an authority may have been made.
pub fn make(wanted: &args::Certificate, now: Timestamp) -> Result<Made, Error> {
    let folder = &wanted.out;
    let path = |name: &str| folder.join(name);
    let (authority, authority_key) = (path("ca.crt"), path("ca.key"));
    let (cert, key) = (path("tls.crt"), path("tls.key"));
    if let Some(name) = wanted.names.iter().find(|name| !is_name(name)) {
        return Err(Error::Name { name: name.clone() });
    }
    if let Some(exists) = [&cert, &key].into_iter().find(|path| path.exists() && !wanted.replace) {
        return Err(Error::Exists { path: exists.clone() });
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| Error::File { path: folder.clone(), source })?;
    let is_new_authority = match (authority.exists(), authority_key.exists()) {
        (true, true) => false,
        (false, false) => {
            let (pem, key) = new_authority(now)?;
            write(&authority_key, &key, 0o600)?;
            write(&authority, &pem, 0o644)?;
            true
        }
        (true, false) => return Err(Error::HalfAuthority { missing: authority_key, found: authority }),
        (false, true) => return Err(Error::HalfAuthority { missing: authority, found: authority_key }),
    };
    let signer = KeyPair::from_pem(&read(&authority_key)?)?;
    let issuer = Issuer::from_ca_cert_pem(&read(&authority)?, signer)?;
    let own_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(wanted.names.clone())?;
    let expires_at = now + SignedDuration::from_hours(24 * i64::from(wanted.days));
    (params.not_before, params.not_after) = (time(now - BACKDATED), time(expires_at));
    if let Some(name) = wanted.names.first() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let own = params.signed_by(&own_key, &issuer)?;
    write(&key, &own_key.serialize_pem(), 0o600)?;
    write(&cert, &own.pem(), 0o644)?;
    Ok(Made { authority, is_new_authority, cert, key, expires_at })
}

/// Certificate and key, PEM.
fn new_authority(now: Timestamp) -> Result<(String, String), Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "vWorkspace control plane authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let end = now + SignedDuration::from_hours(24 * i64::from(AUTHORITY_DAYS));
    (params.not_before, params.not_after) = (time(now - BACKDATED), time(end));
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// A host name, an IP address, or all hosts of one domain.
fn is_name(name: &str) -> bool {
    ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok()
}

fn time(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Puts the whole file in place at once: a running server may look at any time.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let new = path.with_extension("new");
    let written = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|source| Error::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    use std::os::unix::fs::PermissionsExt as _;

    fn wanted(out: &Path, names: &[&str]) -> args::Certificate {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        args::Certificate { names, out: out.to_owned(), days: 397, replace: false }
    }

    #[test]
    fn next_certificate_is_of_the_same_authority_and_replaces_only_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let (out, now) = (folder.path().join("tls"), Timestamp::now());
        let first = make(&wanted(&out, &["cp.example", "10.0.0.1"]), now).unwrap();
        assert!(first.is_new_authority);
        for secret in [&first.key, &out.join("ca.key")] {
            assert_eq!(fs::metadata(secret).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let (authority, cert) = (read(&first.authority).unwrap(), read(&first.cert).unwrap());
        assert!(matches!(make(&wanted(&out, &["cp.example"]), now), Err(Error::Exists { .. })));
        let again = make(&args::Certificate { replace: true, ..wanted(&out, &["*.example"]) }, now).unwrap();
        assert!(!again.is_new_authority);
        assert_eq!(read(&again.authority).unwrap(), authority);
        assert_ne!(read(&again.cert).unwrap(), cert);
        fs::remove_file(out.join("ca.key")).unwrap();
        let half = make(&args::Certificate { replace: true, ..wanted(&out, &["cp.example"]) }, now);
        assert!(matches!(half, Err(Error::HalfAuthority { .. })));
    }

    #[test]
    fn what_is_no_name_is_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["https://cp.example", "cp.example:8443", "", "*", "a b", "-"] {
            let out = folder.path().join("tls");
            assert!(
                matches!(make(&wanted(&out, &[name]), Timestamp::now()), Err(Error::Name { .. })),
                "{name}"
            );
            assert!(!out.exists());
        }
    }

    #[test]
    fn certificate_that_is_made_has_nothing_to_warn_about() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let made = make(&wanted(folder.path(), &["localhost"]), now).unwrap();
        let der = CertificateDer::from_pem_slice(read(&made.cert).unwrap().as_bytes()).unwrap();
        assert_eq!(crate::tls::warnings(&[der], now), []);
    }
}
