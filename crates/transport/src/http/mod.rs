//! HTTP long-poll: the default transport, and the one v1 is specified against.

pub mod client;
pub mod form;
pub mod server;
