//! Typed client of the control plane's admin API (`/api/v1`), used by `vwctl`, the demo, tests and benchmarks.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use vworkspace_client::Client;
//! use vworkspace_protocol::Secret;
//!
//! let client = Client::new("https://control.example", Secret::new("vwksp-adm-…"), None)?;
//! for cluster in client.clusters(None).await?.items {
//!     println!("{} {:?}", cluster.name, cluster.presence);
//! }
//! # Ok(()) }
//! ```
//!
//! Every call has a bound on its time and on the size of its answer, and is made once: whether to try again is the
//! caller's decision, for which [`Error`] says what it can. A bearer never appears in an error or in `Debug`.

mod clusters;
mod connection;
mod error;
mod jobs;
mod organizations;
mod pages;
mod reports;
mod restore;
mod settings;
mod tokens;

pub use error::Error;
pub use pages::MOST_ITEMS;
pub use settings::{Settings, SettingsError};
pub use vworkspace_http::TlsFault;

use connection::Connection;
use vworkspace_protocol::{Secret, admin::Whoami};

/// One control plane, as one bearer. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// A client of the control plane at `base_url`. `ca_pem` are the only certificates to trust; without, those of
    /// the operating system. Opens no connection.
    ///
    /// # Errors
    /// See [`SettingsError`]; plain HTTP to another machine is one (see [`Settings::allow_insecure_http`]).
    pub fn new(base_url: &str, token: Secret, ca_pem: Option<&[u8]>) -> Result<Self, SettingsError> {
        Self::with(&Settings {
            base_url: base_url.to_owned(),
            token,
            ca_pem: ca_pem.map(<[u8]>::to_vec),
            allow_insecure_http: false,
            user_agent: format!("vworkspace-client/{}", env!("CARGO_PKG_VERSION")),
        })
    }

    /// A client with every setting said.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn with(settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self { connection: Connection::new(settings)? })
    }

    /// Who the bearer is, and the server's version.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn whoami(&self) -> Result<Whoami, Error> {
        self.connection.get(&["api", "v1", "whoami"], &[]).await
    }

    /// The server's metrics in the Prometheus text format. Only of a client whose base URL is the address given by
    /// `--metrics-listen`, which asks for no bearer.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn metrics(&self) -> Result<String, Error> {
        self.connection.text(&["metrics"]).await
    }
}
