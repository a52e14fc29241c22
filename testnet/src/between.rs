//! Somebody between the nodes: every link of a testnet can be led through here,
//! so that nodes can be parted from each other and joined again while all of
//! them go on running. A connection leaves from the address it came from, so the
//! nodes see each other's addresses as ever. What links carry is not looked at.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::plan::{INNER_PORT, NODE_PORT};

/// Connections that may wait to be accepted at one address.
const BACKLOG: u32 = 1024;

/// The nodes on one side while the mesh is parted; `None` while it is not.
type Side = Option<Arc<BTreeSet<Ipv4Addr>>>;

/// Passes connections on, from [`NODE_PORT`] of each node to its [`INNER_PORT`].
/// Dropping it ends them all.
#[derive(Debug)]
pub struct Between {
    side: watch::Sender<Side>,
    _stop: DropGuard,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
struct Ends(Ipv4Addr, Ipv4Addr);

impl Ends {
    fn parted(self, side: &Side) -> bool {
        side.as_ref()
            .is_some_and(|side| side.contains(&self.0) != side.contains(&self.1))
    }
}

impl Between {
    /// Stands before the nodes at these addresses. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When [`NODE_PORT`] of one of them is taken.
    pub fn start(nodes: &[Ipv4Addr]) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (side, watching) = watch::channel(None);
        for node in nodes {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::from((*node, NODE_PORT)))?;
            let accept = accept(socket.listen(BACKLOG)?, *node, watching.clone());
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(accept).await });
        }
        Ok(Self {
            side,
            _stop: stop.drop_guard(),
        })
    }

    /// From now on nothing passes between these nodes and the others: open connections
    /// fall silent, as when a cable is cut, and new ones get no answer.
    pub fn part(&self, side: impl IntoIterator<Item = Ipv4Addr>) {
        self.side
            .send_replace(Some(Arc::new(side.into_iter().collect())));
    }

    /// Everything passes again. Connections that fell silent are closed.
    pub fn join(&self) {
        self.side.send_replace(None);
    }
}

async fn accept(listener: TcpListener, node: Ipv4Addr, side: watch::Receiver<Side>) {
    // Connections end with the listener, which ends with `Between`.
    let mut links = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = links.join_next() => continue,
        };
        let Ok((stream, from)) = accepted else {
            continue;
        };
        if let IpAddr::V4(from) = from.ip() {
            links.spawn(link(stream, Ends(from, node), side.clone()));
        }
    }
}

async fn link(mut outer: TcpStream, ends: Ends, mut side: watch::Receiver<Side>) {
    let joined = |side: &Side| !ends.parted(side);
    // Outlives the passing, so that neither end hears that the other is gone.
    let mut inner = None;
    let passing = async {
        let inner = inner.insert(connect(ends).await?);
        outer.set_nodelay(true)?;
        copy_bidirectional(&mut outer, inner).await
    };
    let mut watching = side.clone();
    tokio::select! {
        // Parting goes before passing.
        biased;
        parted = watching.wait_for(|side| ends.parted(side)) => if parted.is_err() { return },
        _ = passing => return,
    }
    let _ = side.wait_for(joined).await;
}

async fn connect(ends: Ends) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((ends.0, 0)))?;
    let stream = socket
        .connect(SocketAddr::from((ends.1, INNER_PORT)))
        .await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(127, 1, 77, 1);
    const B: Ipv4Addr = Ipv4Addr::new(127, 1, 77, 2);

    async fn dial(from: Ipv4Addr, to: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket
            .connect(SocketAddr::from((to, NODE_PORT)))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn parts_falls_silent_and_joins_again() {
        let between = Between::start(&[A, B]).unwrap();
        let inner = TcpListener::bind((B, INNER_PORT)).await.unwrap();
        let mut a = dial(A, B).await;
        let (mut b, from) = inner.accept().await.unwrap();
        assert_eq!(from.ip(), A, "the address stays");
        a.write_all(b"x").await.unwrap();
        assert_eq!(b.read_u8().await.unwrap(), b'x');

        between.part([A]);
        a.write_all(b"y").await.unwrap();
        let mut late = dial(A, B).await;
        let silent = Duration::from_millis(100);
        tokio::time::timeout(silent, b.read_u8()).await.unwrap_err();
        tokio::time::timeout(silent, inner.accept())
            .await
            .unwrap_err();

        between.join();
        assert!(b.read_u8().await.is_err(), "what fell silent is closed");
        assert!(late.read_u8().await.is_err());
        let _again = dial(A, B).await;
        inner.accept().await.unwrap();
    }
}
