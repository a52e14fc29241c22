//! The connection handler: one long-lived substream per connection, opened by
//! whoever dialled, on which messages go both ways, each after its length in
//! two bytes (big-endian). What messages mean is not known here.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite, Future};
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, SubstreamProtocol,
};

use crate::event::DownReason;
use crate::wire::{MAX_MESSAGE_LEN, Message};

/// The protocol's name.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/masq/gossip/1");
/// Bytes that may wait to be written before the peer counts as too slow. A join's first exchange
/// is about 300 KiB at radius 4. Guess.
const MAX_QUEUED: usize = 1024 * 1024;
/// Length of the length.
const HEADER: usize = 2;
/// Read at a time.
const READ_CHUNK: usize = 4096;
/// How long a closing connection may take to deliver what it was given. Guess.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// From the behaviour.
#[derive(Debug)]
pub enum Command {
    /// Send a message, when the stream is there.
    Send(Box<Message>),
}

/// To the behaviour.
#[derive(Debug)]
pub enum Report {
    /// A message arrived.
    Message(Box<Message>),
    /// The stream is of no more use. Reported once.
    Broken(DownReason),
}

/// One connection's gossip stream.
pub struct Handler {
    /// Whether this end opens the stream, and has not asked for it yet.
    opens: bool,
    stream: Option<Stream>,
    reading: Inbox,
    writing: Outbox,
    broken: Broken,
    flush_deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    waker: Option<Waker>,
}

#[derive(Debug, PartialEq, Eq)]
enum Broken {
    No,
    Report(DownReason),
    Reported,
}

/// Bytes on their way to becoming messages.
#[derive(Default)]
struct Inbox {
    bytes: Vec<u8>,
}

/// Messages on their way to becoming bytes.
#[derive(Default)]
struct Outbox {
    frames: VecDeque<Vec<u8>>,
    written: usize,
    queued: usize,
    unflushed: bool,
}

impl Inbox {
    /// The next whole message, if it is there.
    fn next(&mut self) -> Option<Result<Message, DownReason>> {
        let (header, rest) = self.bytes.split_first_chunk::<HEADER>()?;
        let len = usize::from(u16::from_be_bytes(*header));
        let message = Message::decode(rest.get(..len)?).map_err(|error| {
            tracing::debug!(%error, "a peer sent what is no message");
            DownReason::Misbehaved
        });
        self.bytes.drain(..HEADER + len);
        Some(message)
    }

    fn poll(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Message, DownReason>> {
        loop {
            if let Some(message) = self.next() {
                return Poll::Ready(message);
            }
            // Here the buffer holds less than one message, which bounds it.
            let have = self.bytes.len();
            self.bytes.resize(have + READ_CHUNK, 0);
            let read = Pin::new(&mut *stream).poll_read(cx, &mut self.bytes[have..]);
            self.bytes
                .truncate(have + if let Poll::Ready(Ok(n)) = read { n } else { 0 });
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Err(DownReason::Lost)),
            }
        }
    }
}

impl Outbox {
    /// Queues a message. `false` when too much is waiting already.
    fn push(&mut self, message: &Message) -> bool {
        let body = message.encode();
        let Ok(len) = u16::try_from(body.len()) else {
            // The machine keeps messages small; losing one is better than a wrong length.
            tracing::error!(
                len = body.len(),
                max = MAX_MESSAGE_LEN,
                "message too long, not sent"
            );
            return true;
        };
        let mut frame = Vec::with_capacity(HEADER + body.len());
        frame.extend_from_slice(&len.to_be_bytes());
        frame.extend_from_slice(&body);
        self.queued += frame.len();
        self.frames.push_back(frame);
        self.queued <= MAX_QUEUED
    }

    /// Writes what it can. Ready when all is written and flushed.
    fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(frame) = self.frames.front() {
            let n = futures::ready!(Pin::new(&mut *stream).poll_write(cx, &frame[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.unflushed = true;
            if self.written == frame.len() {
                self.queued -= frame.len();
                self.written = 0;
                self.frames.pop_front();
            }
        }
        if self.unflushed {
            futures::ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl Handler {
    pub(crate) fn new(dialled: bool) -> Self {
        Self {
            opens: dialled,
            stream: None,
            reading: Inbox::default(),
            writing: Outbox::default(),
            broken: Broken::No,
            flush_deadline: None,
            waker: None,
        }
    }

    fn break_off(&mut self, reason: DownReason) {
        if self.broken == Broken::No {
            self.broken = Broken::Report(reason);
        }
        self.stream = None;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// A second stream is not part of the protocol; the first one stays.
    fn on_stream(&mut self, stream: Stream) {
        if self.stream.is_none() && self.broken == Broken::No {
            self.stream = Some(stream);
            self.wake();
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, DownReason>> {
        let Some(stream) = self.stream.as_mut() else {
            return Poll::Pending;
        };
        if let Poll::Ready(Err(_)) = self.writing.poll(stream, cx) {
            return Poll::Ready(Err(DownReason::Lost));
        }
        self.reading.poll(stream, cx)
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Command;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn connection_keep_alive(&self) -> bool {
        // The machine decides how long a connection lives, and closes it.
        self.broken == Broken::No
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Broken::Report(reason) = self.broken {
            self.broken = Broken::Reported;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Broken(
                reason,
            )));
        }
        if std::mem::take(&mut self.opens) {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        match self.poll_stream(cx) {
            Poll::Ready(Ok(message)) => {
                let report = Report::Message(Box::new(message));
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report))
            }
            Poll::Ready(Err(reason)) => {
                self.break_off(reason);
                self.broken = Broken::Reported;
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Broken(
                    reason,
                )))
            }
            Poll::Pending => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Delivers what was queued, for a bounded time.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        let Some(stream) = self.stream.as_mut() else {
            return Poll::Ready(None);
        };
        let deadline = self
            .flush_deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH_TIME)));
        let late = deadline.as_mut().poll(cx).is_ready();
        if self.writing.poll(stream, cx).is_pending() && !late {
            return Poll::Pending;
        }
        self.stream = None;
        Poll::Ready(None)
    }

    fn on_behaviour_event(&mut self, command: Command) {
        let Command::Send(message) = command;
        if self.broken != Broken::No {
            return;
        }
        if !self.writing.push(&message) {
            self.break_off(DownReason::Slow);
        }
        self.wake();
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            })
            | ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => self.on_stream(protocol),
            ConnectionEvent::DialUpgradeError(_) => self.break_off(DownReason::Misbehaved),
            _ => {}
        }
    }
}
