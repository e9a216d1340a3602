//! Why no TLS session came about, in words that say what is to be changed.

use jiff::Timestamp;
use reqwest::Error as RequestError;
use rustls::{CertificateError, InvalidMessage};
use rustls_pki_types::UnixTime;
use std::{error::Error, fmt, io};

/// What is wrong between a client and the port it talks to. It stays wrong until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The server shows the certificate of an authority as its own, as `openssl req -x509` makes them.
    Authority,
    /// The certificate is for other names.
    OtherName {
        /// The host that was asked for.
        asked: String,
        /// The names in the certificate; there may be none.
        names: Vec<String>,
    },
    /// The certificate's time is over.
    Expired {
        /// Its end, where told.
        at: Option<Timestamp>,
    },
    /// The certificate's time has not begun.
    NotYetValid {
        /// Its beginning, where told.
        from: Option<Timestamp>,
    },
    /// Nobody who is trusted here issued the certificate.
    UnknownIssuer,
    /// Something else is wrong with the certificate.
    Certificate {
        /// The library's own words.
        detail: String,
    },
    /// `https://` was asked of a port that speaks plain HTTP.
    PlainHttp,
    /// `http://` was asked of a port that does not answer in HTTP: it may speak HTTPS.
    NotHttp,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority => f.write_str(
                "the server shows the certificate of an authority (CA:TRUE), which cannot be a server's own",
            ),
            Self::OtherName { asked, names } if names.is_empty() => {
                write!(
                    f,
                    "the server's certificate names no host at all (no subject alternative name), hence not {asked}"
                )
            }
            Self::OtherName { asked, names } => {
                write!(f, "the server's certificate is for {}, not for {asked}", names.join(", "))
            }
            Self::Expired { at: Some(at) } => write!(f, "the server's certificate expired on {at}"),
            Self::Expired { at: None } => f.write_str("the server's certificate has expired"),
            Self::NotYetValid { from: Some(from) } => {
                write!(f, "the server's certificate is not valid before {from}; is a clock wrong?")
            }
            Self::NotYetValid { from: None } => f.write_str("the server's certificate is not valid yet"),
            Self::UnknownIssuer => {
                f.write_str("the server's certificate was issued by an authority that is not trusted here")
            }
            Self::Certificate { detail } => write!(f, "the server's certificate is refused: {detail}"),
            Self::PlainHttp => f.write_str("the port speaks plain HTTP, not HTTPS"),
            Self::NotHttp => f.write_str("the port does not answer in plain HTTP; it may speak HTTPS"),
        }
    }
}

impl TlsFault {
    /// What makes a good certificate, where that is the remedy. To be said to people who may not hold the server.
    pub const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Authority | Self::OtherName { .. } | Self::Expired { .. } => {
                Some("`vworkspace-server certificate` makes a good one")
            }
            Self::NotYetValid { .. }
            | Self::UnknownIssuer
            | Self::Certificate { .. }
            | Self::PlainHttp
            | Self::NotHttp => None,
        }
    }
}

/// The fault that made a request fail, if it was one of TLS. `None`: for example nobody listens there.
pub fn tls_fault(error: &RequestError) -> Option<TlsFault> {
    let is_plain = error.url().is_some_and(|url| url.scheme() == "http");
    among_causes(error).filter(|fault| is_plain || *fault != TlsFault::NotHttp)
}

fn among_causes(error: &(dyn Error + 'static)) -> Option<TlsFault> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(fault) = cause.downcast_ref().and_then(of_tls) {
            return Some(fault);
        }
        let is_no_http = |error: &hyper::Error| error.is_parse() && !error.is_parse_too_large();
        if cause.downcast_ref().is_some_and(is_no_http) {
            return Some(TlsFault::NotHttp);
        }
        // An I/O error passes over what it wraps when it is asked for its cause.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}

fn of_tls(error: &rustls::Error) -> Option<TlsFault> {
    match error {
        rustls::Error::InvalidCertificate(error) => Some(of_certificate(error)),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Some(TlsFault::PlainHttp),
        _ => None,
    }
}

fn of_certificate(error: &CertificateError) -> TlsFault {
    match error {
        CertificateError::Expired => TlsFault::Expired { at: None },
        CertificateError::ExpiredContext { not_after, .. } => TlsFault::Expired { at: time(*not_after) },
        CertificateError::NotValidYet => TlsFault::NotYetValid { from: None },
        CertificateError::NotValidYetContext { not_before, .. } => {
            TlsFault::NotYetValid { from: time(*not_before) }
        }
        // The latter: another authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownIssuer,
        CertificateError::NotValidForNameContext { expected, presented } => TlsFault::OtherName {
            asked: expected.to_str().into_owned(),
            names: presented.iter().map(|name| bare(name)).collect(),
        },
        CertificateError::Other(other)
            if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
        {
            TlsFault::Authority
        }
        other => TlsFault::Certificate { detail: other.to_string() },
    }
}

/// `name` of the library's `DnsName("name")`.
fn bare(presented: &str) -> String {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"').to_owned()
}

fn time(time: UnixTime) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_is_found_however_deep_it_is_wrapped() {
        let refused = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(among_causes(&refused()), Some(TlsFault::UnknownIssuer));
        let wrapped = io::Error::other(io::Error::other(refused()));
        assert_eq!(among_causes(&wrapped), Some(TlsFault::UnknownIssuer));
        for other in
            [io::Error::from(io::ErrorKind::ConnectionRefused), io::Error::other(rustls::Error::DecryptError)]
        {
            assert_eq!(among_causes(&other), None, "{other}");
        }
    }
}
