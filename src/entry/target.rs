//! What a client may name as a destination, and how it becomes a
//! [`FlowRequest`]. Pure.

use std::net::{IpAddr, Ipv6Addr};

use masq_cores::flow::{FlowRequest, Host};

/// Longest name, in bytes (the length field of SOCKS5 and of a flow request).
const MAX_NAME: usize = 255;

/// A destination: a host and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
}

/// The text names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host name or address")]
pub(crate) struct BadHost;

impl Target {
    /// The request that opens a connection there.
    pub(super) fn into_request(self) -> FlowRequest {
        FlowRequest::Tcp {
            host: self.host,
            port: self.port,
        }
    }
}

/// A host from the text a client gave: an address, an address in brackets, or
/// a name.
///
/// # Errors
///
/// [`BadHost`] when it is empty, too long, or has characters that occur in no
/// name; whether the name exists is for the exit to find out.
pub(crate) fn parse_host(text: &str) -> Result<Host, BadHost> {
    if let Some(inner) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner.parse::<Ipv6Addr>().map(Host::V6).map_err(|_| BadHost);
    }
    // "127.0.0.1." is a way to spell an address that not everyone notices.
    let bare = text.strip_suffix('.').unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(host_from_ip(address));
    }
    let fits = !bare.is_empty() && text.len() <= MAX_NAME;
    if fits && text.chars().all(is_name_char) {
        Ok(Host::Name(text.to_owned()))
    } else {
        Err(BadHost)
    }
}

/// A host from an address; IPv4 in IPv6's clothes is taken out of them.
pub(super) fn host_from_ip(address: IpAddr) -> Host {
    match address.to_canonical() {
        IpAddr::V4(v4) => Host::V4(v4),
        IpAddr::V6(v6) => Host::V6(v6),
    }
}

/// Anything that some resolver somewhere may accept; separators, quotes and
/// control characters are not.
fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_recognised_in_any_clothes() {
        let v4 = Host::V4([192, 0, 2, 7].into());
        for text in ["192.0.2.7", "192.0.2.7.", "::ffff:192.0.2.7"] {
            assert_eq!(parse_host(text), Ok(v4.clone()), "{text}");
        }
        let v6 = Host::V6("2001:db8::1".parse().unwrap());
        assert_eq!(parse_host("[2001:db8::1]"), Ok(v6.clone()));
        assert_eq!(parse_host("2001:db8::1"), Ok(v6));
    }

    #[test]
    fn names_keep_their_spelling_and_nonsense_is_refused() {
        for good in [
            "example.org",
            "Example.ORG.",
            "_dmarc.x",
            "bücher.example",
            "localhost",
        ] {
            assert_eq!(parse_host(good), Ok(Host::Name(good.to_owned())));
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            ".",
            "a b",
            "a\nb",
            "a/b",
            "u@h",
            "[::1",
            "[1.2.3.4]",
            "a:b:c",
            &long,
        ] {
            assert_eq!(parse_host(bad), Err(BadHost), "{bad:?}");
        }
    }
}
