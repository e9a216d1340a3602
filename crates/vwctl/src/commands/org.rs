//! `vwctl org`.

use crate::{
    Error,
    connect::Context,
    output::{print, say_if_cut},
    render,
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
    List,
}

impl Org {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self.action {
            Action::Create { name } => {
                let made = client.create_organization(&CreateOrganization { name }).await?;
                print(&context.format.render(&made, render::organization)?)
            }
            Action::List => {
                let page = client.organizations().await?;
                say_if_cut(page.next_cursor.is_some(), page.items.len());
                print(&context.format.render(&page, render::organizations)?)
            }
        }
    }
}
