//! Free ports on loopback.

use std::{
    array, io,
    net::{Ipv4Addr, TcpListener},
};

/// `N` different ports of 127.0.0.1 that were free a moment ago. Another program may take one before its owner does:
/// whoever starts a server tries again with new ones.
///
/// # Errors
/// Loopback cannot be bound at all.
pub fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    let listeners: [io::Result<TcpListener>; N] =
        array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(listeners.iter()) {
        let listener = listener.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
