//! Why a request failed, in one line.

use crate::tls_fault;
use std::error::Error;

/// What is wrong with the port's TLS, or else the causes, innermost last: the library's own text stops at "error sending
/// request".
pub fn causes(error: &reqwest::Error) -> String {
    if let Some(fault) = tls_fault(error) {
        return fault.to_string();
    }
    let mut text = if error.is_timeout() { "timed out" } else { "request failed" }.to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
