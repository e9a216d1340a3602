//! One file per command: ask the admin API, hand the bodies to `render`, print.

mod app;
mod cluster;
mod completions;
mod enqueue;
mod job;
mod login;
mod org;
mod release;
mod token;

pub use app::App;
pub use cluster::Cluster;
pub use completions::Completions;
pub use job::Job;
pub use login::Login;
pub use org::Org;
pub use token::Token;
