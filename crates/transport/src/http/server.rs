//! Server side of the HTTP transport.
