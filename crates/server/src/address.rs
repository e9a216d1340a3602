//! Where a request comes from: the TCP peer, or what a trusted proxy says about it.

use axum::extract::Request;
use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};
use thiserror::Error;
use vworkspace_transport::http::server::Peer;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// A network, for example `10.0.0.0/8`. A single address is a network, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write an address or a network, for example 10.0.0.0/8 or fd00::/8")]
pub struct NotANetwork;

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(network.to_bits().into(), address.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_prefix(network.to_bits(), address.to_bits(), 128, self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn same_prefix(one: u128, other: u128, width: u32, bits: u8) -> bool {
    let rest = width.saturating_sub(bits.into());
    one.checked_shr(rest).unwrap_or_default() == other.checked_shr(rest).unwrap_or_default()
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| NotANetwork)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(NotANetwork) } else { Ok(Self { address, bits }) }
    }
}

/// Replaces the request's [`Peer`] by the client that its trusted proxies name.
pub fn see_through_proxies(request: &mut Request, trusted: &[Network]) {
    if trusted.is_empty() {
        return;
    }
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else { return };
    let lists = request.headers().get_all(FORWARDED_FOR);
    let lists: Vec<&str> = lists.iter().filter_map(|value| value.to_str().ok()).collect();
    let client = client(peer, &lists, trusted);
    request.extensions_mut().insert(Peer(client));
}

/// Each proxy adds the address it was called from at the end of the list, so what stands before an address that is no
/// trusted proxy may be invented.
fn client(peer: IpAddr, lists: &[&str], trusted: &[Network]) -> IpAddr {
    let mut client = peer.to_canonical();
    for entry in lists.iter().rev().flat_map(|list| list.rsplit(',')) {
        if !trusted.iter().any(|network| network.contains(client)) {
            break;
        }
        let Some(address) = address(entry.trim()) else { break };
        client = address.to_canonical();
    }
    client
}

/// Some proxies write the port, too.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn seen(peer: &str, lists: &[&str], trusted: &[&str]) -> String {
        client(peer.parse().unwrap(), lists, &networks(trusted)).to_string()
    }

    #[test]
    fn forwarded_addresses_of_strangers_are_ignored() {
        assert_eq!(seen("192.0.2.7", &["198.51.100.1"], &[]), "192.0.2.7");
        assert_eq!(seen("192.0.2.7", &["198.51.100.1"], &["10.0.0.0/8"]), "192.0.2.7");
        assert_eq!(seen("10.1.2.3", &["6.6.6.6, 198.51.100.1"], &["10.0.0.0/8"]), "198.51.100.1");
    }

    #[test]
    fn a_chain_of_trusted_proxies_is_followed_to_its_end() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(seen("10.1.2.3", &["203.0.113.9, 10.9.9.9", "fd00::1"], &trusted), "203.0.113.9");
        assert_eq!(seen("::ffff:10.1.2.3", &["[2001:db8::1]:443"], &trusted), "2001:db8::1");
        assert_eq!(seen("10.1.2.3", &["203.0.113.9:50000"], &trusted), "203.0.113.9");
        assert_eq!(seen("10.1.2.3", &["nonsense"], &trusted), "10.1.2.3");
        assert_eq!(seen("10.1.2.3", &[], &trusted), "10.1.2.3");
    }

    #[test]
    fn a_network_is_an_address_with_a_prefix() {
        for wrong in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/x", "example"] {
            assert_eq!(wrong.parse::<Network>(), Err(NotANetwork), "{wrong}");
        }
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(
            contains("0.0.0.0/0", "1.2.3.4") && contains("::/0", "::1") && contains("1.2.3.4", "1.2.3.4")
        );
        assert!(!contains("1.2.3.4", "1.2.3.5") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("10.128.0.0/9", "10.255.0.1") && !contains("10.128.0.0/9", "10.127.0.1"));
    }
}
