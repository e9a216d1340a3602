//! The reconcilers, one folder each, all in the same five steps:
//! dereference → validate → build → apply → status.
