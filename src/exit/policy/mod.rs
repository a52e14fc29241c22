//! Where an exit may connect to. Pure.
//!
//! Rules are Tor's: `accept` and `reject` lines, the first that matches
//! decides, and what no rule matches falls to [`DEFAULT_RULES`]. Two things
//! are stricter than in Tor:
//!
//! - Addresses that are nobody's business on the Internet (`special`) are
//!   refused unless a rule *names* them, or private ones are allowed as a
//!   whole. `accept *:*` does not name anything.
//! - An IPv6 address that carries an IPv4 address inside has to pass with
//!   both.
//!
//! The policy looks at addresses, so it is asked after names are resolved,
//! about exactly the address that is then connected to; `refuses_port` and
//! [`check_name`] only save the lookup where the answer is known before it.

mod parse;
mod special;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use parse::PolicyError;
pub use special::Special;

/// What holds where an operator's rules say nothing: Tor's default policy.
/// Mail (25) and the ports below attract abuse complaints that cost an
/// operator the server; everything else is open.
pub const DEFAULT_RULES: [&str; 11] = [
    "reject *:25",
    "reject *:119",
    "reject *:135-139",
    "reject *:445",
    "reject *:563",
    "reject *:1214",
    "reject *:4661-4666",
    "reject *:6346-6429",
    "reject *:6699",
    "reject *:6881-6999",
    "accept *:*",
];

/// Most rules in a policy (guess: Tor's longest published ones have a few
/// hundred; each is looked at for each connection).
pub const MAX_RULES: usize = 1_024;

/// Longest summary, in bytes (the field of a record that carries it).
pub const MAX_SUMMARY: usize = 256;

/// Where an exit may connect to.
#[derive(Debug, Clone)]
pub struct ExitPolicy {
    rules: Vec<Rule>,
    allow_private: bool,
    own: Vec<IpAddr>,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A rule rejects it.
    #[error("a rule of the exit's policy rejects this destination")]
    Rule,
    /// It is of a kind that is refused unless the operator names it.
    #[error("the exit does not connect to {0} addresses")]
    Special(Special),
    /// It is an address of the exit itself.
    #[error("the exit does not connect to itself")]
    Own,
}

/// One line of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    accept: bool,
    pattern: Pattern,
    ports: Ports,
}

/// The addresses a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// `*` of `accept` and `reject`.
    Any,
    /// `*4`.
    AnyV4,
    /// `*6`, and `*` of `accept6` and `reject6`.
    AnyV6,
    /// `private`.
    Private,
    V4 {
        network: Ipv4Addr,
        bits: u8,
    },
    V6 {
        network: Ipv6Addr,
        bits: u8,
    },
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    const ALL: Self = Self {
        first: 1,
        last: u16::MAX,
    };

    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Default for ExitPolicy {
    /// [`DEFAULT_RULES`], nothing special allowed.
    fn default() -> Self {
        Self::parse::<&str>(&[], false).expect("the default rules parse")
    }
}

impl ExitPolicy {
    /// A policy of `lines`, followed by [`DEFAULT_RULES`]. A line may hold
    /// several rules with commas between them; empty lines and what follows a
    /// `#` are ignored.
    ///
    /// `allow_private` takes private, loopback, link-local and similar
    /// addresses for ordinary ones. It does not open cloud metadata services
    /// nor what can never be connected to.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] with the line and what is wrong with it.
    pub fn parse<S: AsRef<str>>(lines: &[S], allow_private: bool) -> Result<Self, PolicyError> {
        let mut rules = parse::rules(lines)?;
        rules.extend(parse::rules(&DEFAULT_RULES)?);
        Ok(Self {
            rules,
            allow_private,
            own: Vec::new(),
        })
    }

    /// The same policy, which also refuses the exit's own addresses unless a
    /// rule names them: services that trust the machine they run on should
    /// not trust the mesh.
    #[must_use]
    pub fn with_own_addresses(mut self, own: Vec<IpAddr>) -> Self {
        self.own = own;
        self
    }

    /// Whether a connection to `port` of `address` is allowed.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn check(&self, address: IpAddr, port: u16) -> Result<(), Refusal> {
        let address = address.to_canonical();
        self.check_one(address, port)?;
        match address {
            IpAddr::V4(_) => Ok(()),
            IpAddr::V6(v6) => match special::embedded_v4(v6) {
                Some(inner) => self.check_one(inner.into(), port),
                None => Ok(()),
            },
        }
    }

    /// Whether no rule accepts `port` of any address, so that a name need not
    /// be resolved.
    #[must_use]
    pub fn refuses_port(&self, port: u16) -> bool {
        for rule in self.rules.iter().filter(|rule| rule.ports.contains(port)) {
            if rule.accept {
                return false;
            }
            if rule.pattern == Pattern::Any {
                return true;
            }
        }
        true
    }

    /// Whether `address` may be told to those who ask for the addresses of a
    /// name: private ones say something about the exit's own network.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn may_tell(&self, address: IpAddr) -> Result<(), Refusal> {
        let address = address.to_canonical();
        let named = |address| {
            let mut rules = self.rules.iter();
            rules.any(|rule| {
                rule.accept && rule.pattern.contains(address) && rule.pattern.names(address)
            })
        };
        let tell = |address| match self.closed(address) {
            Some(refusal @ Refusal::Special(_)) if !named(address) => Err(refusal),
            _ => Ok(()),
        };
        tell(address)?;
        match address {
            IpAddr::V6(v6) => special::embedded_v4(v6).map_or(Ok(()), |inner| tell(inner.into())),
            IpAddr::V4(_) => Ok(()),
        }
    }

    fn check_one(&self, address: IpAddr, port: u16) -> Result<(), Refusal> {
        let closed = self.closed(address);
        for rule in &self.rules {
            if !rule.ports.contains(port) || !rule.pattern.contains(address) {
                continue;
            }
            if !rule.accept {
                break;
            }
            if closed.is_none() || rule.pattern.names(address) {
                return Ok(());
            }
        }
        Err(closed.unwrap_or(Refusal::Rule))
    }

    /// Why only a rule that names `address` opens it, if that is so.
    fn closed(&self, address: IpAddr) -> Option<Refusal> {
        match special::classify(address) {
            Some(special) if !(self.allow_private && special.opened_by_allow_private()) => {
                Some(Refusal::Special(special))
            }
            _ if self.own.iter().any(|own| own.to_canonical() == address) => Some(Refusal::Own),
            _ => None,
        }
    }

    /// What the policy allows on most of the Internet, for the record: as
    /// Tor's summaries, `accept` or `reject` with a list of ports, whichever
    /// is shorter. Rules for parts of the address space are left out of it.
    #[must_use]
    pub fn summary(&self) -> String {
        let open = self.open_ranges();
        let closed = complement(&open);
        if open.is_empty() {
            return "reject 1-65535".to_owned();
        }
        if closed.is_empty() {
            return "accept 1-65535".to_owned();
        }
        let accept = format!("accept {}", list(&open));
        let reject = format!("reject {}", list(&closed));
        let shorter = if accept.len() <= reject.len() {
            accept
        } else {
            reject
        };
        if shorter.len() <= MAX_SUMMARY {
            return shorter;
        }
        // Rather promise less than more: the first ports that fit.
        let mut promised = open;
        loop {
            promised.pop();
            let summary = format!("accept {}", list(&promised));
            if summary.len() <= MAX_SUMMARY {
                return summary;
            }
        }
    }

    /// Ports that rules for all (or all IPv4) addresses leave open, as ranges
    /// in order.
    fn open_ranges(&self) -> Vec<Ports> {
        // A decision can only change where some rule begins or ends.
        let mut starts = BTreeSet::from([Ports::ALL.first]);
        let wide: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| matches!(rule.pattern, Pattern::Any | Pattern::AnyV4))
            .collect();
        for rule in &wide {
            starts.insert(rule.ports.first.max(1));
            starts.extend(rule.ports.last.checked_add(1));
        }
        let starts: Vec<u16> = starts.into_iter().collect();
        let mut open: Vec<Ports> = Vec::new();
        for (i, first) in starts.iter().copied().enumerate() {
            let last = starts.get(i + 1).map_or(u16::MAX, |next| next - 1);
            let decision = wide.iter().find(|rule| rule.ports.contains(first));
            if !decision.is_some_and(|rule| rule.accept) {
                continue;
            }
            match open.last_mut() {
                Some(range) if range.last.checked_add(1) == Some(first) => range.last = last,
                _ => open.push(Ports { first, last }),
            }
        }
        open
    }
}

impl Pattern {
    fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Any, _) | (Self::AnyV4, IpAddr::V4(_)) | (Self::AnyV6, IpAddr::V6(_)) => true,
            (Self::Private, address) => {
                special::classify(address).is_some_and(Special::opened_by_allow_private)
            }
            (Self::V4 { network, bits }, IpAddr::V4(v4)) => special::in_v4(v4, *network, *bits),
            (Self::V6 { network, bits }, IpAddr::V6(v6)) => special::in_v6(v6, *network, *bits),
            _ => false,
        }
    }

    /// Whether an operator who wrote this about `address` meant it: the whole
    /// pattern lies within special addresses, or is the one address.
    fn names(&self, address: IpAddr) -> bool {
        match self {
            Self::Any | Self::AnyV4 | Self::AnyV6 => false,
            Self::Private => true,
            Self::V4 { network, bits } => {
                *bits == 32
                    || special::v4_range_of(address).is_some_and(|(range, range_bits)| {
                        *bits >= range_bits && special::in_v4(*network, range, range_bits)
                    })
            }
            Self::V6 { network, bits } => {
                *bits == 128
                    || special::v6_range_of(address).is_some_and(|(range, range_bits)| {
                        *bits >= range_bits && special::in_v6(*network, range, range_bits)
                    })
            }
        }
    }
}

fn complement(ranges: &[Ports]) -> Vec<Ports> {
    let mut gaps = Vec::new();
    let mut next = Some(Ports::ALL.first);
    for range in ranges {
        if let Some(first) = next.filter(|first| *first < range.first) {
            gaps.push(Ports {
                first,
                last: range.first - 1,
            });
        }
        next = range.last.checked_add(1);
    }
    gaps.extend(next.map(|first| Ports {
        first,
        last: u16::MAX,
    }));
    gaps
}

fn list(ranges: &[Ports]) -> String {
    let texts: Vec<String> = ranges
        .iter()
        .map(|range| {
            if range.first == range.last {
                range.first.to_string()
            } else {
                format!("{}-{}", range.first, range.last)
            }
        })
        .collect();
    texts.join(",")
}

/// What is known of a name before anyone is asked for its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameCheck {
    /// It is to be resolved, spelled like this.
    Resolve(String),
    /// It stands for this machine, or is an address written as a name.
    Addresses(Vec<IpAddr>),
    /// It cannot exist in the public name system.
    NotFound,
}

/// Endings of names that the public name system does not have: RFC 7686,
/// RFC 6762, RFC 6761, RFC 8375, and what networks use at home. Asking for
/// them would only tell name servers what someone is up to.
const NOT_PUBLIC: [&str; 9] = [
    "onion",
    "local",
    "invalid",
    "internal",
    "home.arpa",
    "lan",
    "home",
    "corp",
    "localdomain",
];

/// Looks at a name before it is resolved.
///
/// `localhost` and everything under it are the loopback addresses, whatever
/// any name server says (RFC 6761); the policy then refuses them unless the
/// operator allows it. Names whose last part is a number are addresses in
/// odd spellings, and never resolved.
#[must_use]
pub fn check_name(name: &str) -> NameCheck {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let bare = name
        .strip_prefix('[')
        .and_then(|n| n.strip_suffix(']'))
        .unwrap_or(&name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return NameCheck::Addresses(vec![address.to_canonical()]);
    }
    let within = |zone: &str| {
        name.strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if within("localhost") {
        return NameCheck::Addresses(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if numeric || NOT_PUBLIC.iter().any(|zone| within(zone)) {
        return NameCheck::NotFound;
    }
    NameCheck::Resolve(name)
}
