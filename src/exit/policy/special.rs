//! Addresses that an exit has no business connecting to, after the IANA
//! special-purpose registries (RFC 6890 and its updates), and IPv4 addresses
//! hidden in IPv6 ones. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is special about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Special {
    /// This machine.
    Loopback,
    /// A private network: RFC 1918, unique local, shared (carrier-grade NAT).
    Private,
    /// The local link.
    LinkLocal,
    /// Metadata service of a cloud, which gives credentials to who asks.
    Metadata,
    /// Documentation, benchmarking and protocol assignments.
    Reserved,
    /// Multicast.
    Multicast,
    /// Nothing that can be connected to: unspecified, broadcast, future use.
    Unusable,
}

impl Special {
    /// Whether `allow_private` makes it ordinary, and `private` in a rule
    /// means it.
    #[must_use]
    pub fn opened_by_allow_private(self) -> bool {
        match self {
            Self::Loopback | Self::Private | Self::LinkLocal | Self::Reserved => true,
            Self::Metadata | Self::Multicast | Self::Unusable => false,
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Reserved => "reserved",
            Self::Multicast => "multicast",
            Self::Unusable => "unusable",
        })
    }
}

/// Narrow ranges before the wide ones that hold them.
const V4: [(Ipv4Addr, u8, Special); 19] = [
    // Metadata: most clouds; Alibaba; Oracle; Azure's host agent.
    (Ipv4Addr::new(169, 254, 169, 254), 32, Special::Metadata),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Special::Metadata),
    (Ipv4Addr::new(192, 0, 0, 192), 32, Special::Metadata),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Special::Metadata),
    // Container credentials of AWS.
    (Ipv4Addr::new(169, 254, 170, 2), 32, Special::Metadata),
    (Ipv4Addr::new(0, 0, 0, 0), 8, Special::Unusable),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Special::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Special::Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Special::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Special::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Special::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Special::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Special::Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Special::Reserved),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Special::Reserved),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Special::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Special::Unusable),
];

const V6: [(Ipv6Addr, u8, Special); 17] = [
    // Metadata of AWS.
    (
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        128,
        Special::Metadata,
    ),
    // Metadata of Google.
    (
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        128,
        Special::Metadata,
    ),
    (Ipv6Addr::UNSPECIFIED, 128, Special::Unusable),
    (Ipv6Addr::LOCALHOST, 128, Special::Loopback),
    // IPv4-compatible (deprecated) and translated addresses, local NAT64.
    (Ipv6Addr::UNSPECIFIED, 96, Special::Reserved),
    (
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0),
        96,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        Special::Private,
    ),
    // Discard only.
    (
        Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0),
        64,
        Special::Unusable,
    ),
    (
        Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0),
        48,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        Special::Reserved,
    ),
    // ORCHID, both generations: identifiers, not addresses.
    (
        Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0),
        28,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0),
        28,
        Special::Reserved,
    ),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        Special::Private,
    ),
    (
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
        Special::LinkLocal,
    ),
    // Site-local (deprecated).
    (
        Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
        10,
        Special::Private,
    ),
    (
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
        Special::Multicast,
    ),
];

/// What is special about `address` by itself (see [`embedded_v4`] for what may
/// be inside).
pub(super) fn classify(address: IpAddr) -> Option<Special> {
    match address.to_canonical() {
        IpAddr::V4(v4) => V4
            .iter()
            .find(|(net, bits, _)| in_v4(v4, *net, *bits))
            .map(|r| r.2),
        IpAddr::V6(v6) => V6
            .iter()
            .find(|(net, bits, _)| in_v6(v6, *net, *bits))
            .map(|r| r.2),
    }
}

/// The narrowest special IPv4 range that holds `address`.
pub(super) fn v4_range_of(address: IpAddr) -> Option<(Ipv4Addr, u8)> {
    let IpAddr::V4(v4) = address else { return None };
    V4.iter()
        .find(|(net, bits, _)| in_v4(v4, *net, *bits))
        .map(|(net, bits, _)| (*net, *bits))
}

/// The narrowest special IPv6 range that holds `address`.
pub(super) fn v6_range_of(address: IpAddr) -> Option<(Ipv6Addr, u8)> {
    let IpAddr::V6(v6) = address else { return None };
    V6.iter()
        .find(|(net, bits, _)| in_v6(v6, *net, *bits))
        .map(|(net, bits, _)| (*net, *bits))
}

pub(super) fn in_v4(address: Ipv4Addr, network: Ipv4Addr, bits: u8) -> bool {
    let differ = u32::from(address) ^ u32::from(network);
    differ
        .checked_shr(32 - u32::from(bits.min(32)))
        .unwrap_or(0)
        == 0
}

pub(super) fn in_v6(address: Ipv6Addr, network: Ipv6Addr, bits: u8) -> bool {
    let differ = u128::from(address) ^ u128::from(network);
    differ
        .checked_shr(128 - u32::from(bits.min(128)))
        .unwrap_or(0)
        == 0
}

/// The IPv4 address to which packets for `address` finally go, for every
/// way of wrapping one that a network between may unwrap: NAT64 (RFC 6052),
/// 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214), and the compatible
/// and translated forms. Mapped addresses are no longer IPv6 when they come
/// here.
pub(super) fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 1, ..] => Some(v4(s[6], s[7])),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [0x2001, 0, ..] => Some(v4(!s[6], !s[7])),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(v4(high, low)),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(v4(high, low)),
        _ => None,
    }
}
