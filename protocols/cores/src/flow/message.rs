//! What travels at the head of a flow: the request that opens it and the reply that answers it.
//!
//! The domain types ([`FlowRequest`], [`FlowReply`], [`FlowStatus`]) and their wire form live here; the
//! conversion between the two is the only place where what a peer sent is checked. How the messages
//! are framed inside a flow is in `frame.rs`.
//!
//! Both messages are flat protocol buffers (specification: "Flows"). Unknown fields are skipped, so
//! that later versions may add some.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use quick_protobuf::{BytesReader, Writer};
use thiserror::Error;

/// Longest encoded request or reply, in bytes. Spec: a message always fits one frame of a new flow.
pub const MAX_MESSAGE: usize = 1024;
/// Longest host name, in bytes. Spec: RFC 1035 allows 255 on the wire.
pub const MAX_NAME: usize = 255;
/// Longest name of a service, in bytes. Spec.
pub const MAX_SERVICE: usize = 64;
/// Longest detail text of a reply, in bytes. Spec.
pub const MAX_DETAIL: usize = 256;
/// Most addresses in a reply. Spec: what a client can use; a resolver's answer is cut to it.
pub const MAX_ADDRESSES: usize = 12;
/// Most names in a reply. Spec: reverse lookups seldom give more than one.
pub const MAX_NAMES: usize = 2;

/// Where a flow goes: a name that the exit resolves, or an address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A host name of 1 to [`MAX_NAME`] bytes, without white space or control characters. The exit
    /// resolves it.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

/// Which addresses a lookup asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Want {
    /// Whatever the name has.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// What the origin asks of the exit when it opens a flow.
///
/// `Debug` names the kind and never the target: a request may end up in a log.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlowRequest {
    /// A TCP connection.
    Tcp {
        /// Where to.
        host: Host,
        /// Port, 1 to 65535.
        port: u16,
    },
    /// A UDP association: datagrams to anywhere.
    Udp,
    /// The addresses of a name.
    Resolve {
        /// The name, as in [`Host::Name`].
        name: String,
        /// Which addresses.
        want: Want,
    },
    /// The name of an address.
    ResolvePtr {
        /// The address.
        address: IpAddr,
    },
    /// A service that the exit node itself offers.
    Service {
        /// Its name, 1 to [`MAX_SERVICE`] bytes, printable ASCII.
        name: String,
    },
}

/// How the exit answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlowStatus {
    /// The flow is open.
    Ok,
    /// The name does not exist, or has no address of the kind asked for.
    NameNotFound,
    /// The resolver failed or did not answer.
    NameServerFailed,
    /// The server refused the connection.
    ConnectionRefused,
    /// No route to the server.
    HostUnreachable,
    /// No route to the server's network; an exit without IPv6 says so for IPv6 targets.
    NetworkUnreachable,
    /// The server did not answer in time.
    TimedOut,
    /// The exit's policy does not allow this target.
    PolicyRefused,
    /// The exit does not carry plaintext protocols.
    PlaintextRefused,
    /// The exit does not know this kind of request, or this service.
    Unsupported,
    /// The exit has no room for another flow now.
    Overloaded,
    /// Something went wrong inside the exit, or it sent a status that this version does not know.
    Internal,
}

impl FlowStatus {
    /// Whether another exit may well do better: nothing has reached the server, and the cause lies
    /// with this exit or with its view of the network.
    ///
    /// A refused connection is not: the server was reached, and it said no.
    pub fn is_retryable_elsewhere(self) -> bool {
        match self {
            Self::Ok | Self::ConnectionRefused => false,
            Self::NameNotFound
            | Self::NameServerFailed
            | Self::HostUnreachable
            | Self::NetworkUnreachable
            | Self::TimedOut
            | Self::PolicyRefused
            | Self::PlaintextRefused
            | Self::Unsupported
            | Self::Overloaded
            | Self::Internal => true,
        }
    }

    fn to_wire(self) -> u32 {
        match self {
            Self::Ok => 1,
            Self::NameNotFound => 2,
            Self::NameServerFailed => 3,
            Self::ConnectionRefused => 4,
            Self::HostUnreachable => 5,
            Self::NetworkUnreachable => 6,
            Self::TimedOut => 7,
            Self::PolicyRefused => 8,
            Self::PlaintextRefused => 9,
            Self::Unsupported => 10,
            Self::Overloaded => 11,
            Self::Internal => 12,
        }
    }

    fn from_wire(code: u32) -> Result<Self, MessageError> {
        Ok(match code {
            0 => return Err(MessageError::Missing("status")),
            1 => Self::Ok,
            2 => Self::NameNotFound,
            3 => Self::NameServerFailed,
            4 => Self::ConnectionRefused,
            5 => Self::HostUnreachable,
            6 => Self::NetworkUnreachable,
            7 => Self::TimedOut,
            8 => Self::PolicyRefused,
            9 => Self::PlaintextRefused,
            10 => Self::Unsupported,
            11 => Self::Overloaded,
            // Codes that later versions add: known to be a failure, and no more than that.
            _ => Self::Internal,
        })
    }
}

impl std::fmt::Display for FlowStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ok => "open",
            Self::NameNotFound => "the name does not exist",
            Self::NameServerFailed => "the name server failed",
            Self::ConnectionRefused => "the server refused the connection",
            Self::HostUnreachable => "the server cannot be reached",
            Self::NetworkUnreachable => "the server's network cannot be reached",
            Self::TimedOut => "the server did not answer in time",
            Self::PolicyRefused => "the exit does not allow this destination",
            Self::PlaintextRefused => "the exit does not carry plaintext",
            Self::Unsupported => "the exit does not support this kind of request",
            Self::Overloaded => "the exit has no room for another flow",
            Self::Internal => "the exit failed",
        })
    }
}

/// The exit's answer to a [`FlowRequest`].
#[derive(Clone, PartialEq, Eq)]
pub struct FlowReply {
    /// Whether the flow is open.
    pub status: FlowStatus,
    /// A sentence for people, at most [`MAX_DETAIL`] bytes. It comes from the exit and says what the
    /// exit likes: control characters are taken out when it is decoded, and longer text is cut.
    pub detail: String,
    /// The answer to [`FlowRequest::Resolve`]; for a TCP flow, the address the exit connected to if it
    /// cares to tell. At most [`MAX_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// The answer to [`FlowRequest::ResolvePtr`]. At most [`MAX_NAMES`], each a valid host name.
    pub names: Vec<String>,
    /// How long the answer to a lookup may be kept, in seconds; 0 when not said.
    pub ttl: u32,
}

impl FlowReply {
    /// The flow is open.
    pub fn ok() -> Self {
        Self {
            status: FlowStatus::Ok,
            detail: String::new(),
            addresses: Vec::new(),
            names: Vec::new(),
            ttl: 0,
        }
    }

    /// The flow is refused. `detail` is cut to [`MAX_DETAIL`] bytes when it is sent.
    pub fn refused(status: FlowStatus, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            ..Self::ok()
        }
    }

    /// A lookup that found addresses, good for `ttl` seconds. More than [`MAX_ADDRESSES`] are cut when
    /// the reply is sent.
    pub fn resolved(addresses: Vec<IpAddr>, ttl: u32) -> Self {
        Self {
            addresses,
            ttl,
            ..Self::ok()
        }
    }

    /// A reverse lookup that found names, good for `ttl` seconds.
    pub fn named(names: Vec<String>, ttl: u32) -> Self {
        Self {
            names,
            ttl,
            ..Self::ok()
        }
    }
}

impl std::fmt::Debug for FlowReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the detail nor the addresses: they name the target.
        f.debug_struct("FlowReply")
            .field("status", &self.status)
            .field("addresses", &self.addresses.len())
            .field("names", &self.names.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name(_) => "Name",
            Self::V4(_) => "V4",
            Self::V6(_) => "V6",
        })
    }
}

impl std::fmt::Debug for FlowRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp { .. } => "Tcp",
            Self::Udp => "Udp",
            Self::Resolve { .. } => "Resolve",
            Self::ResolvePtr { .. } => "ResolvePtr",
            Self::Service { .. } => "Service",
        })
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => Self::V6(v6),
        }
    }
}

/// Why a request or reply cannot be encoded (the caller's fault) or decoded (the peer's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// Not a protocol buffer.
    #[error("the message is malformed")]
    Malformed,
    /// A field that this kind of message needs is not there.
    #[error("the message lacks its {0}")]
    Missing(&'static str),
    /// A field does not hold what it may hold.
    #[error("the message has a bad {0}")]
    Bad(&'static str),
    /// A kind of request that this version does not know.
    #[error("unknown kind of request")]
    UnknownKind,
}

const KIND_TCP: u32 = 1;
const KIND_UDP: u32 = 2;
const KIND_RESOLVE: u32 = 3;
const KIND_RESOLVE_PTR: u32 = 4;
const KIND_SERVICE: u32 = 5;

// Tags: field number << 3 | wire type.
const REQUEST_KIND: u32 = 1 << 3;
const REQUEST_NAME: u32 = 2 << 3 | 2;
const REQUEST_ADDRESS: u32 = 3 << 3 | 2;
const REQUEST_PORT: u32 = 4 << 3;
const REQUEST_WANT: u32 = 5 << 3;

const REPLY_STATUS: u32 = 1 << 3;
const REPLY_DETAIL: u32 = 2 << 3 | 2;
const REPLY_ADDRESS: u32 = 3 << 3 | 2;
const REPLY_NAME: u32 = 4 << 3 | 2;
const REPLY_TTL: u32 = 5 << 3;

/// Fields of a request as they are on the wire, unchecked.
#[derive(Default)]
struct WireRequest<'a> {
    kind: u32,
    name: Option<&'a [u8]>,
    address: Option<Cow<'a, [u8]>>,
    port: u32,
    want: u32,
}

impl FlowRequest {
    /// The wire form, at most [`MAX_MESSAGE`] bytes.
    ///
    /// # Errors
    /// [`MessageError::Bad`] when a name or port is not one.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        let wire = self.to_wire()?;
        let mut out = Vec::with_capacity(32);
        let mut w = Writer::new(&mut out);
        let written = (|| {
            w.write_with_tag(REQUEST_KIND, |w| w.write_uint32(wire.kind))?;
            if let Some(name) = wire.name {
                w.write_with_tag(REQUEST_NAME, |w| w.write_bytes(name))?;
            }
            if let Some(address) = &wire.address {
                w.write_with_tag(REQUEST_ADDRESS, |w| w.write_bytes(address))?;
            }
            if wire.port != 0 {
                w.write_with_tag(REQUEST_PORT, |w| w.write_uint32(wire.port))?;
            }
            if wire.want != 0 {
                w.write_with_tag(REQUEST_WANT, |w| w.write_uint32(wire.want))?;
            }
            Ok::<_, quick_protobuf::Error>(())
        })();
        written.map_err(|_| MessageError::Malformed)?;
        if out.len() > MAX_MESSAGE {
            return Err(MessageError::TooLong);
        }
        Ok(out)
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// Whatever is wrong with it, see [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut wire = WireRequest::default();
        read_fields(bytes, |tag, r| {
            match tag {
                REQUEST_KIND => wire.kind = r.read_uint32(bytes)?,
                REQUEST_NAME => wire.name = Some(r.read_bytes(bytes)?),
                REQUEST_ADDRESS => wire.address = Some(r.read_bytes(bytes)?.into()),
                REQUEST_PORT => wire.port = r.read_uint32(bytes)?,
                REQUEST_WANT => wire.want = r.read_uint32(bytes)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Self::from_wire(&wire)
    }

    fn to_wire(&self) -> Result<WireRequest<'_>, MessageError> {
        let empty = WireRequest::default();
        Ok(match self {
            Self::Tcp { port: 0, .. } => return Err(MessageError::Bad("port")),
            Self::Tcp { host, port } => {
                let (name, address) = match host {
                    Host::Name(name) => (Some(checked_name(name.as_bytes())?.as_bytes()), None),
                    Host::V4(v4) => (None, Some(address_bytes((*v4).into()))),
                    Host::V6(v6) => (None, Some(address_bytes((*v6).into()))),
                };
                WireRequest {
                    kind: KIND_TCP,
                    name,
                    address: address.map(Cow::Owned),
                    port: u32::from(*port),
                    want: 0,
                }
            }
            Self::Udp => WireRequest {
                kind: KIND_UDP,
                ..empty
            },
            Self::Resolve { name, want } => WireRequest {
                kind: KIND_RESOLVE,
                name: Some(checked_name(name.as_bytes())?.as_bytes()),
                want: match want {
                    Want::Any => 0,
                    Want::V4 => 1,
                    Want::V6 => 2,
                },
                ..empty
            },
            Self::ResolvePtr { address } => WireRequest {
                kind: KIND_RESOLVE_PTR,
                address: Some(Cow::Owned(address_bytes(*address))),
                ..empty
            },
            Self::Service { name } => WireRequest {
                kind: KIND_SERVICE,
                name: Some(checked_service(name.as_bytes())?.as_bytes()),
                ..empty
            },
        })
    }

    fn from_wire(wire: &WireRequest<'_>) -> Result<Self, MessageError> {
        let name = || wire.name.ok_or(MessageError::Missing("name"));
        let host = || match (wire.name, &wire.address) {
            (Some(name), None) => Ok(Host::Name(checked_name(name)?.to_owned())),
            (None, Some(address)) => Ok(Host::from(address_from(address)?)),
            (None, None) => Err(MessageError::Missing("host")),
            (Some(_), Some(_)) => Err(MessageError::Bad("host")),
        };
        match wire.kind {
            0 => Err(MessageError::Missing("kind")),
            KIND_TCP => Ok(Self::Tcp {
                host: host()?,
                port: u16::try_from(wire.port)
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or(MessageError::Bad("port"))?,
            }),
            KIND_UDP => Ok(Self::Udp),
            KIND_RESOLVE => Ok(Self::Resolve {
                name: checked_name(name()?)?.to_owned(),
                want: match wire.want {
                    0 => Want::Any,
                    1 => Want::V4,
                    2 => Want::V6,
                    _ => return Err(MessageError::Bad("want")),
                },
            }),
            KIND_RESOLVE_PTR => Ok(Self::ResolvePtr {
                address: address_from(
                    wire.address
                        .as_ref()
                        .ok_or(MessageError::Missing("address"))?,
                )?,
            }),
            KIND_SERVICE => Ok(Self::Service {
                name: checked_service(name()?)?.to_owned(),
            }),
            _ => Err(MessageError::UnknownKind),
        }
    }
}

impl FlowReply {
    /// The wire form, at most [`MAX_MESSAGE`] bytes: whatever is too much is cut, since a reply must
    /// never fail to go out. Names that are not host names are left out.
    pub fn encode(&self) -> Vec<u8> {
        let detail = cut(&self.detail, MAX_DETAIL);
        let mut out = Vec::with_capacity(16 + detail.len());
        let mut w = Writer::new(&mut out);
        let written = (|| {
            w.write_with_tag(REPLY_STATUS, |w| w.write_uint32(self.status.to_wire()))?;
            if !detail.is_empty() {
                w.write_with_tag(REPLY_DETAIL, |w| w.write_string(detail))?;
            }
            for address in self.addresses.iter().take(MAX_ADDRESSES) {
                let bytes = address_bytes(*address);
                w.write_with_tag(REPLY_ADDRESS, |w| w.write_bytes(&bytes))?;
            }
            let names = self.names.iter().filter_map(|n| checked_name(n.as_bytes()).ok());
            for name in names.take(MAX_NAMES) {
                w.write_with_tag(REPLY_NAME, |w| w.write_string(name))?;
            }
            if self.ttl != 0 {
                w.write_with_tag(REPLY_TTL, |w| w.write_uint32(self.ttl))?;
            }
            Ok::<_, quick_protobuf::Error>(())
        })();
        written.expect("writing to a vector does not fail");
        debug_assert!(out.len() <= MAX_MESSAGE, "the bounds of the fields add up to less");
        out
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// Whatever is wrong with it, see [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut reply = Self::ok();
        let mut status = 0;
        let mut addresses: Vec<&[u8]> = Vec::new();
        let mut names: Vec<&[u8]> = Vec::new();
        let mut detail: &[u8] = &[];
        read_fields(bytes, |tag, r| {
            match tag {
                REPLY_STATUS => status = r.read_uint32(bytes)?,
                REPLY_DETAIL => detail = r.read_bytes(bytes)?,
                REPLY_ADDRESS => addresses.push(r.read_bytes(bytes)?),
                REPLY_NAME => names.push(r.read_bytes(bytes)?),
                REPLY_TTL => reply.ttl = r.read_uint32(bytes)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if addresses.len() > MAX_ADDRESSES {
            return Err(MessageError::Bad("number of addresses"));
        }
        if names.len() > MAX_NAMES {
            return Err(MessageError::Bad("number of names"));
        }
        reply.status = FlowStatus::from_wire(status)?;
        reply.detail = shown(detail);
        for address in addresses {
            reply.addresses.push(address_from(address)?);
        }
        for name in names {
            reply.names.push(checked_name(name)?.to_owned());
        }
        Ok(reply)
    }
}

/// Walks the fields of a flat message; `field` says whether it knew the tag and took the value.
fn read_fields(
    bytes: &[u8],
    mut field: impl FnMut(u32, &mut BytesReader) -> Result<bool, quick_protobuf::Error>,
) -> Result<(), MessageError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong);
    }
    let mut r = BytesReader::from_bytes(bytes);
    while !r.is_eof() {
        let tag = r.next_tag(bytes).map_err(|_| MessageError::Malformed)?;
        let known = field(tag, &mut r).map_err(|_| MessageError::Malformed)?;
        if known {
            continue;
        }
        // The library's own way of skipping adds unchecked lengths; this one reads what it skips.
        let skipped = match tag & 7 {
            0 => r.read_varint64(bytes).map(drop),
            1 => r.read_fixed64(bytes).map(drop),
            2 => r.read_bytes(bytes).map(drop),
            5 => r.read_fixed32(bytes).map(drop),
            _ => return Err(MessageError::Malformed),
        };
        skipped.map_err(|_| MessageError::Malformed)?;
    }
    Ok(())
}

fn checked_name(name: &[u8]) -> Result<&str, MessageError> {
    let text = std::str::from_utf8(name).map_err(|_| MessageError::Bad("name"))?;
    let fits = (1..=MAX_NAME).contains(&text.len());
    if !fits || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(MessageError::Bad("name"));
    }
    Ok(text)
}

fn checked_service(name: &[u8]) -> Result<&str, MessageError> {
    let fits = (1..=MAX_SERVICE).contains(&name.len());
    if !fits || !name.iter().all(u8::is_ascii_graphic) {
        return Err(MessageError::Bad("service name"));
    }
    std::str::from_utf8(name).map_err(|_| MessageError::Bad("service name"))
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_from(bytes: &[u8]) -> Result<IpAddr, MessageError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes)
        .map(|v6| Ipv6Addr::from(v6).into())
        .map_err(|_| MessageError::Bad("address"))
}

/// The longest start of `text` that is at most `limit` bytes and ends between characters.
fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    &text[..end]
}

/// A peer's text made safe to show: valid, cut, and without control characters (a terminal obeys those).
fn shown(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    cut(&text, MAX_DETAIL).to_owned()
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
