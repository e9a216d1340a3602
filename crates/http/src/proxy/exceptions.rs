//! What `NO_PROXY` lists.

use ipnet::IpNet;
use std::net::IpAddr;
use url::Host;

/// Peers that are reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    All,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    /// What is below the domain, and where `itself` is set, the domain.
    Domain {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Exceptions {
    /// Entries that are none, like a port without a host, except nothing.
    pub(super) fn read(text: &str) -> Self {
        Self(text.split(',').filter_map(|entry| Exception::read(entry.trim())).collect())
    }

    pub(super) fn has(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        self.0.iter().any(|exception| exception.fits(host, port))
    }
}

impl Exception {
    fn read(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = entry.parse() {
            return Some(Self::Network(network));
        }
        let (host, port) = split_port(entry);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        match Host::parse(below.unwrap_or(host)) {
            Ok(Host::Domain(name)) => Some(Self::Domain { name, itself: below.is_none(), port }),
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) | Err(_) => None,
        }
    }

    fn fits(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        let is_port = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::from(*address)),
            Host::Ipv6(address) => Some(IpAddr::from(*address).to_canonical()),
        };
        match self {
            Self::All => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Address(listed, wanted) => address == Some(*listed) && is_port(wanted),
            Self::Domain { name, itself, port } => {
                let Host::Domain(host) = host else { return false };
                let above = host.strip_suffix(name.as_str());
                let fits = above.is_some_and(|above| above.ends_with('.') || (above.is_empty() && *itself));
                fits && is_port(port)
            }
        }
    }
}

/// `HOST:PORT`. An IPv6 address has a port only behind brackets.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let split = entry.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    match split.map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, Some(port)),
        Some((_, Err(_))) | None => (entry, None),
    }
}
