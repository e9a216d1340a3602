//! One file per command: ask the admin API, hand the bodies to `render`, print.

mod app;
mod cluster;
mod completions;
mod enqueue;
mod events;
mod job;
mod login;
mod org;
mod release;
mod token;
mod whoami;

pub use app::App;
pub use cluster::Cluster;
pub use completions::Completions;
pub use events::Events;
pub use job::Job;
pub use login::Login;
pub use org::Org;
pub use token::Token;
pub use whoami::Whoami;

use clap::Args;
use std::num::NonZeroU16;

/// The cluster that a command is about.
#[derive(Args, Debug)]
struct ClusterArg {
    /// Name or id of the cluster.
    #[arg(short, long, env = "VWCTL_CLUSTER", hide_env_values = true, value_name = "CLUSTER")]
    cluster: String,
}

fn limit(text: &str) -> Result<NonZeroU16, &'static str> {
    text.parse().map_err(|_| "write a number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_none_is_answered_with_what_is_one() {
        assert_eq!(limit("1").unwrap(), NonZeroU16::MIN);
        for wrong in ["0", "-1", "many", "65536"] {
            assert!(limit(wrong).unwrap_err().starts_with("write a number from 1"), "{wrong}");
        }
    }
}
