//! Why a request failed, in one line.

use std::error::Error;

/// The causes, innermost last: the library's own text stops at "error sending request".
pub fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out" } else { "request failed" }.to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
