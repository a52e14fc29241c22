//! What the rest of the node and the connections tell each other. Which links have
//! brought anything of late: any byte counts as a sign of life, so a link that is
//! busy with data is never taken for dead because an answer to a ping stands in
//! line behind it. And who is a neighbour: others may open a few substreams only.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;

/// Bytes that one connection has received.
pub(super) type Received = Arc<AtomicU64>;

/// Whether the peer of a connection is a neighbour.
pub(super) type Standing = Arc<AtomicBool>;

struct Link {
    received: Weak<AtomicU64>,
    standing: Standing,
    /// As of the last time somebody asked.
    seen: u64,
}

/// The links of a node, as far as signs of life go. Cloning gives another handle. A peer may have
/// a second connection for a moment, which must not hide the first one.
#[derive(Clone, Default)]
pub struct Activity(Arc<Mutex<HashMap<PeerId, Vec<Link>>>>);

impl Activity {
    /// A connection to that peer was made. All of one peer's have the standing that is handed back.
    pub(super) fn add(&self, peer: PeerId, received: &Received) -> Standing {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by the connections that there are.
        links.retain(|_, of_peer| {
            of_peer.retain(|link| link.received.strong_count() > 0);
            !of_peer.is_empty()
        });
        let of_peer = links.entry(peer).or_default();
        let known = of_peer.first().map(|link| Arc::clone(&link.standing));
        let standing = known.unwrap_or_default();
        of_peer.push(Link {
            received: Arc::downgrade(received),
            standing: Arc::clone(&standing),
            seen: 0,
        });
        standing
    }

    /// The peer became a neighbour, or ceased to be one.
    pub fn set_neighbour(&self, peer: &PeerId, is_one: bool) {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(peer).and_then(|of_peer| of_peer.first()) {
            link.standing.store(is_one, Relaxed);
        }
    }

    /// Peers from whom anything came since the last call, and how many bytes.
    pub fn recent(&self) -> Vec<(PeerId, u64)> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recent = Vec::new();
        links.retain(|peer, of_peer| {
            let mut news = 0;
            of_peer.retain_mut(|link| {
                let Some(received) = link.received.upgrade() else {
                    return false;
                };
                let now = received.load(Relaxed);
                news += now.saturating_sub(link.seen);
                link.seen = now;
                true
            });
            if news > 0 {
                recent.push((*peer, news));
            }
            !of_peer.is_empty()
        });
        recent
    }
}

/// A connection whose received bytes are counted.
pub(super) struct Counted<C> {
    io: C,
    received: Received,
}

impl<C> Counted<C> {
    pub(super) fn new(io: C, received: Received) -> Self {
        Self { io, received }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Poll::Ready(Ok(n)) = &read {
            self.received.fetch_add(*n as u64, Relaxed);
        }
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::AsyncReadExt;

    use super::*;

    #[test]
    fn all_connections_of_a_peer_have_one_standing() {
        let (activity, peer) = (Activity::default(), PeerId::random());
        let (first, second) = (Received::default(), Received::default());
        let standing = activity.add(peer, &first);
        activity.set_neighbour(&peer, true);
        assert!(activity.add(peer, &second).load(Relaxed));
        activity.set_neighbour(&peer, false);
        assert!(!standing.load(Relaxed));
        assert!(!activity.add(PeerId::random(), &first).load(Relaxed));
    }

    #[test]
    fn a_link_is_recent_once_for_what_it_received() {
        let (activity, peer) = (Activity::default(), PeerId::random());
        let received = Received::default();
        activity.add(peer, &received);
        assert!(activity.recent().is_empty());
        let mut link = Counted::new(&b"abc"[..], received.clone());
        let mut buf = [0; 8];
        let read = futures::executor::block_on(link.read(&mut buf)).unwrap();
        assert_eq!(read, 3);
        let recent: Vec<PeerId> = activity
            .recent()
            .into_iter()
            .map(|(peer, _)| peer)
            .collect();
        assert_eq!(recent, [peer]);
        assert!(activity.recent().is_empty());
        // A second connection comes and goes.
        let second = Received::default();
        activity.add(peer, &second);
        drop(second);
        received.fetch_add(1, Relaxed);
        let recent: Vec<PeerId> = activity
            .recent()
            .into_iter()
            .map(|(peer, _)| peer)
            .collect();
        assert_eq!(recent, [peer]);
        drop((link, received));
        assert!(activity.recent().is_empty());
        assert!(
            activity.0.lock().unwrap().is_empty(),
            "links that are gone are forgotten"
        );
    }
}
