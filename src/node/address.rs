//! Where others can dial this node, as its descriptor and gossip say it.

use std::net::{SocketAddr, SocketAddrV4};

use masq_gossip::Host;

use crate::config::Config;
use crate::reach::is_global;

/// The host and ports to put into this node's descriptor, if it knows them. In this order: what a
/// router lets through, the setting `advertise`, the address of the setting `listen`, and where the
/// node listens on all addresses, this machine's first IPv4 address that others than its network
/// can reach. (Machines at home have an IPv6 address of that kind too, behind a firewall.)
pub(crate) fn public_address(
    config: &Config,
    listening: &[SocketAddr],
    mapped: Option<SocketAddrV4>,
) -> Option<(Host, Vec<u16>)> {
    if let Some(outside) = mapped {
        return Some((Host::Ip((*outside.ip()).into()), vec![outside.port()]));
    }
    if let Some(public) = &config.advertise {
        let ports = match public.port {
            Some(port) => vec![port],
            None => ports_of(listening.iter()),
        };
        let host =
            Host::parse(&public.host).or_else(|| Host::parse(&format!("[{}]", public.host)))?;
        return (!ports.is_empty()).then_some((host, ports));
    }
    let named = config.listen.iter().map(SocketAddr::ip);
    let ip = named
        .filter(|ip| !ip.is_unspecified())
        .chain(
            listening
                .iter()
                .map(SocketAddr::ip)
                .filter(|ip| ip.is_ipv4() && is_global(*ip)),
        )
        .next()?;
    let ports = ports_of(listening.iter().filter(|address| address.ip() == ip));
    (!ports.is_empty()).then_some((Host::Ip(ip), ports))
}

/// The ports that others could dial, each once.
pub(crate) fn ports_of<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> Vec<u16> {
    let mut ports: Vec<_> = addresses.map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(masq_gossip::MAX_PORTS);
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn found(config: &Config, listening: &[&str], mapped: Option<&str>) -> Option<String> {
        let mapped = mapped.map(|text| text.parse().unwrap());
        let (host, ports) = public_address(config, &at(listening), mapped)?;
        Some(format!("{host} {ports:?}"))
    }

    #[test]
    fn what_is_nearest_to_the_outside_is_told() {
        let mut config = Config::new("unused");
        let home = ["127.0.0.1:6277", "192.168.1.7:6277"];
        let server = ["127.0.0.1:6277", "10.0.0.2:6277", "203.0.113.7:6277"];
        assert_eq!(found(&config, &home, None), None);
        let mapped = found(&config, &home, Some("203.0.113.9:7000"));
        assert_eq!(mapped.as_deref(), Some("203.0.113.9 [7000]"));
        let own = found(&config, &server, None);
        assert_eq!(own.as_deref(), Some("203.0.113.7 [6277]"));
        // Behind a firewall, as at home.
        assert_eq!(found(&config, &["[2001:db8::7]:6277"], None), None);

        config.listen = at(&["198.51.100.1:7000"]);
        let named = found(&config, &["198.51.100.1:7000"], None);
        assert_eq!(named.as_deref(), Some("198.51.100.1 [7000]"));
        config.advertise = Some("node.example.org".parse().unwrap());
        let told = found(&config, &server, None);
        assert_eq!(told.as_deref(), Some("node.example.org [6277]"));
    }
}
