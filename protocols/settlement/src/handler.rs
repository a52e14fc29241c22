//! The connection handler: one substream per exchange, a request and a response, each after its
//! length in two bytes (big-endian). What is said is not known here.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, SubstreamProtocol,
};
use tokio::time::timeout;

use crate::message::MAX_ENVELOPE_LEN;

/// The protocol's name.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/masq/settlement/1");
/// How long an exchange may take: reading what is asked, or asking and reading the answer. Guess.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Exchanges that the peer may have open on one connection; more are dropped unread. Guess.
pub const MAX_INBOUND: usize = 4;
/// Exchanges of this node's own on one connection. The behaviour makes one at a time.
pub const MAX_OUTBOUND: usize = 4;

/// From the behaviour.
#[derive(Debug)]
pub enum Command {
    /// Ask the peer.
    Request(Vec<u8>),
    /// Answer what the peer asked; `None` ends the exchange without an answer.
    Respond(u64, Option<Vec<u8>>),
}

/// To the behaviour.
#[derive(Debug)]
pub enum Report {
    /// The peer asks; to be answered.
    Asked(u64, Vec<u8>),
    /// What came of a request; `None` when there is no answer. Whether the peer has heard it is
    /// not known then. Requests end in any order.
    Answered(Option<Vec<u8>>),
}

enum Done {
    Asked(Box<Stream>, Vec<u8>),
    /// An inbound exchange is over.
    Closed,
    Answered(Option<Vec<u8>>),
}

/// One connection's exchanges.
#[derive(Default)]
pub struct Handler {
    tasks: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Inbound exchanges, whatever they are waiting for.
    inbound: usize,
    /// Those that wait for the behaviour.
    unanswered: HashMap<u64, Box<Stream>>,
    next_id: u64,
    /// Requests for which a substream is still to be asked for.
    requests: VecDeque<Vec<u8>>,
    /// Requests whose substream is being negotiated.
    opening: VecDeque<Vec<u8>>,
    failed: usize,
    outbound: usize,
    waker: Option<Waker>,
}

async fn read_frame(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).await?;
    let len = usize::from(u16::from_be_bytes(len));
    if len > MAX_ENVELOPE_LEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write_frame(stream: &mut Stream, frame: &[u8]) -> io::Result<()> {
    let len = u16::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let bytes = [&len.to_be_bytes(), frame].concat();
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn serve(mut stream: Stream) -> Done {
    match timeout(EXCHANGE_TIMEOUT, read_frame(&mut stream)).await {
        Ok(Ok(frame)) => Done::Asked(Box::new(stream), frame),
        Ok(Err(_)) | Err(_) => Done::Closed,
    }
}

async fn respond(mut stream: Box<Stream>, frame: Vec<u8>) -> Done {
    let write = async {
        write_frame(&mut stream, &frame).await?;
        stream.close().await
    };
    // A peer that does not take its answer does without it.
    let _ = timeout(EXCHANGE_TIMEOUT, write).await;
    Done::Closed
}

async fn ask(mut stream: Stream, frame: Vec<u8>) -> Done {
    let exchange = async {
        write_frame(&mut stream, &frame).await?;
        read_frame(&mut stream).await
    };
    let answer = timeout(EXCHANGE_TIMEOUT, exchange).await;
    Done::Answered(answer.ok().and_then(Result::ok))
}

impl Handler {
    fn push(&mut self, task: BoxFuture<'static, Done>) {
        self.tasks.push(task);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Serves an inbound exchange, or drops it unread where there are too many.
    fn take(&mut self, stream: Stream) {
        if self.inbound < MAX_INBOUND {
            self.inbound += 1;
            self.push(Box::pin(serve(stream)));
        }
    }

    fn fail(&mut self) {
        self.outbound = self.outbound.saturating_sub(1);
        self.failed += 1;
        self.wake();
    }

    fn fail_oldest(&mut self) {
        if self.opening.pop_front().is_some() {
            self.fail();
        }
    }

    fn protocol() -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()).with_timeout(EXCHANGE_TIMEOUT)
    }

    fn on_done(&mut self, done: Done) -> Option<Report> {
        match done {
            Done::Asked(stream, frame) => {
                self.next_id += 1;
                self.unanswered.insert(self.next_id, stream);
                Some(Report::Asked(self.next_id, frame))
            }
            Done::Closed => {
                self.inbound = self.inbound.saturating_sub(1);
                None
            }
            Done::Answered(answer) => {
                self.outbound = self.outbound.saturating_sub(1);
                Some(Report::Answered(answer))
            }
        }
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
        Self::protocol()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if self.failed > 0 {
            self.failed -= 1;
            let report = Report::Answered(None);
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if let Some(request) = self.requests.pop_front() {
            self.opening.push_back(request);
            let protocol = Self::protocol();
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        while let Poll::Ready(Some(done)) = self.tasks.poll_next_unpin(cx) {
            if let Some(report) = self.on_done(done) {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, command: Command) {
        match command {
            Command::Request(frame) => {
                self.outbound += 1;
                if self.outbound > MAX_OUTBOUND {
                    self.fail();
                } else {
                    self.requests.push_back(frame);
                }
                self.wake();
            }
            Command::Respond(id, answer) => match (self.unanswered.remove(&id), answer) {
                (Some(stream), Some(frame)) => self.push(Box::pin(respond(stream, frame))),
                (Some(_), None) => self.inbound = self.inbound.saturating_sub(1),
                (None, _) => {}
            },
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: stream,
                ..
            }) => self.take(stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                ..
            }) => {
                // All requests are alike to the stream: the oldest takes it.
                if let Some(frame) = self.opening.pop_front() {
                    self.push(Box::pin(ask(stream, frame)));
                }
            }
            ConnectionEvent::DialUpgradeError(_) => {
                self.fail_oldest();
            }
            _ => {}
        }
    }
}
