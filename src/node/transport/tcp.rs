//! TCP whose outgoing connections leave from an address of the operator's choice.
//!
//! libp2p's own TCP transport binds an outgoing socket only to a listening
//! address *and port*, which shows that port to whoever is dialled. Here the
//! address is bound and the port is the kernel's choice. Host names are looked
//! up here as well. Listening is libp2p's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hickory_resolver::TokioResolver;
use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::tcp;
use tokio::net::TcpSocket;

/// Addresses of one name that are tried before the dial fails (guess: a dual-stack host with a
/// few addresses of each kind).
const MAX_ADDRESSES: usize = 8;

/// libp2p's TCP, with dialling replaced.
pub(super) struct BoundTcp {
    listeners: tcp::tokio::Transport,
    source: Option<IpAddr>,
    names: Option<TokioResolver>,
}

impl BoundTcp {
    /// Without `names`, addresses with a host name in them cannot be dialled.
    pub(super) fn new(source: Option<IpAddr>, names: Option<TokioResolver>) -> Self {
        Self {
            listeners: tcp::tokio::Transport::new(tcp::Config::new().nodelay(true)),
            source,
            names,
        }
    }
}

/// Whom to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

/// Host and port of `/ip4|ip6|dns|dns4|dns6/…/tcp/…[/p2p/…]`.
fn target(address: &Multiaddr) -> Option<(Host, u16)> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => Host::Ip(ip.into()),
        Protocol::Ip6(ip) => Host::Ip(ip.into()),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
            Host::Name(name.into_owned())
        }
        _ => return None,
    };
    let Some(Protocol::Tcp(port)) = parts.next() else {
        return None;
    };
    let rest_is_peer = parts.all(|part| matches!(part, Protocol::P2p(_)));
    let possible = !matches!(host, Host::Ip(ip) if ip.is_unspecified());
    (rest_is_peer && port != 0 && possible).then_some((host, port))
}

async fn connect(to: SocketAddr, source: Option<IpAddr>) -> io::Result<tcp::tokio::TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source.filter(|source| source.is_ipv4() == to.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(tcp::tokio::TcpStream(stream))
}

/// Looks the name up and connects to the first of its addresses that answers.
async fn connect_by_name(
    names: TokioResolver,
    name: String,
    port: u16,
    source: Option<IpAddr>,
) -> io::Result<tcp::tokio::TcpStream> {
    let found = names
        .lookup_ip(name)
        .await
        // Gossip tells by the kind that the name is at fault.
        .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for ip in found.iter().take(MAX_ADDRESSES) {
        match connect(SocketAddr::new(ip, port), source).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Transport for BoundTcp {
    type Output = tcp::tokio::TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<Self::Output>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Self::Error>> {
        self.listeners.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listeners.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Self::Dial, TransportError<Self::Error>> {
        let source = self.source;
        match (target(&address), &self.names) {
            (Some((Host::Ip(ip), port)), _) => {
                Ok(Box::pin(connect(SocketAddr::new(ip, port), source)))
            }
            (Some((Host::Name(name), port)), Some(names)) => {
                Ok(Box::pin(connect_by_name(names.clone(), name, port, source)))
            }
            _ => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.listeners).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_tcp_addresses_are_dialled() {
        let parse = |text: &str| target(&text.parse().unwrap());
        let ip = |text: &str| Host::Ip(text.parse().unwrap());
        assert_eq!(
            parse("/ip4/127.1.2.3/tcp/9000"),
            Some((ip("127.1.2.3"), 9000))
        );
        assert_eq!(parse("/ip6/::1/tcp/9"), Some((ip("::1"), 9)));
        assert_eq!(
            parse("/dns4/example.org/tcp/9000"),
            Some((Host::Name("example.org".into()), 9000))
        );
        assert_eq!(parse("/ip4/0.0.0.0/tcp/9000"), None);
        assert_eq!(parse("/ip4/127.0.0.1/tcp/0"), None);
        assert_eq!(parse("/ip4/127.0.0.1/udp/9000"), None);
        assert_eq!(parse("/ip4/127.0.0.1/tcp/9000/ws"), None);
    }

    #[tokio::test]
    async fn a_connection_leaves_from_the_source_address_and_a_fresh_port() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let source: IpAddr = "127.77.8.9".parse().unwrap();
        let (client, accepted) = tokio::join!(connect(to, Some(source)), server.accept());
        client.unwrap();
        assert_eq!(accepted.unwrap().1.ip(), source);
    }
}
