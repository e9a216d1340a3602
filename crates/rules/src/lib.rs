//! What an application must keep before it travels. Pure.
//!
//! Command line, control plane and operator judge by the same rules, so that what one of them lets through the next one
//! does not refuse. Where a rule stands in the CRD's schema too, the API server enforces it with none of them running.

pub mod address;
pub mod redact;

pub use redact::redact;
