//! The certificate: loaded at start, loaded again when its files change, and looked at for what clients will refuse.

mod pair;
mod stream;

pub use pair::{Fault, Warning, warnings};
pub use stream::TlsStream;

use jiff::Timestamp;
use rustls::{
    ServerConfig,
    sign::{CertifiedKey, SingleCertAndKey},
};
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
        source: Fault,
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
    loaded: Contents,
    pair: Arc<CertifiedKey>,
    /// What is wrong with the certificate in use, as reported.
    warned: Vec<Warning>,
    /// The present failure, so that each one is reported once.
    failing: Option<Failing>,
    current: watch::Sender<Arc<ServerConfig>>,
}

/// Certificate and key.
type Contents = (Vec<u8>, Vec<u8>);

/// Why the files cannot be loaded now. Two failures that are equal are the same news.
#[derive(PartialEq)]
enum Failing {
    Unreadable { path: PathBuf, kind: io::ErrorKind },
    Unusable(Contents),
}

/// What a look at the files showed.
#[derive(Debug)]
enum Look {
    /// Nothing new, good or bad.
    Same,
    /// A new certificate is in use.
    Reloaded,
    /// The files hold again what is in use.
    Restored,
    /// They cannot be loaded, for a reason not reported yet.
    Failed(Error),
}

/// Loads certificate and key.
///
/// # Errors
/// See [`enum@Error`].
pub async fn load(cert: PathBuf, key: PathBuf) -> Result<(Certificate, Files), Error> {
    let unreadable = |(path, source)| Error::Read { path, source };
    let loaded = (read(&cert).await.map_err(unreadable)?, read(&key).await.map_err(unreadable)?);
    match pair::read(&loaded.0, &loaded.1).map(Arc::new) {
        Ok(pair) => {
            let (current, certificate) = watch::channel(config(&pair));
            let (warned, failing) = (Vec::new(), None);
            let mut files = Files { cert, key, loaded, pair, warned, failing, current };
            files.warn(Timestamp::now());
            Ok((Certificate(certificate), files))
        }
        Err(source) => Err(Error::Unusable { cert, key, source }),
    }
}

/// Looks at the files every `period` and swaps the certificate when they changed. Contents are compared, because
/// Kubernetes changes a mounted Secret by moving a link. Files caught between two writes do not fit together: the
/// old certificate stays and the next look tries again. A failure is logged when it begins and when it changes, and so is
/// what clients will refuse about the certificate in use, such as the end of its time.
pub async fn keep_fresh(mut files: Files, period: Duration, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
        match files.look().await {
            Look::Same => {}
            Look::Reloaded => tracing::info!(file = %files.cert.display(), "certificate loaded again"),
            Look::Restored => {
                tracing::info!(file = %files.cert.display(), "certificate files hold the certificate in use again");
            }
            Look::Failed(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "certificate kept: the new one cannot be loaded");
            }
        }
        files.warn(Timestamp::now());
    }
}

impl Files {
    async fn look(&mut self) -> Look {
        let now = match self.read().await {
            Ok(now) => now,
            Err((path, source)) => {
                let failing = Failing::Unreadable { path: path.clone(), kind: source.kind() };
                return self.failed(failing, Error::Read { path, source });
            }
        };
        if now == self.loaded {
            return if self.failing.take().is_some() { Look::Restored } else { Look::Same };
        }
        match pair::read(&now.0, &now.1).map(Arc::new) {
            Ok(pair) => {
                self.current.send_replace(config(&pair));
                (self.loaded, self.pair, self.failing) = (now, pair, None);
                Look::Reloaded
            }
            Err(source) => {
                let error = Error::Unusable { cert: self.cert.clone(), key: self.key.clone(), source };
                self.failed(Failing::Unusable(now), error)
            }
        }
    }

    /// Reports what is wrong with the certificate in use, where that changed.
    fn warn(&mut self, now: Timestamp) {
        let warnings = warnings(&self.pair.cert, now);
        if warnings == self.warned {
            return;
        }
        for warning in warnings.iter().filter(|warning| !self.warned.contains(warning)) {
            tracing::warn!(
                file = %self.cert.display(),
                "something is wrong with the certificate: {warning}; `vworkspace-server certificate` makes a good one"
            );
        }
        self.warned = warnings;
    }

    async fn read(&self) -> Result<Contents, (PathBuf, io::Error)> {
        Ok((read(&self.cert).await?, read(&self.key).await?))
    }

    fn failed(&mut self, failing: Failing, error: Error) -> Look {
        if self.failing.as_ref() == Some(&failing) {
            return Look::Same;
        }
        self.failing = Some(failing);
        Look::Failed(error)
    }
}

/// Offers no HTTP/2, which is not served.
fn config(pair: &Arc<CertifiedKey>) -> Arc<ServerConfig> {
    let resolver = Arc::new(SingleCertAndKey::from(pair.clone()));
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A failure names its file.
async fn read(path: &Path) -> Result<Vec<u8>, (PathBuf, io::Error)> {
    tokio::fs::read(path).await.map_err(|source| (path.to_owned(), source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Writes a certificate for `name` and the key that belongs to it.
    fn write_pair(files: &Files, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    }

    async fn loaded(folder: &Path) -> Files {
        // Another test may have installed it already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["first".to_owned()]).unwrap();
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        load(cert, key).await.unwrap().1
    }

    #[tokio::test]
    async fn pair_that_does_not_fit_is_reported_once_per_change() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = loaded(folder.path()).await;
        let (cert, key) = (fs::read(&files.cert).unwrap(), fs::read(&files.key).unwrap());
        assert!(matches!(files.look().await, Look::Same));
        for name in ["second", "third"] {
            write_pair(&files, name);
            fs::write(&files.key, &key).unwrap();
            let look = files.look().await;
            assert!(matches!(&look, Look::Failed(Error::Unusable { .. })), "{look:?}");
            assert!(matches!(files.look().await, Look::Same), "reported already");
        }
        fs::remove_file(&files.key).unwrap();
        assert!(matches!(files.look().await, Look::Failed(Error::Read { .. })));
        assert!(matches!(files.look().await, Look::Same), "reported already");
        fs::write(&files.key, &key).unwrap();
        fs::write(&files.cert, &cert).unwrap();
        assert!(matches!(files.look().await, Look::Restored));
        write_pair(&files, "fourth");
        assert!(matches!(files.look().await, Look::Reloaded));
        assert!(matches!(files.look().await, Look::Same));
    }
}
