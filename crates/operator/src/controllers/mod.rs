//! The reconcilers, one folder each, all in the same five steps:
//! dereference → validate → build → apply → status.

pub mod application_instance;
pub mod cluster;
pub mod gate;
