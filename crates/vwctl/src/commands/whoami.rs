//! `vwctl whoami`.

use crate::{Error, connect::Context, output::print, render};
use clap::Args;

/// Whose token is in use, and what it may do.
#[derive(Args, Debug)]
pub struct Whoami {}

impl Whoami {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let whoami = context.client()?.whoami().await?;
        print(&context.format.render(&whoami, render::whoami)?)
    }
}
