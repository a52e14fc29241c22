//! What of a message's head may cross a proxy (RFC 9110 section 7.6), and what
//! in it is meant for the proxy itself. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use crate::entry::Isolation;

/// Headers that concern one connection only, besides those that `Connection`
/// names.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes out what concerns one connection only. With `keep_upgrade`, what asks
/// for or confirms a switch of protocols stays.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    let upgrade = keep_upgrade
        .then(|| headers.get(UPGRADE).cloned())
        .flatten();
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if let Some(protocols) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocols);
    }
}

/// Whether the message asks for, or confirms, a switch of protocols.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

/// The isolation that a client's `Proxy-Authorization` asks for. Credentials
/// are never checked, so whatever cannot be read as such isolates as well.
pub(super) fn isolation(headers: &HeaderMap) -> Isolation {
    let Some(value) = headers.get(PROXY_AUTHORIZATION) else {
        return Isolation::SHARED;
    };
    let value = value.as_bytes();
    let basic = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
    let Some(pair) = basic else {
        return Isolation::from_credentials("http", value, b"");
    };
    let colon = pair
        .iter()
        .position(|byte| *byte == b':')
        .unwrap_or(pair.len());
    let password = pair.get(colon + 1..).unwrap_or_default();
    Isolation::from_credentials("http", &pair[..colon], password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    value.parse::<HeaderValue>().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn what_concerns_one_connection_does_not_cross() {
        let mut map = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic dTpw"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
            ("trailer", "x-sum"),
        ]);
        strip_hop_by_hop(&mut map, false);
        assert_eq!(map, headers(&[("accept", "*/*"), ("trailer", "x-sum")]));
    }

    #[test]
    fn a_wanted_upgrade_stays() {
        let mut map = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "x"),
        ]);
        assert!(wants_upgrade(&map));
        strip_hop_by_hop(&mut map, true);
        assert_eq!(map[CONNECTION], "upgrade");
        assert_eq!(map[UPGRADE], "websocket");
        assert!(!wants_upgrade(&headers(&[("upgrade", "websocket")])));
    }

    #[test]
    fn credentials_isolate() {
        assert_eq!(isolation(&HeaderMap::new()), Isolation::SHARED);
        let of = |value| isolation(&headers(&[("proxy-authorization", value)]));
        // "user:pa:ss"
        assert_eq!(
            of("basic dXNlcjpwYTpzcw=="),
            Isolation::from_credentials("http", b"user", b"pa:ss")
        );
        // "user"
        assert_eq!(
            of("Basic dXNlcg=="),
            Isolation::from_credentials("http", b"user", b"")
        );
        assert_ne!(of("Bearer x"), Isolation::SHARED);
        assert_ne!(of("Bearer x"), of("Bearer y"));
    }
}
