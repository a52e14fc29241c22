//! Descriptors: the one line by which a person tells one node of another,
//! `masq://<chain>:<node key>@<host>:<port>[,<port>…][?mask=…&knock=…]`.
//! Parsing is the only check; what a mask means is the transport's matter.

use std::fmt;
use std::str::FromStr;

use crate::address::{Address, Host};
use crate::chain::{Chain, UnknownChain};
use crate::key::{KeyError, NodeKey};
use crate::knock::Knock;

/// Longest descriptor taken, in bytes: a 253-byte host, 8 ports and a mask fit with room. Guess.
pub const MAX_DESCRIPTOR_LEN: usize = 512;
/// Most ports in one descriptor. Guess.
pub const MAX_PORTS: usize = 8;
/// Longest name of a mask. Guess.
pub const MAX_MASK_LEN: usize = 32;

/// How to reach one node, and the key that proves it is that node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// The chain the node is on.
    pub chain: Chain,
    /// The node's key; the connection is authenticated against it.
    pub node: NodeKey,
    /// Host name or literal address.
    pub host: Host,
    /// One to [`MAX_PORTS`] TCP ports, none zero, in order of preference.
    pub ports: Vec<u16>,
    /// Name of the mask to use; `None` is the default mask.
    pub mask: Option<String>,
    /// The node's knock. Without it the node takes a newcomer when it has room, and does not
    /// introduce it elsewhere when it has none.
    pub knock: Option<Knock>,
}

/// What is wrong with a descriptor, in words for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// Longer than [`MAX_DESCRIPTOR_LEN`].
    #[error("the descriptor is {0} bytes long, at most {MAX_DESCRIPTOR_LEN} are allowed")]
    TooLong(usize),
    /// Another beginning than `masq://`.
    #[error("a descriptor begins with `masq://`")]
    Scheme,
    /// No `:` after the chain.
    #[error(
        "the chain and the node key must be separated by `:`, as in `masq://dev:KEY@host:port`"
    )]
    NoKey,
    /// The chain is not one that exists.
    #[error("{0}")]
    UnknownChain(#[from] UnknownChain),
    /// The chain exists but is not the one this node is on.
    #[error("the descriptor is for chain `{theirs}`, this node is on `{ours}`")]
    WrongChain {
        /// Chain in the descriptor.
        theirs: Chain,
        /// Chain of this node.
        ours: Chain,
    },
    /// The node key does not parse.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// No `@` between key and host.
    #[error("the node key and the host must be separated by `@`, as in `masq://dev:KEY@host:port`")]
    NoHost,
    /// The host is neither an address nor a name.
    #[error("`{0}` is neither a host name nor an IP address (IPv6 addresses go in brackets)")]
    Host(String),
    /// There is no port.
    #[error("the port is missing, write `host:port`")]
    NoPort,
    /// A port is not a number from 1 to 65535, or there are too many.
    #[error("`{0}` is not a list of at most {MAX_PORTS} ports from 1 to 65535")]
    Port(String),
    /// An option is unknown, repeated or has no value.
    #[error(
        "`{0}` is not a known option; there are `mask=NAME` and `knock=` with eleven characters"
    )]
    Option(String),
}

impl Descriptor {
    /// Parses and insists on a chain.
    ///
    /// # Errors
    /// [`DescriptorError`], [`DescriptorError::WrongChain`] among them.
    pub fn parse_for(text: &str, ours: Chain) -> Result<Self, DescriptorError> {
        let descriptor: Self = text.parse()?;
        descriptor.check_chain(ours)?;
        Ok(descriptor)
    }

    /// Whether the descriptor is for the given chain.
    ///
    /// # Errors
    /// [`DescriptorError::WrongChain`].
    pub fn check_chain(&self, ours: Chain) -> Result<(), DescriptorError> {
        if self.chain == ours {
            Ok(())
        } else {
            Err(DescriptorError::WrongChain {
                theirs: self.chain,
                ours,
            })
        }
    }

    /// One address per port, in order.
    pub fn addresses(&self) -> Vec<Address> {
        let address = |port: &u16| Address {
            host: self.host.clone(),
            port: *port,
        };
        self.ports.iter().map(address).collect()
    }
}

impl Descriptor {
    fn with_options(mut self, text: Option<&str>) -> Result<Self, DescriptorError> {
        let Some(text) = text else { return Ok(self) };
        for option in text.split('&') {
            let wrong = || DescriptorError::Option(option.to_owned());
            match option.split_once('=') {
                Some(("mask", value)) if self.mask.is_none() && is_mask(value) => {
                    self.mask = Some(value.to_owned());
                }
                Some(("knock", value)) if self.knock.is_none() => {
                    self.knock = Some(value.parse().map_err(|()| wrong())?);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(self)
    }
}

fn is_mask(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=MAX_MASK_LEN).contains(&name.len()) && name.bytes().all(fine)
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "masq://{}:{}@{}:", self.chain, self.node, self.host)?;
        for (i, port) in self.ports.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{port}")?;
        }
        let mask = self.mask.as_ref().map(|mask| format!("mask={mask}"));
        let knock = self.knock.map(|knock| format!("knock={knock}"));
        for (i, option) in mask.into_iter().chain(knock).enumerate() {
            let mark = if i == 0 { '?' } else { '&' };
            write!(f, "{mark}{option}")?;
        }
        Ok(())
    }
}

impl FromStr for Descriptor {
    type Err = DescriptorError;

    fn from_str(text: &str) -> Result<Self, DescriptorError> {
        let text = text.trim();
        if text.len() > MAX_DESCRIPTOR_LEN {
            return Err(DescriptorError::TooLong(text.len()));
        }
        let rest = text
            .strip_prefix("masq://")
            .ok_or(DescriptorError::Scheme)?;
        let (rest, options) = match rest.split_once('?') {
            Some((rest, options)) => (rest, Some(options)),
            None => (rest, None),
        };
        let (chain, rest) = rest.split_once(':').ok_or(DescriptorError::NoKey)?;
        let chain: Chain = chain.parse()?;
        let (key, place) = rest.split_once('@').ok_or(DescriptorError::NoHost)?;
        let node: NodeKey = key.parse()?;
        let (host, ports) = split_host(place)?;
        let host = Host::parse(host).ok_or_else(|| DescriptorError::Host(host.to_owned()))?;
        Self {
            chain,
            node,
            host,
            ports: parse_ports(ports)?,
            mask: None,
            knock: None,
        }
        .with_options(options)
    }
}

/// Splits at the colon before the ports, which is not one inside brackets.
fn split_host(place: &str) -> Result<(&str, &str), DescriptorError> {
    let after_brackets = place.rfind(']').map_or(0, |at| at + 1);
    let colon = place[after_brackets..]
        .find(':')
        .ok_or(DescriptorError::NoPort)?
        + after_brackets;
    let (host, ports) = (&place[..colon], &place[colon + 1..]);
    if ports.is_empty() {
        return Err(DescriptorError::NoPort);
    }
    // An IPv6 address without brackets has further colons; say so by naming the host.
    if after_brackets == 0 && ports.contains(':') {
        return Err(DescriptorError::Host(place.to_owned()));
    }
    Ok((host, ports))
}

fn parse_ports(text: &str) -> Result<Vec<u16>, DescriptorError> {
    let wrong = || DescriptorError::Port(text.to_owned());
    let port = |p: &str| {
        let digits = !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
        p.parse::<u16>()
            .ok()
            .filter(|port| digits && *port != 0)
            .ok_or_else(wrong)
    };
    let ports = text.split(',').map(port).collect::<Result<Vec<_>, _>>()?;
    if ports.len() > MAX_PORTS {
        Err(wrong())
    } else {
        Ok(ports)
    }
}

#[cfg(test)]
mod tests;
