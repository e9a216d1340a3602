//! The whole server through real HTTP on loopback, over a real database in a temporary folder.

mod bad_input;
mod jobs;
mod openapi;
mod polling;
mod program;
mod registration;
mod reports;
mod support;
mod tenancy;
mod tls;
