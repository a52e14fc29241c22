//! What travels at the head of a flow: the request that opens it and the reply that answers it.
//!
//! The domain types and their bounds. Their wire form, and the only place where what a peer sent is
//! checked, is in `wire.rs`; how the messages are framed inside a flow is in `frame.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
