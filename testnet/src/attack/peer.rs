//! An attacker's connection: TCP from an address of its own, and as far into noise
//! and yamux as an attack goes. libp2p's Swarm is not used, because it behaves.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::upgrade::OutboundConnectionUpgrade;
use libp2p::identity::Keypair;
use libp2p::noise;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::wire;
use crate::network::RunningNode;
use crate::plan::NODE_PORT;

/// How long an attacker lets a handshake take: longer than a node does.
const PATIENCE: Duration = Duration::from_secs(20);
/// First line of every negotiation.
pub(super) const HELLO: &str = "/multistream/1.0.0";
/// The protocols, in the order in which they are agreed on.
pub(super) const NOISE: &str = "/noise";
const YAMUX: &str = "/yamux/1.0.0";
const GOSSIP: &str = "/masq/gossip/1";
/// Longest answer in a negotiation, in bytes.
const MAX_LINE: u8 = 127;

/// Where attacks go. It can be made of a node that this program started, and of nothing
/// else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target(SocketAddr);

impl Target {
    pub(super) fn node(node: &RunningNode) -> Self {
        Self(SocketAddr::from((node.ip(), NODE_PORT)))
    }
}

/// Connects from one of the attacker's addresses.
pub(super) async fn connect(target: Target, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = tokio::time::timeout(PATIENCE, socket.connect(target.0)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A line of a negotiation, after its length.
pub(super) fn line(text: &str) -> Vec<u8> {
    let len = (text.len() + 1).to_le_bytes()[0];
    [&[len], text.as_bytes(), b"\n"].concat()
}

/// Proposes a protocol and insists on it.
pub(super) async fn negotiate<S>(io: &mut S, protocol: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    io.write_all(&[line(HELLO), line(protocol)].concat())
        .await?;
    io.flush().await?;
    for expected in [HELLO, protocol] {
        let mut len = [0];
        io.read_exact(&mut len).await?;
        let mut answer = vec![0; len[0].min(MAX_LINE).into()];
        io.read_exact(&mut answer).await?;
        if answer.strip_suffix(b"\n") != Some(expected.as_bytes()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

/// A connection to the victim, authenticated under some key.
pub(super) struct Peer {
    /// Streams that were opened, without anything said on them.
    pub(super) streams: Vec<yamux::Stream>,
    driver: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Peer {
    /// Gets to know the victim, and opens so many streams.
    pub(super) async fn meet(
        target: Target,
        from: Ipv4Addr,
        keys: &Keypair,
        streams: usize,
    ) -> io::Result<Self> {
        let meeting = async {
            let mut tcp = connect(target, from).await?.compat();
            negotiate(&mut tcp, NOISE).await?;
            let noise = noise::Config::new(keys).map_err(io::Error::other)?;
            let (_, mut secure): (_, noise::Output<Compat<TcpStream>>) = noise
                .upgrade_outbound(tcp, NOISE)
                .await
                .map_err(io::Error::other)?;
            negotiate(&mut secure, YAMUX).await?;
            let mut config = yamux::Config::default();
            config.set_max_num_streams(1024);
            let mut yamux = yamux::Connection::new(secure, config, yamux::Mode::Client);
            let mut opened = Vec::new();
            for _ in 0..streams {
                let stream = poll_fn(|cx| yamux.poll_new_outbound(cx)).await;
                opened.push(stream.map_err(io::Error::other)?);
            }
            // Nothing moves unless the connection is asked for the victim's streams; they
            // are thrown away.
            let driver = tokio::spawn(async move {
                while let Some(Ok(_)) = poll_fn(|cx| yamux.poll_next_inbound(cx)).await {}
            });
            Ok(Self {
                streams: opened,
                driver,
            })
        };
        tokio::time::timeout(PATIENCE, meeting).await?
    }

    /// Takes one of the streams for gossip.
    pub(super) async fn gossip(&mut self) -> io::Result<Gossip> {
        let mut stream = self
            .streams
            .pop()
            .ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        tokio::time::timeout(PATIENCE, negotiate(&mut stream, GOSSIP)).await??;
        Ok(Gossip(stream))
    }
}

/// The gossip stream of an attacker.
pub(super) struct Gossip(yamux::Stream);

impl Gossip {
    /// Sends a message.
    pub(super) async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        self.send_raw(&wire::framed(body)).await
    }

    /// Sends bytes that are no message.
    pub(super) async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// The next message of the victim.
    pub(super) async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut len = [0; 2];
        self.0.read_exact(&mut len).await?;
        let mut body = vec![0; u16::from_be_bytes(len).into()];
        self.0.read_exact(&mut body).await?;
        Ok(body)
    }

    /// Reads on until the victim ends the stream.
    pub(super) async fn until_cut_off(&mut self) {
        while self.receive().await.is_ok() {}
    }

    /// Apart, so that reading and writing do not wait for each other.
    pub(super) fn split(self) -> (Reading, Writing) {
        let (read, write) = self.0.split();
        (Reading(read), Writing(write))
    }
}

/// The half that hears the victim.
pub(super) struct Reading(futures::io::ReadHalf<yamux::Stream>);

impl Reading {
    /// Throws away what comes, until the victim ends the stream.
    pub(super) async fn until_cut_off(mut self) {
        let mut waste = vec![0; 16 * 1024];
        while matches!(self.0.read(&mut waste).await, Ok(n) if n > 0) {}
    }
}

/// The half that speaks to it.
pub(super) struct Writing(futures::io::WriteHalf<yamux::Stream>);

impl Writing {
    /// Sends a message.
    pub(super) async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        self.0.write_all(&wire::framed(body)).await?;
        self.0.flush().await
    }
}
