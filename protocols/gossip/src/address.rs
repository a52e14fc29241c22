//! Where a node can be dialled: host and port. Addresses appear in descriptors,
//! in the list of past neighbours and, sealed, in introductions; never in a record.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Longest host name taken, from RFC 1035.
pub const MAX_HOST_LEN: usize = 253;

/// The host part of an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A name, in lower case; it is resolved by whoever dials.
    Name(String),
}

/// A host and a TCP port (never zero).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The host.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

impl Host {
    /// Reads a host: an IPv4 literal, an IPv6 literal in brackets, or a name.
    /// `None` when it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            return inner.parse::<Ipv6Addr>().ok().map(|ip| Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Some(Self::Ip(ip.into()));
        }
        let labels_fine = !text.is_empty()
            && text.len() <= MAX_HOST_LEN
            && text.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            });
        // All digits and dots is a mistyped address, not a name.
        let looks_like_ip = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        (labels_fine && !looks_like_ip).then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

impl Address {
    /// The literal address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }

    /// As a libp2p address: `/ip4/…/tcp/…`, `/ip6/…` or `/dns/…`. Without `/p2p`.
    pub fn multiaddr(&self) -> Multiaddr {
        let host = match &self.host {
            Host::Ip(IpAddr::V4(ip)) => Protocol::Ip4(*ip),
            Host::Ip(IpAddr::V6(ip)) => Protocol::Ip6(*ip),
            Host::Name(name) => Protocol::Dns(name.as_str().into()),
        };
        Multiaddr::empty().with(host).with(Protocol::Tcp(self.port))
    }

    /// Reads `/ip4|ip6|dns*/…/tcp/…`, whatever follows. `None` for other forms.
    pub fn from_multiaddr(addr: &Multiaddr) -> Option<Self> {
        let mut parts = addr.iter();
        let host = match parts.next()? {
            Protocol::Ip4(ip) => Host::Ip(ip.into()),
            Protocol::Ip6(ip) => Host::Ip(ip.into()),
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
                Host::Name(name.to_string())
            }
            _ => return None,
        };
        match parts.next()? {
            Protocol::Tcp(port) => Some(Self { host, port }),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self {
            host: Host::Ip(addr.ip()),
            port: addr.port(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

// `Debug` ends up in logs; addresses do not belong there.
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[scrubbed host]")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[scrubbed address]")
    }
}
