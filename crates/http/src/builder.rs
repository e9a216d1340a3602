//! What every HTTP client of ours has in common.

use crate::proxy::{self, Way};
use reqwest::{Certificate, ClientBuilder, redirect::Policy};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use std::time::Duration;
use thiserror::Error;
use url::Url;

/// Bound of making a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The text holds no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no readable PEM certificate")]
pub struct CaError;

/// A client for the one peer at `base`: it follows no redirect, names no referrer, goes the `way` that the environment
/// says, and trusts `ca_pem` alone where that is given.
///
/// # Errors
/// `ca_pem` holds no certificate.
pub fn client_builder(base: &Url, way: &Way, ca_pem: Option<&[u8]>) -> Result<ClientBuilder, CaError> {
    let builder = ClientBuilder::new()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::none())
        .referer(false)
        .tcp_nodelay(true);
    let builder = match ca_pem {
        Some(pem) => builder.tls_certs_only(certificates(pem)?),
        // Plain HTTP must work in an image that has no CA certificates at all.
        None if base.scheme() == "http" => builder.tls_certs_only([]),
        None => builder,
    };
    Ok(proxy::apply(builder, way))
}

/// Checks that the text can be given to [`client_builder`] as the certificates to trust.
///
/// # Errors
/// It holds no certificate.
pub fn check_ca(pem: &[u8]) -> Result<(), CaError> {
    certificates(pem).map(drop)
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, CaError> {
    let certificates = Certificate::from_pem_bundle(pem).map_err(|_| CaError)?;
    // The above looks at the PEM alone, and the client at what is in it.
    let is_certificate = |der: Result<CertificateDer<'_>, _>| {
        der.is_ok_and(|der| webpki::anchor_from_trusted_cert(&der).is_ok())
    };
    let are_certificates = CertificateDer::pem_slice_iter(pem).all(is_certificate);
    if certificates.is_empty() || !are_certificates { Err(CaError) } else { Ok(certificates) }
}
