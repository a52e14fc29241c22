//! yamux with receive windows of our own choosing.
//!
//! libp2p's wrapper leaves the window of a connection at 1 GiB. Here one
//! connection can make this node hold at most [`CONNECTION_WINDOW`] bytes,
//! whatever its peer does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::iter;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use yamux::{Connection, ConnectionError, Mode};

use super::activity::{Counted, Received, Standing};

/// Substreams on one connection, both directions together. A peer that opens more loses the
/// connection, so circuits are capped at half of it one layer up.
pub const MAX_SUBSTREAMS: usize = 512;

/// Bytes that all substreams of one connection may have in flight towards us: yamux gives each
/// substream 256 KiB from the start, so this is the least that [`MAX_SUBSTREAMS`] allows.
const CONNECTION_WINDOW: usize = MAX_SUBSTREAMS * 256 * 1024;

/// Payload of one yamux frame: the largest cell goes out as one frame.
const FRAME_PAYLOAD: usize = 16 * 1024;

/// Substreams the peer opened that nobody has asked for yet; one more is reset.
const INBOUND_BACKLOG: usize = 64;

/// Substreams that a peer who dialled us may open before it is a neighbour: gossip, ping, and as
/// many to spare. Every one of them can make this node hold 256 KiB, and there are 24 guests.
const GUEST_SUBSTREAMS: usize = 4;

fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    // Order matters: each setter checks the window against the number of substreams.
    config.set_max_num_streams(MAX_SUBSTREAMS);
    config.set_max_connection_receive_window(Some(CONNECTION_WINDOW));
    config.set_split_send_size(FRAME_PAYLOAD);
    config
}

/// The upgrade that turns an encrypted connection into a multiplexed one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config;

impl UpgradeInfo for Config {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Config {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Config {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, Mode::Client)))
    }
}

/// One multiplexed connection.
pub(super) struct Muxer<C> {
    connection: Connection<Counted<C>>,
    received: Received,
    /// Substreams that turned up while the connection was polled for something else: yamux makes
    /// progress only by being asked for the next one.
    backlog: VecDeque<yamux::Stream>,
    /// Who waits in `poll_inbound`.
    waiting: Option<Waker>,
    /// Substreams that a guest may still open; `None` for a peer whom we dialled.
    guest: Option<usize>,
    standing: Standing,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(io: C, mode: Mode) -> Self {
        let received = Received::default();
        let io = Counted::new(io, received.clone());
        Self {
            connection: Connection::new(io, yamux_config(), mode),
            received,
            backlog: VecDeque::new(),
            waiting: None,
            guest: (mode == Mode::Server).then_some(GUEST_SUBSTREAMS),
            standing: Standing::default(),
        }
    }

    /// Who is at the other end. Before it is told, nobody who counts.
    pub(super) fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Whether a substream that the peer opened is let in. One that is not is dropped, which
    /// resets it, with all that was sent on it.
    fn lets_in(&mut self) -> bool {
        match &mut self.guest {
            Some(left) if !self.standing.load(Relaxed) => {
                let any = *left > 0;
                *left = left.saturating_sub(1);
                any
            }
            _ => true,
        }
    }

    /// Bytes that came in so far.
    pub(super) fn received(&self) -> &Received {
        &self.received
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, ConnectionError>> {
        for _ in 0..INBOUND_BACKLOG {
            let next = std::task::ready!(self.connection.poll_next_inbound(cx));
            let stream = next.unwrap_or(Err(ConnectionError::Closed))?;
            if self.lets_in() {
                return Poll::Ready(Ok(stream));
            }
        }
        // Others may run before more are turned away.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = ConnectionError;

    fn poll_inbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let this = self.get_mut();
        if let Some(stream) = this.backlog.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = this.poll_next(cx);
        if next.is_pending() {
            this.waiting = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        self.get_mut().connection.poll_new_outbound(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.get_mut().connection.poll_close(cx)
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let this = self.get_mut();
        match this.poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // Past the backlog the substream is dropped, which resets it.
            Poll::Ready(Ok(stream)) => {
                if this.backlog.len() < INBOUND_BACKLOG {
                    this.backlog.push_back(stream);
                }
            }
        }
        if let Some(waker) = this.waiting.take() {
            waker.wake();
        }
        // One substream a turn, then others may run.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
