//! What `vwctl login` stores: one server with its token, in a file only its owner can read.

use crate::{Error, files};
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use vworkspace_client::Settings;
use vworkspace_protocol::{Secret, secret};

/// Largest configuration file read.
const CONFIG_BYTES: u64 = 1024 * 1024;

/// The stored login.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Base URL of the control plane.
    pub server: String,
    /// The bearer; good for this server alone.
    #[serde(serialize_with = "secret::expose_on_wire")]
    pub token: Secret,
    /// The certificates to trust, PEM; absent: those of the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Whether `http://` may leave this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_insecure_http: bool,
}

impl Config {
    /// Where the login is stored: `$VWCTL_CONFIG`, else `vwctl/config.yaml` below `$XDG_CONFIG_HOME` or `~/.config`.
    pub fn path() -> Result<PathBuf, Error> {
        Self::named()
            .or_else(|| set("XDG_CONFIG_HOME").map(|dir| dir.join("vwctl/config.yaml")))
            .or_else(|| set("HOME").map(|dir| dir.join(".config/vwctl/config.yaml")))
            .ok_or(Error::NoConfigPath)
    }

    /// The file that `$VWCTL_CONFIG` names.
    pub fn named() -> Option<PathBuf> {
        set("VWCTL_CONFIG")
    }

    /// Returns the stored login, or `None` if there is no file.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that may be there and cannot be read, which is not the same as no login.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        let text = match files::text(path, CONFIG_BYTES) {
            Err(Error::Read { source, .. }) if is_absent(&source) => return Ok(None),
            read => read?,
        };
        serde_saphyr::from_str(&text).map(Some).map_err(|fault: serde_saphyr::Error| {
            // The parser's own text may quote the file, hence the token. The place does not.
            let place = fault.location().map(|at| format!(", line {} column {}", at.line(), at.column()));
            Error::Config { path: path.to_owned(), place: place.unwrap_or_default() }
        })
    }

    /// Stores the login with mode 0600. The file appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let text = serde_saphyr::to_string(self).map_err(|e| Error::Encode(e.to_string()))?;
        let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            fs::create_dir_all(folder)?;
            // A named temporary file is made with mode 0600.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|e| e.error)?;
            Ok(())
        };
        write().map_err(|source| Error::Write { path: path.to_owned(), source })
    }

    /// What a client for this login is made of.
    pub fn settings(&self) -> Settings {
        Settings {
            base_url: self.server.clone(),
            token: self.token.clone(),
            ca_pem: self.ca.clone().map(String::into_bytes),
            allow_insecure_http: self.allow_insecure_http,
            user_agent: format!("vwctl/{}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// Also where a folder of the path is a file, such as `HOME=/dev/null`.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The path in a variable of the environment; an empty one counts as not set.
fn set(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_stored_login_reads_back_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.yaml");
        assert!(Config::load(&path).unwrap().is_none());
        let ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        let config = Config {
            server: "https://c.example".to_owned(),
            token: Secret::new("t: 0"),
            ca: Some(ca.clone()),
            allow_insecure_http: false,
        };
        config.save(&path).unwrap();
        config.save(&path).unwrap();
        let read = Config::load(&path).unwrap().unwrap();
        assert_eq!((read.server.as_str(), read.token.expose()), ("https://c.example", "t: 0"));
        assert_eq!(read.ca, Some(ca));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_named_but_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, "token: [vwksp-adm-hush").unwrap();
        let error = Config::load(&path).err().unwrap();
        let error = error.to_string();
        assert!(!error.contains("hush"), "{error}");
        assert!(error.contains("config.yaml") && error.contains("line 1 column "), "{error}");
    }

    #[test]
    fn config_that_cannot_be_read_is_not_taken_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let read = Config::load(&path);
        assert!(matches!(&read, Err(Error::Read { path: named, .. }) if *named == path));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(Config::load(&path.join("below/a/file.yaml")).unwrap().is_none());
    }
}
