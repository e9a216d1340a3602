//! A certificate authority of one run, and the server certificate it signs for loopback.

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files the server and its callers need.
pub struct Tls {
    /// The authority's certificate, PEM: what callers trust.
    pub ca: PathBuf,
    /// The server's certificate, PEM.
    pub certificate: PathBuf,
    /// The server's key, PEM.
    pub key: PathBuf,
}

impl Tls {
    /// Makes a new authority and a certificate for `127.0.0.1` and `localhost` under `dir`.
    pub fn make(dir: &Path) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "vWorkspace demo CA");
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let server_key = KeyPair::generate()?;
        let certificate = server.signed_by(&server_key, &issuer)?;

        let files =
            Self { ca: dir.join("ca.crt"), certificate: dir.join("tls.crt"), key: dir.join("tls.key") };
        for (path, pem) in [
            (&files.ca, issuer.pem()),
            (&files.certificate, certificate.pem()),
            (&files.key, server_key.serialize_pem()),
        ] {
            fs::write(path, pem).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(files)
    }
}
