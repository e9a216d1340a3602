//! The control plane's memory: SQLite, one transaction per domain verb, nothing without an authorised handle.
