//! This machine's own address, and the router it goes out by. Read anew each
//! time: machines move from network to network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

/// An address that stands for "the internet" when the system is asked which way it would go: from
/// the documentation range, so it is nobody's. Nothing is sent there.
const SOMEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9);
/// Where UPnP devices listen for searches (from the UPnP Device Architecture).
const SSDP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);
/// Longest routing table that is looked through, in lines (guess: a router's, not a home machine's).
const MAX_ROUTES: usize = 4096;

/// Where this machine is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// Its address.
    pub local: Ipv4Addr,
    /// Its router, where one is known.
    pub gateway: Option<Ipv4Addr>,
    /// Where searches for UPnP devices go.
    pub ssdp: SocketAddr,
}

impl Home {
    /// As the system has it now; `chosen` is the address to listen on where the operator chose one.
    /// `None` when there is no way to anywhere.
    #[must_use]
    pub fn find(chosen: Option<Ipv4Addr>) -> Option<Self> {
        let local = chosen.or_else(outgoing)?;
        Some(Self {
            local,
            gateway: default_gateway().or_else(|| first_of_network(local)),
            ssdp: SSDP.into(),
        })
    }
}

/// Whether an address means something within a network only: a home's (RFC 1918) or a carrier's
/// (RFC 6598).
#[must_use]
pub fn is_private(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || (a == 100 && (64..128).contains(&b))
}

/// Whether an address means something beyond this machine and its network.
#[must_use]
pub fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(is_private(ip) || ip.is_loopback() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

/// The address from which this machine would reach the internet.
fn outgoing() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Connecting a UDP socket asks for a route and sends nothing.
    socket.connect(SOMEWHERE).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
        _ => None,
    }
}

/// The router of the default route, where the system tells (Linux).
fn default_gateway() -> Option<Ipv4Addr> {
    gateway_in(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway of the default route with the lowest metric, in the format of `/proc/net/route`:
/// interface, destination, gateway, flags, use counts, metric, mask, …; addresses in hexadecimal,
/// as the machine stores them.
fn gateway_in(table: &str) -> Option<Ipv4Addr> {
    /// The route leads over a gateway (RTF_GATEWAY).
    const GATEWAY: u32 = 2;
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let (destination, gateway, flags, mask) = (hex(1)?, hex(2)?, hex(3)?, hex(7)?);
        let metric: u32 = fields.get(6)?.parse().ok()?;
        (destination == 0 && mask == 0 && flags & GATEWAY != 0)
            .then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    let routes = table.lines().skip(1).take(MAX_ROUTES).filter_map(route);
    routes
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, gateway)| gateway)
}

/// Where the system does not tell its router: the first address of the network, which it is in
/// most homes.
fn first_of_network(local: Ipv4Addr) -> Option<Ipv4Addr> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    let mask = interfaces
        .iter()
        .find_map(|interface| match &interface.addr {
            if_addrs::IfAddr::V4(v4) if v4.ip == local => Some(v4.netmask),
            _ => None,
        })?;
    let first = Ipv4Addr::from_bits((local & mask).to_bits().checked_add(1)?);
    (first != local).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_is_what_a_router_translates() {
        for (text, private) in [
            ("192.168.1.2", true),
            ("10.0.0.1", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.128.0.1", false),
            ("127.0.0.1", false),
            ("203.0.113.1", false),
        ] {
            assert_eq!(is_private(text.parse().unwrap()), private, "{text}");
        }
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        // Addresses as a little-endian machine writes them, turned for others.
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let table = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
             wlan0\t00000000\t{}\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t{}\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             eth0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n",
            hex([192, 168, 7, 1]),
            hex([192, 168, 1, 1]),
            hex([192, 168, 1, 0]),
            hex([255, 255, 255, 0]),
        );
        assert_eq!(gateway_in(&table), Some([192, 168, 1, 1].into()));
        assert_eq!(gateway_in(""), None);
        assert_eq!(gateway_in("Iface\nnonsense\nzz 0 0 0 0 0 0 0"), None);
    }
}
