//! `vwctl login`.

use crate::{
    Error,
    config::Config,
    connect::{self, Context},
    files,
    output::{print, say},
    render,
};
use clap::Args;
use std::io::{IsTerminal as _, Read as _};
use vworkspace_protocol::Secret;

/// Longest token read from stdin.
const TOKEN_BYTES: u64 = 4096;

/// Check a token and keep it, with the server it is for.
#[derive(Args, Debug)]
pub struct Login {
    /// Read the token from standard input; without, it is asked for, or taken from VWCTL_TOKEN.
    #[arg(long)]
    token_stdin: bool,
}

impl Login {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let server = context.server.server.clone().ok_or(Error::LoginServer)?;
        let ca = context.server.ca.as_deref().map(files::ca).transpose()?;
        let config = Config {
            server,
            token: self.token()?,
            ca,
            allow_insecure_http: context.server.allow_insecure_http,
        };
        let whoami = connect::client(&config.settings())?.whoami().await?;
        let path = Config::path()?;
        config.save(&path)?;
        say(&format!("Logged in to {}; stored in {}.", config.server, path.display()));
        print(&context.format.render(&whoami, render::whoami)?)
    }

    fn token(&self) -> Result<Secret, Error> {
        let token = if self.token_stdin {
            let mut text = String::new();
            std::io::stdin().take(TOKEN_BYTES).read_to_string(&mut text).map_err(Error::Stdin)?;
            Secret::new(&text)
        } else if let Some(token) = connect::token_of_environment() {
            token
        } else if std::io::stdin().is_terminal() {
            let terminal = console::Term::stderr();
            terminal.write_str("Token: ").map_err(Error::Stdin)?;
            Secret::new(&terminal.read_secure_line().map_err(Error::Stdin)?)
        } else {
            return Err(Error::LoginToken);
        };
        if token.is_empty() { Err(Error::LoginToken) } else { Ok(token) }
    }
}
