//! The wire form of requests and replies, and the checks on what a peer sent.
//!
//! Both messages are flat protocol buffers (specification: "Flows"). Unknown fields are skipped, so that
//! later versions may add some.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use quick_protobuf::{BytesReader, Writer};

use super::message::{
    FlowReply, FlowRequest, FlowStatus, Host, MAX_ADDRESSES, MAX_DETAIL, MAX_MESSAGE, MAX_NAME,
    MAX_NAMES, MAX_SERVICE, MessageError, Want,
};

impl FlowStatus {
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
            let names = self
                .names
                .iter()
                .filter_map(|n| checked_name(n.as_bytes()).ok());
            for name in names.take(MAX_NAMES) {
                w.write_with_tag(REPLY_NAME, |w| w.write_string(name))?;
            }
            if self.ttl != 0 {
                w.write_with_tag(REPLY_TTL, |w| w.write_uint32(self.ttl))?;
            }
            Ok::<_, quick_protobuf::Error>(())
        })();
        written.expect("writing to a vector does not fail");
        debug_assert!(
            out.len() <= MAX_MESSAGE,
            "the bounds of the fields add up to less"
        );
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
#[path = "wire_tests.rs"]
mod tests;
