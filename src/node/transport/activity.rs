//! Which links have brought anything of late: any byte counts as a sign of life,
//! so a link that is busy with data is never taken for dead because an answer
//! to a ping stands in line behind it.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;

/// Bytes that one connection has received.
pub(super) type Received = Arc<AtomicU64>;

struct Link {
    received: Weak<AtomicU64>,
    /// As of the last time somebody asked.
    seen: u64,
}

/// The links of a node, as far as signs of life go. Cloning gives another handle. A peer may have
/// a second connection for a moment, which must not hide the first one.
#[derive(Clone, Default)]
pub struct Activity(Arc<Mutex<HashMap<PeerId, Vec<Link>>>>);

impl Activity {
    /// A connection to that peer was made.
    pub(super) fn add(&self, peer: PeerId, received: &Received) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by the connections that there are.
        links.retain(|_, of_peer| {
            of_peer.retain(|link| link.received.strong_count() > 0);
            !of_peer.is_empty()
        });
        let received = Arc::downgrade(received);
        let link = Link { received, seen: 0 };
        links.entry(peer).or_default().push(link);
    }

    /// Peers from whom anything came since the last call.
    pub fn recent(&self) -> Vec<PeerId> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recent = Vec::new();
        links.retain(|peer, of_peer| {
            let mut news = false;
            of_peer.retain_mut(|link| {
                let Some(received) = link.received.upgrade() else {
                    return false;
                };
                let now = received.load(Relaxed);
                news |= now != link.seen;
                link.seen = now;
                true
            });
            if news {
                recent.push(*peer);
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
    fn a_link_is_recent_once_for_what_it_received() {
        let (activity, peer) = (Activity::default(), PeerId::random());
        let received = Received::default();
        activity.add(peer, &received);
        assert!(activity.recent().is_empty());
        let mut link = Counted::new(&b"abc"[..], received.clone());
        let mut buf = [0; 8];
        let read = futures::executor::block_on(link.read(&mut buf)).unwrap();
        assert_eq!(read, 3);
        assert_eq!(activity.recent(), [peer]);
        assert!(activity.recent().is_empty());
        // A second connection comes and goes.
        let second = Received::default();
        activity.add(peer, &second);
        drop(second);
        received.fetch_add(1, Relaxed);
        assert_eq!(activity.recent(), [peer]);
        drop((link, received));
        assert!(activity.recent().is_empty());
        assert!(
            activity.0.lock().unwrap().is_empty(),
            "links that are gone are forgotten"
        );
    }
}
