//! `vwctl org`.

use crate::{
    Error,
    connect::Context,
    output::{print, say_if_cut},
    render, resolve,
};
use clap::{Args, Subcommand};
use vworkspace_protocol::admin::CreateOrganization;

/// Organizations: the tenants.
#[derive(Args, Debug)]
pub struct Org {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make an organization; admins only.
    Create {
        /// Unique, a DNS label.
        name: String,
    },
    /// List the organizations you may see.
    List {
        /// Show archived ones as well.
        #[arg(long)]
        archived: bool,
    },
    /// Take an organization out of use for good, with all its clusters; admins only.
    ///
    /// Its API tokens and its clusters' credentials end, open jobs are cancelled, its name may be used again. Nothing
    /// is sent to the clusters; jobs, events and audit records stay.
    Archive {
        /// Name or id of the organization.
        org: String,
    },
}

impl Org {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self.action {
            Action::Create { name } => {
                let made = client.create_organization(&CreateOrganization { name }).await?;
                print(&context.format.render(&made, render::organization)?)
            }
            Action::Archive { org } => {
                let organization = resolve::organization(&client, &org).await?;
                let archived = client.archive_organization(&organization.id).await?;
                print(&context.format.render(&archived, render::organization)?)
            }
            Action::List { archived } => {
                let page = client.organizations_and(archived).await?;
                say_if_cut(page.next_cursor.is_some(), page.items.len());
                print(&context.format.render(&page, render::organizations)?)
            }
        }
    }
}
