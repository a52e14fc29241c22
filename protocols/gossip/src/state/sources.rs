//! Where connections come from: how often one source may try something, and
//! how many neighbours may share a part of their public address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::bucket::TokenBucket;
use crate::config::IpLimits;
use crate::event::RefuseReason;

/// Most sources whose attempts are remembered; the one unused for longest is forgotten. Guess.
const MAX_SOURCES: usize = 1024;
/// Debuts from one address: at once, per second. Guess: a newcomer tries every four seconds.
const DEBUTS: (u32, f64) = (12, 0.3);
/// Introductions asked for from one address. Guess.
const INTRODUCTIONS: (u32, f64) = (10, 0.1);
/// Introductions that came to something, from one public address: two at once (the first may still
/// fail), then one in two hours. Bounds how many nodes somebody can meet who debuts in a loop; `masq-testnet simulate gossip --attack
/// harvest` measures it.
const INTRODUCED: (u32, f64) = (2, 1.0 / 7200.0);
/// Walks that may end in a splice, asked for from one prefix: six at once, six an hour. Not each
/// of them does. Guess, from "a few per hour".
const SPLICES: (u32, f64) = (6, 6.0 / 3600.0);

/// Attempts per source.
#[derive(Debug, Default)]
pub(super) struct Sources {
    by_source: BTreeMap<(IpAddr, u8), TokenBucket>,
}

/// Which bucket of a source.
pub(super) const DEBUT_BUCKET: u8 = 0;
pub(super) const INTRODUCTION_BUCKET: u8 = 1;
pub(super) const SPLICE_BUCKET: u8 = 2;
pub(super) const INTRODUCED_BUCKET: u8 = 3;

impl Sources {
    pub(super) fn take(&mut self, source: IpAddr, which: u8, now: Duration) -> bool {
        self.bucket(source, which, now).take(now)
    }

    /// Whether [`Sources::take`] would do it.
    pub(super) fn has(&mut self, source: IpAddr, which: u8, now: Duration) -> bool {
        self.bucket(source, which, now).has(now)
    }

    fn bucket(&mut self, source: IpAddr, which: u8, now: Duration) -> &mut TokenBucket {
        let (size, rate) = match which {
            DEBUT_BUCKET => DEBUTS,
            INTRODUCTION_BUCKET => INTRODUCTIONS,
            INTRODUCED_BUCKET => INTRODUCED,
            _ => SPLICES,
        };
        if self.by_source.len() >= MAX_SOURCES && !self.by_source.contains_key(&(source, which)) {
            let oldest = self
                .by_source
                .iter()
                .min_by_key(|(_, bucket)| bucket.last_used());
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.by_source.remove(&oldest);
            }
        }
        let bucket = || TokenBucket::new(size, rate, now);
        self.by_source.entry((source, which)).or_insert_with(bucket)
    }
}

/// An address, with IPv4 in IPv6 undone.
pub(super) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The /24 or /48 of an address.
fn prefix(ip: IpAddr) -> IpAddr {
    match canonical(ip) {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & 0xffff_ff00).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !0 << 80).into(),
    }
}

/// One customer: an IPv4 address, or an IPv6 /64.
pub(super) fn source(ip: IpAddr) -> IpAddr {
    match canonical(ip) {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !0 << 64).into(),
    }
}

/// Loopback, private, shared, link-local and unique local addresses.
pub(super) fn is_local(ip: IpAddr) -> bool {
    match canonical(ip) {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_loopback() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
        }
    }
}

/// The prefix by which splices are counted: of local addresses each for itself.
pub(super) fn splice_source(ip: IpAddr, limits: &IpLimits) -> IpAddr {
    if limits.spare_local_prefixes && is_local(ip) {
        source(ip)
    } else {
        prefix(ip)
    }
}

/// Whether a neighbour at `ip` is allowed beside neighbours at `others`.
pub(super) fn ip_allowed(
    limits: &IpLimits,
    ip: IpAddr,
    others: impl Iterator<Item = IpAddr>,
) -> Result<(), RefuseReason> {
    let ip = canonical(ip);
    let (mut same, mut near) = (0u8, 0u8);
    for other in others.map(canonical) {
        same = same.saturating_add(u8::from(other == ip));
        near = near.saturating_add(u8::from(
            other.is_ipv4() == ip.is_ipv4() && prefix(other) == prefix(ip),
        ));
    }
    if limits.per_ip.is_some_and(|limit| same >= limit) {
        return Err(RefuseReason::SameAddress);
    }
    let limit = if ip.is_ipv4() {
        limits.per_24
    } else {
        limits.per_48
    };
    let spared = limits.spare_local_prefixes && is_local(ip);
    if !spared && limit.is_some_and(|limit| near >= limit) {
        return Err(RefuseReason::SamePrefix);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limits: &IpLimits, ip: &str, others: &[&str]) -> Result<(), RefuseReason> {
        ip_allowed(
            limits,
            ip.parse().unwrap(),
            others.iter().map(|ip| ip.parse().unwrap()),
        )
    }

    #[test]
    fn one_neighbour_per_address_and_few_per_prefix() {
        let limits = IpLimits::default();
        assert_eq!(check(&limits, "198.51.100.7", &["198.51.100.8"]), Ok(()));
        assert_eq!(
            check(&limits, "198.51.100.7", &["198.51.100.7"]),
            Err(RefuseReason::SameAddress)
        );
        assert_eq!(
            check(&limits, "198.51.100.7", &["198.51.100.8", "198.51.100.9"]),
            Err(RefuseReason::SamePrefix)
        );
        assert_eq!(
            check(&limits, "::ffff:198.51.100.7", &["198.51.100.7"]),
            Err(RefuseReason::SameAddress)
        );
        assert_eq!(
            check(
                &limits,
                "2001:db8:1::1",
                &["2001:db8:1:2::1", "2001:db8:1:3::1"]
            ),
            Err(RefuseReason::SamePrefix)
        );
        // On this machine the address counts, the prefix doesn't.
        assert_eq!(
            check(
                &limits,
                "127.0.0.1",
                &["127.0.0.2", "127.0.0.3", "127.0.0.4"]
            ),
            Ok(())
        );
        assert_eq!(
            check(&limits, "127.0.0.1", &["127.0.0.1"]),
            Err(RefuseReason::SameAddress)
        );
        let strict = IpLimits {
            spare_local_prefixes: false,
            ..limits
        };
        assert_eq!(
            check(&strict, "127.0.0.1", &["127.0.0.2", "127.0.0.3"]),
            Err(RefuseReason::SamePrefix)
        );
        assert_eq!(check(&IpLimits::NONE, "127.0.0.1", &["127.0.0.1"]), Ok(()));
    }
}
