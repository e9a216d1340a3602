//! Agent side of the HTTP transport.
