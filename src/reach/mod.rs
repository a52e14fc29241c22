//! Whether other nodes can dial this one, and what is done about it.
//!
//! | where | what |
//! |---|---|
//! | `home` | this machine's address and its router |
//! | `mapping` | one port mapping by PCP, NAT-PMP or UPnP |
//! | `keeper` | keeps a mapping: asks, renews, removes |
//! | `probe` | dials a neighbour that wants to know whether it can be dialled |
//!
//! What the neighbours say of this node, and how often they are asked, is gossip's; what an
//! operator is told is `crate::doctor`'s. Mappings are for IPv4: with IPv6 there is no address to
//! translate.

mod home;
mod keeper;
mod mapping;
mod probe;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::config::{Chain, Config, MappingProtocol};

pub use home::{Home, is_global, is_private};
pub use keeper::{Keeper, Pace};
pub use mapping::{MapError, Protocol};
pub use probe::Prober;

/// Why no router is asked for a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// `mapping_protocol` is `off`.
    SwitchedOff,
    /// The mode accepts no connections.
    AcceptsNone,
    /// The chain is `dev`: the network is on this machine, or in a network made for it.
    Development,
    /// `advertise` says where the node is.
    Advertised,
    /// It listens on loopback only.
    Loopback,
    /// It listens on no IPv4 address.
    NoIpv4,
    /// The address is not a private one: no translation is to be expected.
    Public,
    /// This machine has no route to anywhere.
    NoNetwork,
}

/// A mapping that a router holds for this node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// By which protocol.
    pub protocol: Protocol,
    /// Where the router sends connections.
    pub internal: SocketAddrV4,
    /// Where others can dial.
    pub external: SocketAddrV4,
    /// How long it lasts without a renewal, in seconds.
    pub lifetime: u32,
}

// Addresses do not belong in logs.
impl std::fmt::Debug for Mapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapped")
            .field("protocol", &self.protocol)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// How it stands with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingState {
    /// None is asked for.
    Idle(Idle),
    /// A router is being asked for the first time.
    Asking,
    /// There is one.
    Mapped(Mapped),
    /// There is none, by each protocol for its own reason; it is tried again.
    Failed(Vec<(Protocol, MapError)>),
}

impl MappingState {
    /// Where others can dial, by the mapping.
    #[must_use]
    pub fn external(&self) -> Option<SocketAddrV4> {
        match self {
            Self::Mapped(mapped) => Some(mapped.external),
            _ => None,
        }
    }
}

/// What should be mapped, as long as the machine's address is private: the IPv4 address (where
/// one was chosen) and port. By the settings, because of what listens on all addresses only those
/// of single interfaces are `listening`, loopback first; from these is the port where the system
/// chose it.
///
/// # Errors
/// [`Idle`]: nothing should.
pub fn wanted(config: &Config, listening: &[SocketAddr]) -> Result<(Option<Ipv4Addr>, u16), Idle> {
    if !config.mode.joins() || !config.mode.accepts_connections() {
        return Err(Idle::AcceptsNone);
    }
    if config.chain == Chain::Dev {
        return Err(Idle::Development);
    }
    if config.advertise.is_some() {
        return Err(Idle::Advertised);
    }
    let v4 = |address: &SocketAddr| match address {
        SocketAddr::V4(address) => Some(*address),
        SocketAddr::V6(_) => None,
    };
    let mut configured = config.listen.iter().filter_map(v4).peekable();
    if configured.peek().is_none() {
        return Err(Idle::NoIpv4);
    }
    let mut beyond = configured.filter(|address| !address.ip().is_loopback());
    let address = beyond.next().ok_or(Idle::Loopback)?;
    if config.mapping_protocol == MappingProtocol::Off {
        return Err(Idle::SwitchedOff);
    }
    let chosen = Some(*address.ip()).filter(|ip| !ip.is_unspecified());
    let port = match address.port() {
        0 => listening
            .iter()
            .filter_map(v4)
            .find(|at| chosen.is_none_or(|ip| ip == *at.ip()))
            .map_or(0, |at| at.port()),
        port => port,
    };
    if port == 0 {
        return Err(Idle::NoIpv4);
    }
    Ok((chosen, port))
}

/// The protocols to try, in order.
#[must_use]
pub fn protocols(choice: MappingProtocol) -> &'static [Protocol] {
    match choice {
        MappingProtocol::Auto => &[Protocol::Pcp, Protocol::NatPmp, Protocol::Upnp],
        MappingProtocol::Pcp => &[Protocol::Pcp],
        MappingProtocol::Pmp => &[Protocol::NatPmp],
        MappingProtocol::Igdp => &[Protocol::Upnp],
        MappingProtocol::Off => &[],
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
