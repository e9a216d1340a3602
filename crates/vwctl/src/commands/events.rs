//! `vwctl events`.

use super::{ClusterArg, limit};
use crate::{
    Error,
    connect::Context,
    output::{print, say_if_cut},
    render, resolve,
};
use clap::Args;
use std::num::NonZeroU16;

/// What a cluster reported, newest first.
#[derive(Args, Debug)]
pub struct Events {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Only events of this kind, for example ConditionTransition or ObjectDeleted.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// At most so many.
    #[arg(long, default_value = "50", value_parser = limit, value_name = "N")]
    limit: NonZeroU16,
}

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let cluster = resolve::cluster(&client, &self.cluster.cluster).await?;
        let kind = self.kind.unwrap_or_default();
        let page = client.events(&cluster.id, &kind, self.limit.get().into()).await?;
        say_if_cut(page.next_cursor.is_some(), page.items.len());
        print(&context.format.render(&page, render::events)?)
    }
}
