//! `vwctl token`.

use crate::{
    Error,
    connect::Context,
    error::Thing,
    output::{print, say, say_if_cut},
    render, resolve,
};
use clap::{Args, Subcommand};
use vworkspace_client::Client;
use vworkspace_protocol::{
    admin::{CreateApiToken, Role},
    id::{OrganizationId, TokenId},
};

/// Tokens of the admin API: an organization's, and the administrators'.
#[derive(Args, Debug)]
pub struct Token {
    #[command(subcommand)]
    action: Action,
}

/// Whose tokens.
#[derive(Args, Debug)]
struct Owner {
    /// Name or id of the organization; without, the tokens like the one in use: its organization's, or the
    /// administrators'.
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make a token and print it; it is shown only this once.
    Create {
        /// What it is for; shown in lists and audit records.
        description: String,
        #[command(flatten)]
        owner: Owner,
    },
    /// List the tokens that work, without their secrets.
    List {
        #[command(flatten)]
        owner: Owner,
    },
    /// Revoke a token; whoever uses it is refused at once.
    Revoke {
        /// Id of the token: the 16 characters after `vwksp-adm-`.
        id: String,
        #[command(flatten)]
        owner: Owner,
        /// Revoke it even if it is the last one.
        #[arg(long)]
        force: bool,
    },
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self.action {
            Action::Create { description, owner } => {
                let owner = owner.resolve(&client).await?;
                let made = client.create_api_token(owner.as_ref(), &CreateApiToken { description }).await?;
                say(&format!("Shown this once; its id is {}.", made.id));
                print(&context.format.render(&made, |made| made.token.expose().to_owned())?)
            }
            Action::List { owner } => {
                let page = client.api_tokens(owner.resolve(&client).await?.as_ref()).await?;
                say_if_cut(page.next_cursor.is_some(), page.items.len());
                print(&context.format.render(&page, render::api_tokens)?)
            }
            Action::Revoke { id, owner, force } => {
                let owner = owner.resolve(&client).await?;
                let revoked =
                    client.revoke_api_token(owner.as_ref(), &TokenId::new(id.as_str()), force).await;
                revoked.map_err(|error| Error::from(error).about(Thing::ApiToken, &id))?;
                say(&format!("Revoked {id}."));
                Ok(())
            }
        }
    }
}

impl Owner {
    /// The organization; `None` for the administrators' tokens.
    async fn resolve(&self, client: &Client) -> Result<Option<OrganizationId>, Error> {
        if let Some(org) = &self.org {
            return Ok(Some(resolve::organization(client, org).await?.id));
        }
        let whoami = client.whoami().await?;
        Ok(match whoami.role {
            Role::Admin => None,
            Role::Organization => whoami.organization_id,
        })
    }
}
