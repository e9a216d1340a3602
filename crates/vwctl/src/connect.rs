//! From flags, environment and stored login to a client.

use crate::{Error, args::Server, config::Config, files, output::Format};
use vworkspace_client::Client;
use vworkspace_client::Settings;
use vworkspace_protocol::Secret;

/// What every command is given.
pub(crate) struct Context {
    pub server: Server,
    pub format: Format,
}

impl Context {
    /// A client of the control plane meant.
    pub fn client(&self) -> Result<Client, Error> {
        client(&self.login()?.settings())
    }

    /// The server meant, with token and CA.
    pub fn login(&self) -> Result<Config, Error> {
        let ca = self.server.ca.as_deref().map(files::ca).transpose()?;
        decide(&self.server, ca, token_of_environment(), stored()?)
    }
}

pub(crate) fn client(settings: &Settings) -> Result<Client, Error> {
    Ok(Client::with(settings)?)
}

pub(crate) fn token_of_environment() -> Option<Secret> {
    let token = std::env::var("VWCTL_TOKEN").ok()?;
    Some(Secret::new(&token)).filter(|token| !token.is_empty())
}

/// What `vwctl login` left behind.
enum Stored {
    Login(Config),
    Nothing,
    /// There should be a login, and this is why it is not at hand.
    Missing(Error),
}

/// Where nothing can be stored, nothing is.
fn stored() -> Result<Stored, Error> {
    let Ok(path) = Config::path() else { return Ok(Stored::Nothing) };
    Ok(match (Config::load(&path), Config::named()) {
        (Ok(Some(login)), _) => Stored::Login(login),
        (Ok(None), Some(path)) => Stored::Missing(Error::NoConfigFile { path }),
        (Ok(None), None) => Stored::Nothing,
        (Err(unreadable @ Error::Read { .. }), _) => Stored::Missing(unreadable),
        (Err(error), _) => return Err(error),
    })
}

/// The stored token and CA are for the stored server alone: they are never shown to another one. A missing file
/// matters only to a command that needs it.
fn decide(
    flags: &Server,
    ca: Option<String>,
    token: Option<Secret>,
    stored: Stored,
) -> Result<Config, Error> {
    let (stored, missing) = match stored {
        Stored::Login(login) => (Some(login), None),
        Stored::Nothing => (None, None),
        Stored::Missing(why) => (None, Some(why)),
    };
    let or_missing = |error| missing.unwrap_or(error);
    let same =
        |url: &str, other: &str| url.trim().trim_end_matches('/') == other.trim().trim_end_matches('/');
    let stored =
        stored.filter(|stored| flags.server.as_deref().is_none_or(|server| same(server, &stored.server)));
    let (stored_server, stored_token, stored_ca, stored_insecure) = match stored {
        Some(stored) => (Some(stored.server), Some(stored.token), stored.ca, stored.allow_insecure_http),
        None => (None, None, None, false),
    };
    let Some(server) = flags.server.clone().or(stored_server) else {
        return Err(or_missing(Error::NoServer));
    };
    let Some(token) = token.or(stored_token) else {
        return Err(or_missing(Error::NoToken { server }));
    };
    Ok(Config {
        server,
        token,
        ca: ca.or(stored_ca),
        allow_insecure_http: flags.allow_insecure_http || stored_insecure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn stored() -> Stored {
        Stored::Login(Config {
            server: "https://a.example".to_owned(),
            token: Secret::new("stored"),
            ca: Some("stored ca".to_owned()),
            allow_insecure_http: false,
        })
    }

    fn flags(server: Option<&str>) -> Server {
        Server { server: server.map(str::to_owned), ..Server::default() }
    }

    #[test]
    fn the_stored_login_is_used_unless_something_else_is_said() {
        let login = decide(&flags(None), None, None, stored()).unwrap();
        assert_eq!((login.server.as_str(), login.token.expose()), ("https://a.example", "stored"));
        let login =
            decide(&flags(Some("https://a.example/")), Some("ca".into()), Some(Secret::new("t")), stored())
                .unwrap();
        assert_eq!((login.token.expose(), login.ca.as_deref()), ("t", Some("ca")));
    }

    #[test]
    fn a_stored_token_is_never_sent_to_another_server() {
        let other = flags(Some("https://b.example"));
        assert!(matches!(decide(&other, None, None, stored()), Err(Error::NoToken { .. })));
        let login = decide(&other, None, Some(Secret::new("t")), stored()).unwrap();
        assert_eq!((login.token.expose(), login.ca), ("t", None));
    }

    #[test]
    fn without_a_server_there_is_nothing_to_ask() {
        assert!(matches!(
            decide(&flags(None), None, Some(Secret::new("t")), Stored::Nothing),
            Err(Error::NoServer)
        ));
    }

    #[test]
    fn a_file_that_was_named_and_is_not_there_is_told_to_who_needs_it() {
        let missing = || Stored::Missing(Error::NoConfigFile { path: PathBuf::from("/no/such.yaml") });
        for (server, token) in [(None, Some(Secret::new("t"))), (Some("https://a.example"), None)] {
            let error = decide(&flags(server), None, token, missing()).err().unwrap();
            assert!(error.to_string().contains("VWCTL_CONFIG names /no/such.yaml"), "{error}");
        }
        let token = Some(Secret::new("t"));
        assert!(decide(&flags(Some("https://a.example")), None, token, missing()).is_ok());
    }
}
