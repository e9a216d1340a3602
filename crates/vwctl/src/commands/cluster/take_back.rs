//! What was given to a cluster is taken back.

use crate::{
    Error,
    connect::Context,
    error::Thing,
    output::{print, say, say_if_cut},
    render, resolve,
};
use clap::Subcommand;
use vworkspace_client::Client;
use vworkspace_protocol::id::TokenId;

#[derive(Subcommand, Debug)]
pub(super) enum TakeBack {
    /// List the registration tokens of a cluster that wait to be used, without their secrets.
    Tokens {
        /// Name or id of the cluster.
        cluster: String,
    },
    /// Revoke a registration token that waits to be used.
    RevokeToken {
        /// Name or id of the cluster.
        cluster: String,
        /// Id of the token: the 16 characters after `vwksp-reg-`.
        id: String,
    },
    /// End every credential and open registration token of a cluster.
    ///
    /// Its operator is refused at once; what runs in the cluster goes on running. Open jobs wait. A new token
    /// (`vwctl cluster token`) brings the same cluster back.
    Revoke {
        /// Name or id of the cluster.
        cluster: String,
    },
    /// Take a cluster out of use for good.
    ///
    /// Its credentials end, open jobs are cancelled, its name may be used again. Nothing is sent to the cluster; what
    /// runs there goes on running. Jobs, events and audit records stay.
    Archive {
        /// Name or id of the cluster.
        cluster: String,
    },
}

impl TakeBack {
    pub(super) async fn run(self, context: &Context, client: &Client) -> Result<(), Error> {
        match self {
            Self::Tokens { cluster } => {
                let cluster = resolve::cluster(client, &cluster).await?;
                let page = client.registration_tokens(&cluster.id).await?;
                say_if_cut(page.next_cursor.is_some(), page.items.len());
                print(&context.format.render(&page, render::registration_tokens)?)
            }
            Self::RevokeToken { cluster, id } => {
                let found = resolve::cluster(client, &cluster).await?;
                let revoked = client.revoke_registration_token(&found.id, &TokenId::new(id.as_str())).await;
                let what = Thing::RegistrationToken { cluster };
                revoked.map_err(|error| Error::from(error).about(what, &id))?;
                say(&format!("Revoked {id}."));
                Ok(())
            }
            Self::Revoke { cluster } => {
                let cluster = resolve::cluster(client, &cluster).await?;
                let revoked = client.revoke_cluster(&cluster.id).await?;
                let name = &revoked.name;
                say(&format!("Revoked. `vwctl cluster token {name} --manifest` says how to bring it back."));
                print(&context.format.render(&revoked, render::cluster)?)
            }
            Self::Archive { cluster } => {
                let cluster = resolve::cluster(client, &cluster).await?;
                let archived = client.archive_cluster(&cluster.id).await?;
                print(&context.format.render(&archived, render::cluster)?)
            }
        }
    }
}
