//! A throw-away certificate authority and a certificate of it for 127.0.0.1.

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files and texts of one server certificate.
pub struct Certificate {
    /// The server's certificate, PEM.
    pub cert: PathBuf,
    /// The server's key, PEM.
    pub key: PathBuf,
    /// The authority to trust, PEM. Its key is gone.
    pub ca_pem: Vec<u8>,
}

impl Certificate {
    /// Makes both and writes the server's part into `folder`.
    pub fn write_into(folder: &Path) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::new([])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let ca_pem = authority.self_signed(&authority_key)?.pem().into_bytes();
        let issuer = Issuer::new(authority, authority_key);
        let server_key = KeyPair::generate()?;
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&server_key, &issuer)?;
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&cert, leaf.pem()).context("cannot write the certificate")?;
        fs::write(&key, server_key.serialize_pem()).context("cannot write the key")?;
        Ok(Self { cert, key, ca_pem })
    }
}
