//! Which addresses told by strangers may be dialled: an introduction must not
//! turn this node against its own network or against somebody else's service.
//! Limits on how many neighbours may share an address are in `state::sources`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::Address;

/// Below this, ports belong to well-known services (RFC 6335)…
const FIRST_FREE_PORT: u16 = 1024;
/// …of which only this one is used by nodes, to look like the web.
const WEB_PORT: u16 = 443;

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Anywhere.
    Global,
    /// This host.
    Loopback,
    /// RFC 1918 and unique local addresses.
    Private,
    /// Carriers' shared space, RFC 6598.
    Shared,
    /// Documentation and benchmarks: nowhere outside of tests.
    Test,
}

/// Services of hosting providers that trust whoever can reach them, at addresses that would pass
/// otherwise. From the providers' manuals: Azure, Alibaba.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
];
/// The same: AWS, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254),
];

impl Scope {
    /// The scope of an address; `None` when no node can be there: unspecified, multicast,
    /// broadcast, link-local, reserved, metadata. Bounds from the IANA special-purpose registries.
    pub(crate) fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Option<Self> {
        if METADATA_V4.contains(&ip) {
            return None;
        }
        match ip.octets() {
            // This network, link-local, protocol assignments, 6to4 relays, multicast and above.
            [0 | 224.., ..] | [169, 254, ..] | [192, 0, 0, _] | [192, 88, 99, _] => None,
            [127, ..] => Some(Self::Loopback),
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Self::Private),
            [100, 64..=127, ..] => Some(Self::Shared),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18 | 19, ..] => {
                Some(Self::Test)
            }
            _ => Some(Self::Global),
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Option<Self> {
        if let Some(mapped) = ip.to_ipv4_mapped() {
            return Self::of_v4(mapped);
        }
        if ip.is_loopback() {
            return Some(Self::Loopback);
        }
        if METADATA_V6.contains(&ip) {
            return None;
        }
        if let Some(embedded) = embedded(ip) {
            // Translators and tunnels lead to the whole IPv4 network and nowhere else.
            return Self::of_v4(embedded).filter(|scope| *scope == Self::Global);
        }
        match ip.segments() {
            [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some(Self::Test),
            // Protocol assignments, Teredo among them.
            [0x2001, 0..=0x01ff, ..] => None,
            [0x2000..=0x3fff, ..] => Some(Self::Global),
            [0xfc00..=0xfdff, ..] => Some(Self::Private),
            _ => None,
        }
    }
}

/// The IPv4 address to which packets go on: NAT64 (RFC 6052), 6to4 (RFC 3056), ISATAP (RFC 5214).
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => Some(v4(high, low)),
        _ => None,
    }
}

/// Whether a node may listen on this port for strangers to dial it.
pub(crate) fn port_fine(port: u16) -> bool {
    port >= FIRST_FREE_PORT || port == WEB_PORT
}

/// Whether an address may be dialled at anybody's word, wherever this node is.
pub(crate) fn ever_dialable(address: &Address) -> bool {
    port_fine(address.port) && address.ip().is_some_and(|ip| Scope::of(ip).is_some())
}

/// Whether an address told by a stranger may be dialled by a node that is `at` these addresses:
/// global ones always, others only from within their scope.
pub(crate) fn may_dial<'a>(address: &Address, at: impl Iterator<Item = &'a Address>) -> bool {
    let Some(scope) = address.ip().and_then(Scope::of) else {
        return false;
    };
    let mut own = at.filter_map(|own| Scope::of(own.ip()?));
    port_fine(address.port) && (scope == Scope::Global || own.any(|own| own == scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(ip: &str) -> Option<Scope> {
        Scope::of(ip.parse().unwrap())
    }

    fn address(text: &str) -> Address {
        text.parse::<std::net::SocketAddr>().unwrap().into()
    }

    #[test]
    fn special_addresses_are_told_apart() {
        for ip in [
            "20.0.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "2a00::1",
            "64:ff9b::1400:1",
        ] {
            assert_eq!(scope(ip), Some(Scope::Global), "{ip}");
        }
        assert_eq!(scope("::ffff:20.0.0.1"), Some(Scope::Global));
        assert_eq!(scope("127.9.0.1"), Some(Scope::Loopback));
        assert_eq!(scope("::1"), Some(Scope::Loopback));
        assert_eq!(scope("::ffff:127.0.0.1"), Some(Scope::Loopback));
        for ip in [
            "10.1.1.1",
            "172.16.0.1",
            "192.168.0.1",
            "fd12::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(scope(ip), Some(Scope::Private), "{ip}");
        }
        assert_eq!(scope("100.64.0.1"), Some(Scope::Shared));
        assert_eq!(scope("203.0.113.9"), Some(Scope::Test));
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:0.0.0.0",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
            "2a00::5efe:a00:1",
            "2001::1",
            "100::1",
            "4000::1",
        ] {
            assert_eq!(scope(ip), None, "{ip}");
        }
    }

    #[test]
    fn strangers_may_name_global_addresses_and_those_of_our_scope() {
        let may = |to: &str, at: &[&str]| {
            let at: Vec<Address> = at.iter().map(|at| address(at)).collect();
            may_dial(&address(to), at.iter())
        };
        assert!(may("20.0.0.1:4000", &[]));
        assert!(may("20.0.0.1:443", &[]));
        for port in [1, 22, 25, 53, 80, 1023] {
            assert!(
                !may(&format!("20.0.0.1:{port}"), &["20.0.1.1:80"]),
                "{port}"
            );
        }
        assert!(!may("127.0.0.1:4000", &["20.0.1.1:4000", "10.0.0.1:4000"]));
        assert!(may("127.0.0.1:4000", &["127.0.0.2:4000"]));
        assert!(!may("192.168.1.1:4000", &["20.0.1.1:4000"]));
        assert!(may(
            "192.168.1.1:4000",
            &["20.0.1.1:4000", "192.168.1.2:4000"]
        ));
        assert!(!may("169.254.1.1:4000", &["169.254.1.2:4000"]));
    }
}
