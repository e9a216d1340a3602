//! The command line. Flags win over the environment, which wins over what `vwctl login` stored.

use crate::{
    commands::{App, Cluster, Completions, Events, Job, Login, Org, Token, Whoami},
    output::Format,
};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::path::PathBuf;

/// What `vwctl --help` says of [`crate::error::exit`].
const EXIT_CODES: &str = "Exit codes:
  0  done
  1  refused by the control plane, or impossible
  2  the command line is wrong, or a file or variable that it names
  3  a job that was waited for did not succeed
  4  the control plane cannot be reached or is overloaded; the same command may work later
  128 + N  ended by signal N while a job was followed; the job goes on";

/// The vWorkspace control plane from the command line.
#[derive(Parser, Debug)]
#[command(name = "vwctl", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    /// How to reach the control plane.
    #[command(flatten)]
    pub server: Server,
    /// How to print what was asked for; json and yaml are stable.
    #[arg(short, long, global = true, env = "VWCTL_OUTPUT", hide_env_values = true)]
    #[arg(value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// Reads the command line; a variable of the environment that is empty counts as unset. Ends the program with exit code
    /// 2 where it is wrong.
    pub fn read() -> Self {
        let matches = without_empty_variables(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &_| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command =
        command.mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(None) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

/// How to reach the control plane. The token comes from `VWCTL_TOKEN` or `vwctl login`, never from a flag: other
/// users of a machine can read command lines.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Control plane")]
pub struct Server {
    /// Base URL of the control plane.
    #[arg(long, global = true, env = "VWCTL_SERVER", hide_env_values = true, value_name = "URL")]
    pub server: Option<String>,
    /// PEM file with the only certificates to trust, instead of those of the operating system.
    #[arg(long, global = true, env = "VWCTL_CA", hide_env_values = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Speak plain HTTP to another machine; the token then travels readable.
    #[arg(long, global = true, env = "VWCTL_ALLOW_INSECURE_HTTP", hide_env_values = true)]
    pub allow_insecure_http: bool,
}

/// What vwctl can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Check a token and keep it, with the server it is for.
    Login(Login),
    /// Say whose token is in use, and what it may do.
    Whoami(Whoami),
    /// Organizations: the tenants.
    Org(Org),
    /// Tokens of the admin API: make, list, revoke.
    Token(Token),
    /// Clusters and their registration.
    Cluster(Cluster),
    /// Applications in a cluster.
    App(App),
    /// Jobs: what a cluster was asked to do, and what became of it.
    Job(Job),
    /// List what a cluster reported, newest first.
    Events(Events),
    /// Print the completion script of a shell.
    Completions(Completions),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
