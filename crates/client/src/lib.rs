//! Typed client of the control plane's admin API.
