//! `vworkspace-server certificate`: an authority of one's own, and a server certificate that it issues.
//!
//! The authority is kept beside the certificate, so that the next certificate is trusted by whoever trusts this one.

use crate::args;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls_pki_types::ServerName;
use std::{
    fs,
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::{pem::parse_x509_pem, prelude::X509Certificate};

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
    #[error("{} is missing beside {}: an authority needs both; restore it, or where no client trusts that authority yet, delete the other one", missing.display(), found.display())]
    HalfAuthority {
        /// The file that is not there.
        missing: PathBuf,
        /// The file that is.
        found: PathBuf,
    },
    /// The two files of the authority cannot issue a certificate that clients take.
    #[error("{} {why}; choose another folder, and give its ca.crt to every client", path.display())]
    Authority {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
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
/// See [`enum@Error`]. A certificate that was there is as it was then; an authority may have been made.
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
            let (pem, secret) = new_authority(now)?;
            replace([(&authority_key, &secret, PRIVATE), (&authority, &pem, PUBLIC)])?;
            true
        }
        (true, false) => return Err(Error::HalfAuthority { missing: authority_key, found: authority }),
        (false, true) => return Err(Error::HalfAuthority { missing: authority, found: authority_key }),
    };
    let signer = KeyPair::from_pem(&read(&authority_key)?)?;
    let authority_pem = read(&authority)?;
    let ends_at = check_authority(&authority_pem, &signer, now)
        .map_err(|why| Error::Authority { path: authority.clone(), why })?;
    let issuer = Issuer::from_ca_cert_pem(&authority_pem, signer)?;
    let own_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(wanted.names.clone())?;
    // Nothing that it issued is believed after its own end.
    let expires_at = (now + SignedDuration::from_hours(24 * i64::from(wanted.days))).min(ends_at);
    (params.not_before, params.not_after) = (time(now - BACKDATED), time(expires_at));
    if let Some(name) = wanted.names.first() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let own = params.signed_by(&own_key, &issuer)?;
    replace([(&key, &own_key.serialize_pem(), PRIVATE), (&cert, &own.pem(), PUBLIC)])?;
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

/// The end of the authority's time.
///
/// # Errors
/// No client would take what it issues; says why.
fn check_authority(pem: &str, key: &KeyPair, now: Timestamp) -> Result<Timestamp, &'static str> {
    let unreadable = "holds no certificate that can be read";
    let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|_| unreadable)?;
    let authority: X509Certificate<'_> = pem.parse_x509().map_err(|_| unreadable)?;
    if !authority.is_ca() {
        return Err("is not the certificate of an authority (CA:TRUE)");
    }
    if authority.public_key().raw != key.subject_public_key_info() {
        return Err("does not belong to the ca.key beside it");
    }
    let ends_at = Timestamp::from_second(authority.validity().not_after.timestamp());
    let ends_at = ends_at.unwrap_or(Timestamp::MAX);
    if ends_at <= now { Err("has expired") } else { Ok(ends_at) }
}

/// A host name, an IP address, or all hosts of one domain.
fn is_name(name: &str) -> bool {
    let domain = name.strip_prefix("*.");
    let is_wild_address = domain.is_some_and(|domain| domain.parse::<IpAddr>().is_ok());
    !is_wild_address && ServerName::try_from(domain.unwrap_or(name)).is_ok()
}

fn time(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Rights of a file that only its owner may read.
const PRIVATE: u32 = 0o600;
/// Rights of a file that everybody may read.
const PUBLIC: u32 = 0o644;

/// Puts whole files in place, each at once, after all were written: what was there stays if one cannot be written. A running
/// server may look at any time, and keeps what it has while the two do not fit.
fn replace<const N: usize>(files: [(&PathBuf, &str, u32); N]) -> Result<(), Error> {
    let failed = |path: &Path, source| Error::File { path: path.to_owned(), source };
    let mut written = Vec::new();
    for (path, text, mode) in files {
        let file = write(path, text, mode).map_err(|source| failed(path, source))?;
        written.push((path, file));
    }
    for (path, file) in written {
        file.persist(path).map_err(|error| failed(path, error.error))?;
    }
    Ok(())
}

/// Writes a file of its own beside `path`, readable by its owner alone until it is whole.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};

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
        assert_eq!(fs::read_dir(&out).unwrap().count(), 4, "nothing else is left there");
        fs::remove_file(out.join("ca.key")).unwrap();
        let half = make(&args::Certificate { replace: true, ..wanted(&out, &["cp.example"]) }, now);
        assert!(matches!(half, Err(Error::HalfAuthority { .. })));
    }

    #[test]
    fn what_is_no_name_is_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["https://cp.example", "cp.example:8443", "", "*", "*.10.0.0.1", "a b", "-"] {
            let out = folder.path().join("tls");
            assert!(
                matches!(make(&wanted(&out, &[name]), Timestamp::now()), Err(Error::Name { .. })),
                "{name}"
            );
            assert!(!out.exists());
        }
    }

    #[test]
    fn authority_that_cannot_issue_is_told_and_leaves_the_pair_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (out, now) = (folder.path(), Timestamp::now());
        let first = make(&wanted(out, &["cp.example"]), now).unwrap();
        let again = args::Certificate { replace: true, ..wanted(out, &["cp.example"]) };
        let refused = |now| match make(&again, now) {
            Err(Error::Authority { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        let late = now + SignedDuration::from_hours(24 * i64::from(AUTHORITY_DAYS + 1));
        assert_eq!(refused(late), "has expired");
        let near_its_end = now + SignedDuration::from_hours(24 * i64::from(AUTHORITY_DAYS - 1));
        let short = make(&again, near_its_end).unwrap();
        assert!(short.expires_at < near_its_end + SignedDuration::from_hours(25), "{}", short.expires_at);
        let own = (read(&first.cert).unwrap(), read(&first.key).unwrap());
        fs::write(out.join("ca.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert_eq!(refused(now), "does not belong to the ca.key beside it");
        fs::copy(&first.cert, out.join("ca.crt")).unwrap();
        fs::copy(&first.key, out.join("ca.key")).unwrap();
        assert_eq!(refused(now), "is not the certificate of an authority (CA:TRUE)");
        assert_eq!((read(&first.cert).unwrap(), read(&first.key).unwrap()), own);
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
