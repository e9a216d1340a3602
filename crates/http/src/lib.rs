//! How a peer is reached: through which proxy, and with which certificates.
//!
//! - [`proxy`]: the rules of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, as Go's programs read them;
//! - [`client_builder`]: what every HTTP client of ours has in common;
//! - [`causes()`]: why a request failed;
//! - [`tls_fault`]: whether TLS is the reason.

pub mod proxy;

mod builder;
mod causes;
mod tls;

pub use builder::{CaError, check_ca, client_builder};
pub use causes::causes;
pub use tls::{TlsFault, tls_fault};
