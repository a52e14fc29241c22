//! The text form of a policy: Tor's grammar (tor manual, `ExitPolicy`;
//! dir-spec, `exitpattern`). Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{MAX_RULES, Pattern, Ports, Rule};

/// A policy line that cannot be used. The operator's to put right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("exit policy, line {line}, \"{text}\": {reason}")]
#[non_exhaustive]
pub struct PolicyError {
    /// Which line, counted from one.
    pub line: usize,
    /// The rule as it was written.
    pub text: String,
    /// What is wrong with it, and what it should be.
    pub reason: &'static str,
}

const FORM: &str = "a rule is `accept ADDRESS:PORTS` or `reject ADDRESS:PORTS`, such as \
                    `accept *:443` or `reject 192.0.2.0/24:*`";
const ADDRESS: &str = "the address must be `*`, `*4`, `*6`, `private`, an IPv4 address, or an IPv6 \
                       address in brackets";
const MASK: &str = "the mask must be a number of bits, or for IPv4 also a mask such as 255.255.0.0";
const PORTS: &str = "the ports must be `*`, a port from 1 to 65535, or two with a `-` between them, \
                     the lower one first";
const FAMILY: &str = "`accept6` and `reject6` are for IPv6 addresses";

/// Reads all rules of `lines`.
pub(super) fn rules<S: AsRef<str>>(lines: &[S]) -> Result<Vec<Rule>, PolicyError> {
    let mut rules = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let line = line.as_ref().split('#').next().unwrap_or_default();
        for text in line
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            let error = |reason| PolicyError {
                line: index + 1,
                text: text.to_owned(),
                reason,
            };
            if rules.len() == MAX_RULES {
                return Err(error("too many rules (at most 1024)"));
            }
            rules.push(rule(text).map_err(error)?);
        }
    }
    Ok(rules)
}

fn rule(text: &str) -> Result<Rule, &'static str> {
    let mut words = text.split_whitespace();
    let (Some(verb), Some(what), None) = (words.next(), words.next(), words.next()) else {
        return Err(FORM);
    };
    let (accept, six) = match verb.to_ascii_lowercase().as_str() {
        "accept" => (true, false),
        "reject" => (false, false),
        "accept6" => (true, true),
        "reject6" => (false, true),
        _ => return Err(FORM),
    };
    let (address, ports) = split_ports(what);
    let pattern = match pattern(address)? {
        Pattern::Any if six => Pattern::AnyV6,
        Pattern::AnyV4 | Pattern::V4 { .. } if six => return Err(FAMILY),
        pattern => pattern,
    };
    Ok(Rule {
        accept,
        pattern,
        ports: ports.map_or(Ok(Ports::ALL), parse_ports)?,
    })
}

/// Splits at the colon before the ports, which an IPv6 address also has, but
/// only inside brackets.
fn split_ports(what: &str) -> (&str, Option<&str>) {
    let after_address = what.rfind(']').unwrap_or(0);
    match what[after_address..].find(':') {
        Some(colon) => {
            let colon = after_address + colon;
            (&what[..colon], Some(&what[colon + 1..]))
        }
        None => (what, None),
    }
}

fn pattern(address: &str) -> Result<Pattern, &'static str> {
    match address {
        "*" => return Ok(Pattern::Any),
        "*4" => return Ok(Pattern::AnyV4),
        "*6" => return Ok(Pattern::AnyV6),
        "private" => return Ok(Pattern::Private),
        _ => {}
    }
    let (host, mask) = match address.split_once('/') {
        Some((host, mask)) => (host, Some(mask)),
        None => (address, None),
    };
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let network: Ipv6Addr = inner.parse().map_err(|_| ADDRESS)?;
        let bits = mask.map_or(Ok(128), |mask| bits(mask, 128))?;
        return match network.to_ipv4_mapped() {
            // Connections to mapped addresses are IPv4; so are rules about them.
            Some(v4) if bits >= 96 => Ok(Pattern::V4 {
                network: v4,
                bits: bits - 96,
            }),
            _ => Ok(Pattern::V6 { network, bits }),
        };
    }
    let network: Ipv4Addr = host.parse().map_err(|_| ADDRESS)?;
    let bits = match mask {
        None => 32,
        Some(mask) if mask.contains('.') => {
            let mask = u32::from(mask.parse::<Ipv4Addr>().map_err(|_| MASK)?);
            if mask.leading_ones() + mask.trailing_zeros() != 32 && mask != u32::MAX {
                return Err(MASK);
            }
            mask.leading_ones() as u8
        }
        Some(mask) => bits(mask, 32)?,
    };
    Ok(Pattern::V4 { network, bits })
}

fn bits(mask: &str, most: u8) -> Result<u8, &'static str> {
    mask.parse::<u8>()
        .ok()
        .filter(|bits| *bits <= most)
        .ok_or(MASK)
}

fn parse_ports(text: &str) -> Result<Ports, &'static str> {
    if text == "*" {
        return Ok(Ports::ALL);
    }
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(PORTS)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first <= last {
        Ok(Ports { first, last })
    } else {
        Err(PORTS)
    }
}
