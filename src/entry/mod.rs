//! What clients on this machine talk to: the SOCKS and HTTP proxies.
//!
//! A client's connection is accepted in `listener`, its protocol is spoken in
//! `socks` or `http`, the destination is checked against the `plaintext`
//! setting, and a flow is asked for from the [`Mesh`]; from then on
//! [`crate::pipe`] carries the bytes. What can go wrong is translated into the
//! client's own protocol in one place, `failure`.
//!
//! Not here: choosing routes and circuits, retrying through other exits (the
//! implementation of [`Mesh`] does both), and connecting to servers
//! ([`crate::exit`]).

mod failure;
mod http;
mod listener;
mod plaintext;
mod socks;
mod stats;
mod target;

pub(crate) use target::parse_host;

use std::fmt;
use std::net::IpAddr;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite};
use masq_cores::flow::{FlowRequest, FlowStatus};
use sha2::{Digest, Sha256};

pub use listener::{
    DEFAULT_DRAIN, DEFAULT_MAX_CONNECTIONS, Entry, EntryConfig, EntryError, EntryHandle,
};
pub use stats::EntryStatus;

/// The mesh as the entry sees it: something that opens flows.
///
/// Implemented by the node over its circuit pool, by
/// [`crate::exit::Direct`] for zero-hop mode, and by tests.
pub trait Mesh: Send + Sync + 'static {
    /// Opens a flow to `request`'s destination, retrying through other exits
    /// where nothing can have reached a server yet.
    ///
    /// Resolves once the exit has answered. Dropping the future gives the
    /// attempt up.
    ///
    /// # Errors
    ///
    /// Why the destination was not reached, in the words of the last attempt.
    /// No byte has been delivered then.
    fn open(
        &self,
        request: FlowRequest,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Tunnel, OpenError>>;

    /// Addresses of `name`, as an exit resolves it.
    ///
    /// # Errors
    ///
    /// As for [`Mesh::open`].
    fn resolve(
        &self,
        name: String,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Vec<IpAddr>, OpenError>>;

    /// Names of `address`, as an exit resolves it.
    ///
    /// # Errors
    ///
    /// As for [`Mesh::open`].
    fn resolve_ptr(
        &self,
        address: IpAddr,
        isolation: Isolation,
    ) -> BoxFuture<'static, Result<Vec<String>, OpenError>>;
}

/// A flow, as the entry uses it.
///
/// Dropping it without a close must reset it, and a reset by the other side
/// must be read as an error, never as an end of stream.
pub trait FlowIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> FlowIo for T {}

/// An open flow.
pub type Tunnel = Box<dyn FlowIo>;

/// Why a flow could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No route through the mesh at this moment; nothing was sent.
    #[error("no route through the mesh: {reason}")]
    NoRoute {
        /// A sentence for the user.
        reason: String,
    },
    /// An exit answered that it could not do it.
    #[error("the exit answered {status:?}: {detail}")]
    Status {
        /// What the exit answered.
        status: FlowStatus,
        /// The exit's own words; from a stranger, so shown only after
        /// cleaning, and at most 256 bytes.
        detail: String,
    },
    /// The circuit broke before the exit answered, on every attempt.
    #[error("the circuit broke before the exit answered")]
    CircuitLost,
    /// The exit did not answer in time, on every attempt.
    #[error("the exit did not answer in time")]
    Timeout,
    /// This node is stopping.
    #[error("this node is shutting down")]
    ShuttingDown,
}

/// Flows of different isolation never share a circuit.
///
/// Clients that give no credentials share one. A user name and password (of
/// SOCKS, or `Proxy-Authorization` of HTTP) are never checked: they only tell
/// flows apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isolation([u8; 32]);

impl Isolation {
    /// The isolation of clients that give no credentials.
    pub const SHARED: Self = Self([0; 32]);

    /// The isolation of everyone who gives these credentials to the listener
    /// called `listener`.
    #[must_use]
    pub fn from_credentials(listener: &str, user: &[u8], password: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"masq entry isolation v1");
        for part in [listener.as_bytes(), user, password] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The 32 bytes by which two isolations are compared.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Default for Isolation {
    fn default() -> Self {
        Self::SHARED
    }
}

impl fmt::Debug for Isolation {
    /// Says whether it is shared, not what it was made of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::SHARED {
            "Isolation(shared)"
        } else {
            "Isolation(own)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_isolate_by_each_of_their_parts() {
        let all = [
            Isolation::SHARED,
            Isolation::from_credentials("socks", b"", b""),
            Isolation::from_credentials("socks", b"ab", b"c"),
            Isolation::from_credentials("socks", b"a", b"bc"),
            Isolation::from_credentials("http", b"a", b"bc"),
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(a == b, i == j);
            }
        }
        assert_eq!(all[3], Isolation::from_credentials("socks", b"a", b"bc"));
        assert_eq!(format!("{:?}", all[2]), "Isolation(own)");
    }
}
