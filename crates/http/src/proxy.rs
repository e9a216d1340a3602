//! Which way a peer is reached: directly, or through a proxy.
//!
//! The rules are those of Go's programs (package `httpproxy` of `golang.org/x/net`), so that one environment means the same
//! to every program of a cluster:
//!
//! - `HTTPS_PROXY` counts for `https`, `HTTP_PROXY` for `http`; the upper-case name goes before the lower-case one.
//! - `localhost` and loopback addresses are never reached through a proxy.
//! - `NO_PROXY` lists what else is reached directly, between commas; empty entries are skipped. An entry is `*`, an address,
//!   a network (`10.0.0.0/8`), or a domain: `example.com` is the host and all below it, `.example.com` and `*.example.com`
//!   all below it. Addresses and domains may end in a port.

use reqwest::{ClientBuilder, Proxy};
use std::fmt;
use thiserror::Error;
use url::{Host, Url};

mod exceptions;

use exceptions::Exceptions;

/// What the environment says about proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    http: Option<Url>,
    https: Option<Url>,
    exceptions: Exceptions,
}

/// How a peer is reached. Shown without user name and password.
#[derive(Clone, PartialEq, Eq)]
pub enum Way {
    /// Without a proxy.
    Direct,
    /// Through this one.
    Through(Url),
}

/// A variable that names no proxy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{variable} is no URL of a proxy; write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")]
pub struct NotAProxy {
    /// Its name. Its value may hold a password.
    pub variable: &'static str,
}

impl Rules {
    /// Those of this process's environment.
    ///
    /// # Errors
    /// A variable names no proxy.
    pub fn from_env() -> Result<Self, NotAProxy> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Those of the variables that `lookup` finds.
    ///
    /// # Errors
    /// A variable names no proxy.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, NotAProxy> {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, lookup(name).filter(|text| !text.is_empty())?)))
        };
        let proxy = |names| first(names).map(|(variable, text)| proxy_url(variable, &text)).transpose();
        Ok(Self {
            http: proxy(["HTTP_PROXY", "http_proxy"])?,
            https: proxy(["HTTPS_PROXY", "https_proxy"])?,
            exceptions: first(["NO_PROXY", "no_proxy"])
                .map(|(_, text)| Exceptions::read(&text))
                .unwrap_or_default(),
        })
    }

    /// How `peer` is reached.
    pub fn way_to(&self, peer: &Url) -> Way {
        let proxy = match peer.scheme() {
            "https" => &self.https,
            "http" => &self.http,
            _ => &None,
        };
        match (proxy, peer.host()) {
            (Some(proxy), Some(host))
                if !is_loopback(&host) && !self.exceptions.has(&host, peer.port_or_known_default()) =>
            {
                Way::Through(proxy.clone())
            }
            _ => Way::Direct,
        }
    }
}

/// Whether a host is this machine.
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
    }
}

pub(crate) fn apply(builder: ClientBuilder, way: &Way) -> ClientBuilder {
    // The library would read the environment by rules of its own.
    let builder = builder.no_proxy();
    match way {
        Way::Direct => builder,
        // A `Url` is one, and its scheme was checked.
        Way::Through(url) => match Proxy::all(url.clone()) {
            Ok(proxy) => builder.proxy(proxy),
            Err(_) => builder,
        },
    }
}

/// Go's programs take `HOST:PORT` for a proxy that speaks plain HTTP.
fn proxy_url(variable: &'static str, text: &str) -> Result<Url, NotAProxy> {
    let is_proxy =
        |url: &Url| matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") && url.host().is_some();
    let written = Url::parse(text).ok().filter(is_proxy);
    let completed =
        || Url::parse(&format!("http://{text}")).ok().filter(|_| !text.contains("://")).filter(is_proxy);
    written.or_else(completed).ok_or(NotAProxy { variable })
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => formatter.write_str("directly"),
            Self::Through(url) => {
                write!(
                    formatter,
                    "through the proxy {}://{}",
                    url.scheme(),
                    url.host_str().unwrap_or_default()
                )?;
                url.port().map_or(Ok(()), |port| write!(formatter, ":{port}"))
            }
        }
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests;
