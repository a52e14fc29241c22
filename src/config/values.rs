//! The types of single settings and how each is read from text. Every error
//! is a sentence for the person who wrote the value, with what to write
//! instead.
//!
//! Which settings there are, and their defaults, is in `table`; checks across
//! settings are in `check`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::foreign;

/// What is wrong with a value, and what to do about it: two sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {remedy}")]
pub struct BadValue {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl BadValue {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// Declares an enum whose variants are words, with `as_str`, `ALL`, `Display`
/// and `FromStr`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $noun:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for it in the configuration.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = BadValue;

            fn from_str(text: &str) -> Result<Self, BadValue> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.as_str() == text.trim().to_ascii_lowercase())
                    .ok_or_else(|| {
                        let words: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
                        BadValue::new(
                            format!(concat!("There is no ", $noun, " \"{}\"."), text.trim()),
                            format!("Write one of: {}.", words.join(", ")),
                        )
                    })
            }
        }
    };
}

words! {
    /// What a node does for itself and for others.
    Mode, "mode" {
        /// Originates, routes, accepts connections.
        Standard = "standard",
        /// As standard, but accepts no connections from outside: for nodes
        /// behind a router that forwards no port.
        OriginateOnly = "originate-only",
        /// Originates only: never carries circuits of others.
        ConsumeOnly = "consume-only",
        /// Routes, and exits if so configured; never originates.
        ServeOnly = "serve-only",
        /// No mesh at all: the proxies go straight out. For trying things.
        ZeroHop = "zero-hop",
    }
}

impl Mode {
    /// Whether the node accepts connections from other nodes.
    #[must_use]
    pub fn accepts_connections(self) -> bool {
        matches!(self, Self::Standard | Self::ServeOnly)
    }

    /// Whether it carries circuits of others.
    #[must_use]
    pub fn routes(self) -> bool {
        matches!(self, Self::Standard | Self::OriginateOnly | Self::ServeOnly)
    }

    /// Whether it has clients of its own.
    #[must_use]
    pub fn originates(self) -> bool {
        !matches!(self, Self::ServeOnly)
    }

    /// Whether it takes part in the mesh.
    #[must_use]
    pub fn joins(self) -> bool {
        !matches!(self, Self::ZeroHop)
    }
}

words! {
    /// By which protocol a router is asked to let other nodes through.
    MappingProtocol, "mapping protocol" {
        /// PCP, NAT-PMP and UPnP, in that order.
        Auto = "auto",
        /// Port Control Protocol, RFC 6887.
        Pcp = "pcp",
        /// NAT Port Mapping Protocol, RFC 6886.
        Pmp = "pmp",
        /// UPnP Internet Gateway Device.
        Igdp = "igdp",
        /// The router is left alone.
        Off = "off",
    }
}

words! {
    /// What happens to flows whose destination reads as plaintext, such as
    /// port 80: the exit can read them.
    Plaintext, "way to treat plaintext" {
        /// Let through, counted.
        Allow = "allow",
        /// Let through, counted and mentioned in the log.
        Flag = "flag",
        /// Refused, with an error that says so.
        Refuse = "refuse",
    }
}

words! {
    /// How log lines look.
    LogFormat, "log format" {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

/// How many hops the over leg of a circuit has, the exit included: one number
/// or a range from which each circuit draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hops {
    min: u8,
    max: u8,
}

impl Hops {
    /// Fewest hops (from the specification: the exit alone).
    pub const FEWEST: u8 = 1;
    /// Most hops (from the specification: a set-up header has room for twelve,
    /// six on each leg).
    pub const MOST: u8 = 6;

    /// A range.
    ///
    /// # Errors
    ///
    /// When a bound is outside [`Self::FEWEST`]..=[`Self::MOST`] or the range
    /// runs backwards.
    pub fn new(min: u8, max: u8) -> Result<Self, BadValue> {
        let remedy = "Write a number from 1 to 6, or a range such as \"3-4\".";
        for hops in [min, max] {
            if hops < Self::FEWEST {
                return Err(BadValue::new(
                    "A circuit needs at least 1 hop, the exit.",
                    remedy,
                ));
            }
            if hops > Self::MOST {
                return Err(BadValue::new(
                    format!(
                        "{hops} hops are more than the {} a circuit can have.",
                        Self::MOST
                    ),
                    remedy,
                ));
            }
        }
        if min > max {
            return Err(BadValue::new(
                format!("The range {min}-{max} runs backwards."),
                format!("Write \"{max}-{min}\"."),
            ));
        }
        Ok(Self { min, max })
    }

    /// Fewest hops of a circuit.
    #[must_use]
    pub fn min(self) -> u8 {
        self.min
    }

    /// Most hops of a circuit.
    #[must_use]
    pub fn max(self) -> u8 {
        self.max
    }
}

impl fmt::Display for Hops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

impl FromStr for Hops {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let number = |part: &str| {
            part.trim().parse::<u8>().map_err(|_| {
                BadValue::new(
                    format!("\"{}\" is not a number of hops.", text.trim()),
                    "Write a number from 1 to 6, or a range such as \"3-4\".",
                )
            })
        };
        match text.split_once('-') {
            Some((min, max)) => Self::new(number(min)?, number(max)?),
            None => number(text).and_then(|hops| Self::new(hops, hops)),
        }
    }
}

/// Reads one IP address.
pub(super) fn ip(text: &str) -> Result<IpAddr, BadValue> {
    text.trim().parse().map_err(|_| {
        BadValue::new(
            format!("\"{}\" is not an IP address.", text.trim()),
            "Write an address of this machine, such as 192.0.2.7, without a port.",
        )
    })
}

/// The host, and maybe the port, under which others reach this node: goes into
/// the descriptor and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// An address or a DNS name, without brackets.
    pub host: String,
    /// The port, where it differs from the port listened on.
    pub port: Option<u16>,
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// Longest DNS name (RFC 1035).
const MAX_NAME: usize = 253;

impl FromStr for Advertise {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let text = text.trim();
        let bad = |what: String| {
            BadValue::new(
                what,
                "Write this machine's public address or DNS name, such as \"203.0.113.7\" or \
                 \"node.example.org\", with \":port\" only where a router forwards another port.",
            )
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::checked(address.ip().to_string(), Some(address.port()), bad);
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Self::checked(address.to_string(), None, bad);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => match port.parse::<u16>() {
                Ok(port) => (host, Some(port)),
                Err(_) => return Err(bad(format!("\"{port}\" is not a port."))),
            },
            None => (text, None),
        };
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        if name.len() > MAX_NAME || !name.split('.').all(label) {
            return Err(bad(format!(
                "\"{host}\" is neither an address nor a DNS name."
            )));
        }
        Self::checked(name.to_ascii_lowercase(), port, bad)
    }
}

impl Advertise {
    fn checked(
        host: String,
        port: Option<u16>,
        bad: impl Fn(String) -> BadValue,
    ) -> Result<Self, BadValue> {
        if port == Some(0) {
            return Err(bad("Port 0 can't be reached.".into()));
        }
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => Err(bad(format!(
                "{address} is not an address that others can reach."
            ))),
            _ => Ok(Self { host, port }),
        }
    }
}

/// Two letters of ISO 3166-1, as the node claims them. Nobody checks the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country([u8; 2]);

impl Country {
    /// The two capital letters.
    #[must_use]
    pub fn letters(self) -> [u8; 2] {
        self.0
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(self.0[0]), char::from(self.0[1]))
    }
}

impl FromStr for Country {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.trim().as_bytes() {
            &[a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(BadValue::new(
                format!("\"{}\" is not a country code.", text.trim()),
                "Write two letters, such as \"CZ\", or leave the setting out.",
            )),
        }
    }
}

/// The address of an earning wallet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Wallet([u8; 20]);

impl Wallet {
    /// The twenty bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 20] {
        self.0
    }
}

impl fmt::Debug for Wallet {
    /// Wallets stay out of logs: `Debug` does not show it, `Display` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wallet([scrubbed])")
    }
}

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl FromStr for Wallet {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        foreign::address(text).map(|address| Self(address.into_array()))
    }
}

/// How many neighbours may come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpLimits {
    /// Neighbours per address.
    pub per_ip: u8,
    /// Neighbours per IPv4 /24.
    pub per_24: u8,
    /// Neighbours per IPv6 /48.
    pub per_48: u8,
}

/// An address with a port, or `off`.
pub(crate) fn address_or_off(text: &str) -> Result<Option<SocketAddr>, BadValue> {
    if text.trim().eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    address(text).map(Some).map_err(|bad| BadValue {
        remedy: format!("{} Or write \"off\".", bad.remedy),
        ..bad
    })
}

/// An address with a port.
pub(crate) fn address(text: &str) -> Result<SocketAddr, BadValue> {
    let text = text.trim();
    text.parse().map_err(|_| {
        let remedy = "Write an address and a port, such as \"127.0.0.1:1080\" or \"[::1]:1080\".";
        let what = if let Ok(ip) = text.parse::<IpAddr>() {
            format!("{ip} has no port.")
        } else if text.parse::<u16>().is_ok() {
            format!("\"{text}\" is a port without an address.")
        } else if text.starts_with("localhost:") {
            "\"localhost\" is a name, and an address is needed.".to_owned()
        } else {
            format!("\"{text}\" is not an address with a port.")
        };
        BadValue::new(what, remedy)
    })
}

/// A DNS server: an address, with the port where it is not 53.
pub(crate) fn dns_server(text: &str) -> Result<SocketAddr, BadValue> {
    /// The port of DNS (RFC 1035).
    const DNS_PORT: u16 = 53;
    let text = text.trim();
    text.parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, DNS_PORT))
        .or_else(|_| text.parse())
        .map_err(|_| {
            BadValue::new(
                format!("\"{text}\" is not the address of a DNS server."),
                "Write an address such as \"9.9.9.9\", with \":port\" where it is not 53.",
            )
        })
}

/// `true` or `false`, with the usual spellings.
pub(crate) fn switch(text: &str) -> Result<bool, BadValue> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(BadValue::new(
            format!("\"{}\" is neither true nor false.", text.trim()),
            "Write true or false.",
        )),
    }
}

/// A whole number within bounds.
pub(crate) fn number(text: &str, least: u64, most: u64) -> Result<u64, BadValue> {
    let remedy = format!("Write a number from {least} to {most}.");
    match text.trim().parse::<u64>() {
        Ok(n) if n < least => Err(BadValue::new(format!("{n} is too small."), remedy)),
        Ok(n) if n > most => Err(BadValue::new(format!("{n} is too large."), remedy)),
        Ok(n) => Ok(n),
        Err(_) => Err(BadValue::new(
            format!("\"{}\" is not a whole number.", text.trim()),
            remedy,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_read_and_show() {
        for text in ["1", "3", "6", "3-4", "1-6"] {
            assert_eq!(text.parse::<Hops>().unwrap().to_string(), text);
        }
        assert_eq!(" 2 - 5 ".parse::<Hops>().unwrap(), Hops { min: 2, max: 5 });
        assert_eq!("3-3".parse::<Hops>().unwrap().to_string(), "3");
        for (text, say) in [
            ("0", "at least 1 hop"),
            ("7", "more than the 6"),
            ("4-3", "runs backwards"),
            ("three", "not a number of hops"),
            ("-1", "not a number of hops"),
            ("3-", "not a number of hops"),
            ("300", "not a number of hops"),
        ] {
            let error = text.parse::<Hops>().unwrap_err().to_string();
            assert!(error.contains(say), "{text}: {error}");
        }
    }

    #[test]
    fn advertised_hosts() {
        for (text, shown) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:443", "203.0.113.7:443"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("Node.Example.org.", "node.example.org"),
            ("node.example.org:6277", "node.example.org:6277"),
        ] {
            assert_eq!(text.parse::<Advertise>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "0.0.0.0",
            "[::]:1",
            "a b",
            "host:port",
            "host:0",
            "-x.org",
            "a..b",
            "http://x",
        ] {
            assert!(text.parse::<Advertise>().is_err(), "{text}");
        }
    }

    #[test]
    fn wallets() {
        let text = "0x52908400098527886e0f7030069857d2e4169ee7";
        let wallet: Wallet = text.parse().unwrap();
        assert_eq!(wallet.to_string(), text);
        assert!(!format!("{wallet:?}").contains("5290"));
        for (text, say) in [
            ("52908400098527886e0f7030069857d2e4169ee7", "begins with 0x"),
            ("0x5290", "has 40 digits, this one has 4"),
            ("0xz2908400098527886e0f7030069857d2e4169ee7", "'z' is not"),
            (
                "0x52908400098527886e0F7030069857D2E4169EE7",
                "The checksum of this address is wrong",
            ),
            (
                "0x0000000000000000000000000000000000000000",
                "Nobody has the zero address",
            ),
        ] {
            let error = text.parse::<Wallet>().unwrap_err().to_string();
            assert!(error.contains(say), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_say_what_is_missing() {
        for (text, say) in [
            ("1080", "a port without an address"),
            ("127.0.0.1", "has no port"),
            ("localhost:1080", "is a name"),
            ("nonsense", "not an address"),
        ] {
            let error = address(text).unwrap_err().to_string();
            assert!(error.contains(say), "{text}: {error}");
        }
        assert_eq!(address_or_off("off").unwrap(), None);
        assert_eq!(dns_server("9.9.9.9").unwrap().port(), 53);
        assert_eq!(dns_server("[2620:fe::fe]:5353").unwrap().port(), 5353);
    }

    #[test]
    fn words_are_case_blind_and_list_themselves() {
        assert_eq!("Serve-Only".parse::<Mode>().unwrap(), Mode::ServeOnly);
        let error = "server".parse::<Mode>().unwrap_err().to_string();
        assert!(
            error.contains("no mode \"server\"") && error.contains("standard, originate-only"),
            "{error}"
        );
        assert_eq!("CZ".parse::<Country>().unwrap().to_string(), "CZ");
        assert!("CZE".parse::<Country>().is_err());
        assert!(switch("maybe").is_err());
        assert!(number("65", 1, 64).is_err());
    }
}
