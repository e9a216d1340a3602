//! vwctl: the control plane from the command line.
//!
//! ```text
//!   args → commands/* ── client ──► /api/v1
//!              │
//!              └── bodies ──► render/* (pure: bodies → text) ──► stdout        talk, progress, errors ──► stderr
//! ```
//!
//! `-o json` and `-o yaml` print the bodies of the admin API as they are: a contract for scripts. Tables are for
//! people and may change.

pub mod args;
mod chart_values;
mod commands;
mod config;
mod connect;
mod duration;
pub mod error;
mod files;
mod follow;
mod output;
mod progress;
mod render;
mod resolve;
mod signals;
mod yaml;

pub use args::Arguments;
pub use error::Error;

use args::Command;
use connect::Context;
use output::say;

/// Runs one command.
///
/// # Errors
/// See [`Error`].
pub async fn run(arguments: Arguments) -> Result<(), Error> {
    let Arguments { server, output, command } = arguments;
    let context = Context { server, format: output };
    match command {
        Command::Login(login) => login.run(&context).await,
        Command::Whoami(whoami) => whoami.run(&context).await,
        Command::Org(org) => org.run(&context).await,
        Command::Token(token) => token.run(&context).await,
        Command::Cluster(cluster) => cluster.run(&context).await,
        Command::App(app) => app.run(&context).await,
        Command::Job(job) => job.run(&context).await,
        Command::Events(events) => events.run(&context).await,
        Command::Completions(completions) => completions.run(),
    }
}

/// Tells on stderr what went wrong, and what to do next.
pub fn report(error: &Error) {
    const RED: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
    const CYAN: anstyle::Style = anstyle::AnsiColor::Cyan.on_default().bold();
    say(&format!("{RED}error{RED:#}: {}", render::with_causes(error)));
    for line in error.excerpt().lines() {
        say(&render::plain_line(line));
    }
    say(&format!("{CYAN}hint{CYAN:#}: {}", error.hint()));
}
