//! What a client is made of, and why it may not be made.

use http::{HeaderMap, HeaderValue, header};
use thiserror::Error;
use url::Url;
use vworkspace_http::{
    causes, client_builder,
    proxy::{self, NotAProxy, Way},
};
use vworkspace_protocol::Secret;

/// What a [`Client`](crate::Client) is made of.
#[derive(Clone)]
pub struct Settings {
    /// Base URL of the control plane; a path is kept, a trailing `/` does not matter.
    pub base_url: String,
    /// The bearer.
    pub token: Secret,
    /// The only certificates (PEM) to trust; absent: those of the operating system.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether `http://` may leave this machine. The token then travels readable.
    pub allow_insecure_http: bool,
    /// Value of `User-Agent`, for example `vwctl/1.2.3`.
    pub user_agent: String,
}

/// Why no client can be made of the settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The base URL cannot be read.
    #[error("control plane URL {url:?} is not an http or https URL")]
    Url {
        /// The text as given, without user name and password.
        url: String,
    },
    /// The base URL carries a user name or a password.
    #[error("control plane URL {url:?} carries a user name or password")]
    Credentials {
        /// The text as given, without them.
        url: String,
    },
    /// The base URL ends in a path of the API.
    #[error("control plane URL {url:?} ends in the path of the API itself")]
    ApiPath {
        /// The text as given.
        url: String,
    },
    /// Plain HTTP to another machine.
    #[error("control plane URL {url:?} would send the token in clear")]
    Insecure {
        /// The text as given, without user name and password.
        url: String,
    },
    /// The CA text holds no certificate.
    #[error("the CA file holds no readable PEM certificate")]
    Ca,
    /// The environment names something else as proxy.
    #[error(transparent)]
    Proxy(#[from] NotAProxy),
    /// The token or the user agent holds characters that HTTP forbids.
    #[error("{name} cannot be sent as an HTTP header")]
    Header {
        /// What the value is for.
        name: &'static str,
    },
    /// The HTTP client cannot be built, for example for want of CA certificates of the operating system.
    #[error("no HTTP client: {detail}")]
    Client {
        /// The cause.
        detail: String,
    },
}

impl Settings {
    pub(crate) fn base(&self) -> Result<Url, SettingsError> {
        let text = self.base_url.trim();
        let invalid = || SettingsError::Url { url: shown(text) };
        let mut url = Url::parse(text).map_err(|_| invalid())?;
        let host = url.host().ok_or_else(invalid)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_insecure_http || proxy::is_loopback(&host) => {}
            "http" => return Err(SettingsError::Insecure { url: shown(text) }),
            _ => return Err(invalid()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SettingsError::Credentials { url: shown(text) });
        }
        let path = url.path().trim_end_matches('/');
        if path.ends_with("/api/v1") {
            return Err(SettingsError::ApiPath { url: shown(text) });
        }
        url.set_query(None);
        url.set_fragment(None);
        Ok(url)
    }

    pub(crate) fn http_client(&self, base: &Url, way: &Way) -> Result<reqwest::Client, SettingsError> {
        let builder = client_builder(base, way, self.ca_pem.as_deref()).map_err(|_| SettingsError::Ca)?;
        let builder = builder.default_headers(self.default_headers()?);
        builder.build().map_err(|e| SettingsError::Client { detail: causes(&e) })
    }

    fn default_headers(&self) -> Result<HeaderMap, SettingsError> {
        let value =
            |name, text: &str| HeaderValue::from_str(text).map_err(|_| SettingsError::Header { name });
        let mut bearer = value("the token", &format!("Bearer {}", self.token.expose()))?;
        bearer.set_sensitive(true);
        let mut head = HeaderMap::new();
        head.insert(header::AUTHORIZATION, bearer);
        head.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        head.insert(header::USER_AGENT, value("the user agent", &self.user_agent)?);
        Ok(head)
    }
}

/// The URL without user name, password, query and fragment, should somebody have put a secret there.
fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…@{host}"),
        None => format!("…@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(base_url: &str) -> Settings {
        Settings {
            base_url: base_url.to_owned(),
            token: Secret::new("vwksp-adm-secret"),
            ca_pem: None,
            allow_insecure_http: false,
            user_agent: "test/0".to_owned(),
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine_unless_allowed() {
        assert!(matches!(settings("http://example.org").base(), Err(SettingsError::Insecure { .. })));
        assert!(Settings { allow_insecure_http: true, ..settings("http://example.org") }.base().is_ok());
        for url in ["http://localhost:1/base/", "http://127.0.0.1", "http://[::1]:8", "https://example.org"] {
            assert!(settings(url).base().is_ok(), "{url}");
        }
        for url in ["ftp://localhost", "example.org", "", "https://"] {
            assert!(matches!(settings(url).base(), Err(SettingsError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn secrets_in_urls_are_refused_and_not_shown() {
        for url in [
            "https://h/api/v1?token=hush",
            "ftp://h#hush",
            "https://user:hush@h",
            "ftp://user:a@hush@h",
            "user:hush@h",
            "https:/user:hush@h",
        ] {
            let error = settings(url).base().unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
        let error = settings("https://user:hush@h").base().unwrap_err().to_string();
        assert_eq!(error, "control plane URL \"https://…@h\" carries a user name or password");
    }

    #[test]
    fn path_of_the_api_is_not_part_of_the_base_url() {
        for url in ["https://h/api/v1", "https://h/vws/api/v1/"] {
            assert!(matches!(settings(url).base(), Err(SettingsError::ApiPath { .. })), "{url}");
        }
        for url in ["https://h/vws/", "https://h/api/"] {
            assert!(settings(url).base().is_ok(), "{url}");
        }
    }

    #[test]
    fn a_ca_without_certificates_is_refused() {
        let url = Url::parse("https://localhost").unwrap();
        let none = Settings { ca_pem: Some(b"nothing".to_vec()), ..settings("https://localhost") };
        assert!(matches!(none.http_client(&url, &Way::Direct), Err(SettingsError::Ca)));
    }
}
