//! Certificate and key, read from PEM: what cannot be used, and what clients will refuse.

use jiff::{SignedDuration, Timestamp};
use rustls::{InconsistentKeys, crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use std::fmt;
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why the two files cannot be used, in words for who made them.
#[derive(Debug, Error)]
pub enum Fault {
    /// The certificate's file is empty.
    #[error("the certificate file is empty")]
    NoBytes,
    /// The key's file is empty.
    #[error("the key file is empty")]
    NoKeyBytes,
    /// The certificate's file holds a key.
    #[error("the certificate file holds a private key and no certificate: are the two files swapped?")]
    KeyAsCertificate,
    /// The key's file holds a certificate.
    #[error("the key file holds a certificate and no private key: are the two files swapped?")]
    CertificateAsKey,
    /// No PEM at all, but binary.
    #[error("the {what} file holds DER, not PEM; `openssl {command} -inform der -in FILE` prints it as PEM")]
    Der {
        /// Which of the two.
        what: &'static str,
        /// Converts it.
        command: &'static str,
    },
    /// No PEM block that could be it.
    #[error("the {what} file holds no PEM {what}")]
    None {
        /// Which of the two.
        what: &'static str,
    },
    /// A PEM block that cannot be read.
    #[error("the {what} file holds a PEM block that cannot be read: {source}")]
    Pem {
        /// Which of the two.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The key needs a passphrase.
    #[error("the private key is encrypted; `openssl pkey -in FILE -out FILE.plain` takes the passphrase off")]
    Encrypted,
    /// The key belongs to a later certificate of the file.
    #[error(
        "the private key belongs to certificate {place} of the file: the server's own certificate comes first, then the \
         one that issued it, and so on"
    )]
    Order {
        /// Counted from 1.
        place: usize,
    },
    /// The key belongs to none of the certificates.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    /// Anything else that TLS objects to.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// What is wrong with the certificate for some or all clients, or will be soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// It is that of an authority.
    Authority,
    /// It names no host.
    NoName,
    /// Its time is over.
    Expired(Timestamp),
    /// Its time ends within [`SOON`].
    EndsSoon(Timestamp),
    /// Its time has not begun.
    NotYetValid(Timestamp),
    /// It did not issue the one before it in the file; counted from 1.
    Order(usize),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority => f.write_str(
                "it is that of an authority (CA:TRUE): our operator and vwctl refuse it, others may not",
            ),
            Self::NoName => f.write_str("it names no host (no subject alternative name): clients refuse it"),
            Self::Expired(at) => write!(f, "it expired on {at}: clients refuse it"),
            Self::EndsSoon(at) => write!(f, "it expires on {at}: clients refuse it then"),
            Self::NotYetValid(from) => {
                write!(f, "it is not valid before {from}: clients refuse it until then")
            }
            Self::Order(place) => {
                write!(
                    f,
                    "certificate {place} of the file did not issue the one before it: some clients refuse that"
                )
            }
        }
    }
}

/// How early the end of a certificate is told.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Reads the two files' bytes as a chain and the key of its first certificate.
///
/// # Errors
/// See [`Fault`].
pub fn read(cert: &[u8], key: &[u8]) -> Result<CertifiedKey, Fault> {
    let chain = chain(cert)?;
    let key = private_key(key)?;
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| rustls::crypto::aws_lc_rs::default_provider().into());
    let fits = |chain: &[CertificateDer<'static>]| {
        CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider)
    };
    match fits(&chain) {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let mut later =
                (1..chain.len()).filter(|from| chain.get(*from..).is_some_and(|rest| fits(rest).is_ok()));
            Err(later.next().map_or(Fault::OtherKey, |from| Fault::Order { place: from + 1 }))
        }
        read => Ok(read?),
    }
}

fn chain(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    if file.trim_ascii().is_empty() {
        return Err(Fault::NoBytes);
    }
    let chain = CertificateDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|source| Fault::Pem { what: CERTIFICATE, source })?;
    match chain.is_empty() {
        false => Ok(chain),
        true if is_der(file) => Err(Fault::Der { what: CERTIFICATE, command: "x509" }),
        true if holds(file, "PRIVATE KEY-----") => Err(Fault::KeyAsCertificate),
        true => Err(Fault::None { what: CERTIFICATE }),
    }
}

fn private_key(file: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    if file.trim_ascii().is_empty() {
        return Err(Fault::NoKeyBytes);
    }
    if holds(file, "BEGIN ENCRYPTED PRIVATE KEY") || holds(file, "Proc-Type: 4,ENCRYPTED") {
        return Err(Fault::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(file).map_err(|source| match source {
        pem::Error::NoItemsFound if is_der(file) => Fault::Der { what: KEY, command: "pkey" },
        pem::Error::NoItemsFound if holds(file, "BEGIN CERTIFICATE") => Fault::CertificateAsKey,
        pem::Error::NoItemsFound => Fault::None { what: KEY },
        source => Fault::Pem { what: KEY, source },
    })
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "private key";

/// A DER sequence, as both a certificate and a key are.
fn is_der(file: &[u8]) -> bool {
    matches!(file, [0x30, 0x81..=0x84, ..])
}

fn holds(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What is wrong with the chain at `now`, most telling first. Nothing of it keeps the server from serving: some clients
/// may not mind.
pub fn warnings(chain: &[CertificateDer<'_>], now: Timestamp) -> Vec<Warning> {
    // What cannot be parsed was taken by TLS, which parses more strictly than anybody warns here.
    let parsed: Vec<X509Certificate<'_>> =
        chain.iter().map_while(|der| X509Certificate::from_der(der).ok()).map(|(_, parsed)| parsed).collect();
    let Some(own) = parsed.first() else { return Vec::new() };
    let time = |time: &x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let (from, at) = (time(&own.validity().not_before), time(&own.validity().not_after));
    let names = own.subject_alternative_name().ok().flatten();
    let has_name = names.is_some_and(|names| !names.value.general_names.is_empty());
    let pairs = parsed.iter().zip(parsed.iter().skip(1)).enumerate();
    let strangers = pairs.filter(|(_, (issued, issuer))| issued.issuer() != issuer.subject());
    [
        own.is_ca().then_some(Warning::Authority),
        (!has_name).then_some(Warning::NoName),
        at.filter(|at| *at < now).map(Warning::Expired),
        at.filter(|at| now <= *at && *at < now + SOON).map(Warning::EndsSoon),
        from.filter(|from| *from > now).map(Warning::NotYetValid),
    ]
    .into_iter()
    .flatten()
    .chain(strangers.map(|(place, _)| Warning::Order(place + 2)))
    .collect()
}

#[cfg(test)]
mod tests;
