//! The testbed's own promises, on the real API server: what the operator's account may do, which objects our
//! definitions refuse, what columns people see, that charts run, and that nothing outlives a killed run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod charts;
mod columns;
mod death;
mod namespaces;
mod objects;
mod rights;
mod rules_of_application_instance;
mod rules_of_cluster_and_operation;
