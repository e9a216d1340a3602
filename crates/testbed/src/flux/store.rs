//! Where the stand-in keeps what it fetched: one file per source object and digest, in its work folder.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::digest;
use jiff::Timestamp;

use super::objects::Artifact;
use super::queue::Key;
use super::status::whole_seconds;

/// The stored artifacts.
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    pub(super) fn new(work_dir: &Path) -> anyhow::Result<Self> {
        let root = work_dir.join("artifacts");
        std::fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
        Ok(Self { root })
    }

    /// Keeps the bytes and says how the object's status names them. What was kept before stays until the object goes:
    /// Helm may be reading it.
    pub(super) async fn keep(&self, key: &Key, revision: String, bytes: &[u8]) -> anyhow::Result<Artifact> {
        let digest = sha256(bytes);
        let path = self.path(key, &digest);
        tokio::fs::create_dir_all(self.folder(key)).await?;
        tokio::fs::write(&path, bytes).await.with_context(|| format!("write {}", path.display()))?;
        Ok(Artifact {
            url: format!("file://{}", path.display()),
            path: path.strip_prefix(&self.root).unwrap_or(&path).display().to_string(),
            size: bytes.len() as u64,
            last_update_time: whole_seconds(Timestamp::now()),
            digest,
            revision,
            metadata: None,
        })
    }

    /// The file of an object's artifact, if it is there. (After a restart it may not be.)
    pub(super) fn file(&self, key: &Key, artifact: &Artifact) -> Option<PathBuf> {
        Some(self.path(key, &artifact.digest)).filter(|path| path.is_file())
    }

    /// Removes what is kept for an object.
    pub(super) async fn forget(&self, key: &Key) -> anyhow::Result<()> {
        match tokio::fs::remove_dir_all(self.folder(key)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove an artifact")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A folder for Helm's passing files.
    pub(super) fn scratch(&self) -> &Path {
        &self.root
    }

    fn folder(&self, key: &Key) -> PathBuf {
        self.root.join(format!("{:?}", key.kind)).join(&key.namespace).join(&key.name)
    }

    /// The digest comes from an object's status: only its hex digits become part of a path.
    fn path(&self, key: &Key, digest: &str) -> PathBuf {
        let hex: String =
            digest.trim_start_matches("sha256:").chars().filter(char::is_ascii_hexdigit).collect();
        self.folder(key).join(format!("{hex}.tgz"))
    }
}

/// `sha256:` and the hex digest.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest::digest(&digest::SHA256, bytes)))
}
