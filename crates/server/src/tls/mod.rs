//! The certificate: loaded at start, loaded again when its files change.

mod stream;

pub use stream::TlsStream;

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A certificate that cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// One of the files cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The two files are no certificate and key that belong together.
    #[error("{} and {} are not a usable certificate and key", cert.display(), key.display())]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The certificate as it is now.
#[derive(Clone)]
pub struct Certificate(watch::Receiver<Arc<ServerConfig>>);

impl Certificate {
    /// What a connection shakes hands with, and keeps.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.0.borrow().clone()
    }
}

/// Where certificate and key lie, what they held when last read, and who is told when that changes.
pub struct Files {
    cert: PathBuf,
    key: PathBuf,
    loaded: (Vec<u8>, Vec<u8>),
    current: watch::Sender<Arc<ServerConfig>>,
}

/// Loads certificate and key.
///
/// # Errors
/// See [`enum@Error`].
pub async fn load(cert: PathBuf, key: PathBuf) -> Result<(Certificate, Files), Error> {
    let loaded = (read(&cert).await?, read(&key).await?);
    match config(&loaded.0, &loaded.1) {
        Ok(config) => {
            let (current, certificate) = watch::channel(config);
            Ok((Certificate(certificate), Files { cert, key, loaded, current }))
        }
        Err(source) => Err(Error::Unusable { cert, key, source }),
    }
}

/// Looks at the files every `period` and swaps the certificate when they changed. Contents are compared, because
/// Kubernetes changes a mounted Secret by moving a link. Files caught between two writes do not fit together: the
/// old certificate stays and the next look tries again.
pub async fn keep_fresh(mut files: Files, period: Duration, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
        match files.reload_if_changed().await {
            Ok(true) => tracing::info!(file = %files.cert.display(), "certificate loaded again"),
            Ok(false) => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "certificate kept: the new one cannot be loaded");
            }
        }
    }
}

impl Files {
    async fn reload_if_changed(&mut self) -> Result<bool, Error> {
        let now = (read(&self.cert).await?, read(&self.key).await?);
        if now == self.loaded {
            return Ok(false);
        }
        let config = config(&now.0, &now.1).map_err(|source| Error::Unusable {
            cert: self.cert.clone(),
            key: self.key.clone(),
            source,
        })?;
        self.current.send_replace(config);
        self.loaded = now;
        Ok(true)
    }
}

/// Offers no HTTP/2, which is not served.
fn config(cert: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error + Send + Sync>> {
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key)?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(path).await.map_err(|source| Error::Read { path: path.to_owned(), source })
}
