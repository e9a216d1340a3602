//! The certificate: loaded at start, loaded again when its files change.

use axum_server::tls_rustls::RustlsConfig;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
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
        source: io::Error,
    },
}

/// Where certificate and key lie, and what they held when last read.
pub struct Files {
    cert: PathBuf,
    key: PathBuf,
    loaded: (Vec<u8>, Vec<u8>),
}

/// Loads certificate and key.
///
/// # Errors
/// See [`enum@Error`].
pub async fn load(cert: PathBuf, key: PathBuf) -> Result<(RustlsConfig, Files), Error> {
    let loaded = (read(&cert).await?, read(&key).await?);
    match RustlsConfig::from_pem(loaded.0.clone(), loaded.1.clone()).await {
        Ok(config) => {
            offer_http1(&config);
            Ok((config, Files { cert, key, loaded }))
        }
        Err(source) => Err(Error::Unusable { cert, key, source }),
    }
}

/// Looks at the files every `period` and swaps the certificate when they changed. Contents are compared, because
/// Kubernetes changes a mounted Secret by moving a link. Files caught between two writes do not fit together: the
/// old certificate stays and the next look tries again.
pub async fn keep_fresh(config: RustlsConfig, mut files: Files, period: Duration, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
        match files.reload_if_changed(&config).await {
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
    async fn reload_if_changed(&mut self, config: &RustlsConfig) -> Result<bool, Error> {
        let now = (read(&self.cert).await?, read(&self.key).await?);
        if now == self.loaded {
            return Ok(false);
        }
        config.reload_from_pem(now.0.clone(), now.1.clone()).await.map_err(|source| Error::Unusable {
            cert: self.cert.clone(),
            key: self.key.clone(),
            source,
        })?;
        offer_http1(config);
        self.loaded = now;
        Ok(true)
    }
}

/// Offers no HTTP/2, which the socket does not serve.
fn offer_http1(config: &RustlsConfig) {
    let mut own = rustls::ServerConfig::clone(&config.get_inner());
    own.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.reload_from_config(Arc::new(own));
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(path).await.map_err(|source| Error::Read { path: path.to_owned(), source })
}
