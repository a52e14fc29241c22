//! Questions of gossip that travel inside circuits: this node asks another node
//! of the neighbourhood, and answers those that others ask of it. What is asked,
//! and what is answered, is gossip's business; which way a circuit goes is that
//! of [`super::routes`].
//!
//! A question and its answer are one frame each, in a flow to the service
//! [`ASK_SERVICE`]: the length in two bytes, big-endian, then so many bytes, at
//! most [`MAX_ASK_LEN`]. An answer that does not come is a flow that ends.

mod answering;
mod asking;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, StreamExt};
use masq_gossip::{MAX_ASK_LEN, NodeKey};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use answering::{
    Answering, Asked, MAX_CALLS, NON_EXIT_CIRCUITS, NON_EXIT_FLOWS, serve_briefly,
};
pub(crate) use asking::Asker;

/// Questions of this node's own that are out at once; more come to nothing at
/// once. Guess: a node looks for a few neighbours at a time.
pub(crate) const MAX_ASKS: usize = 4;

/// An answer, where there is one.
type Answer = Option<Vec<u8>>;

/// Something that gossip is to be told.
#[derive(Debug)]
pub(crate) enum Happened {
    /// What came of a question of this node's.
    Answered {
        /// Gossip's name for it.
        call: u64,
        /// The answer.
        answer: Answer,
    },
    /// Somebody asks.
    Asked {
        /// The name under which [`Asks::reply`] finds the way back.
        call: u64,
        /// The question.
        question: Vec<u8>,
    },
}

/// The questions that are under way in either direction. Owned by the loop.
pub(crate) struct Asks {
    asker: Asker,
    out: FuturesUnordered<BoxFuture<'static, (u64, Answer)>>,
    inbox: mpsc::Receiver<Asked>,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    calls: u64,
}

impl Asks {
    /// None under way. Questions of others come by `inbox`.
    pub(crate) fn new(asker: Asker, inbox: mpsc::Receiver<Asked>) -> Self {
        Self {
            asker,
            out: FuturesUnordered::new(),
            inbox,
            waiting: HashMap::new(),
            calls: 0,
        }
    }

    /// Asks `to`, in a task of its own. `false`: too many are out already, and
    /// nothing will come of it.
    pub(crate) fn ask(&mut self, call: u64, to: NodeKey, question: Vec<u8>) -> bool {
        if self.out.len() >= MAX_ASKS {
            return false;
        }
        let asking = self.asker.clone().ask(to, question);
        let task = AbortOnDropHandle::new(tokio::spawn(asking));
        // A task that failed is a question without an answer.
        let answered = task.map(move |answer| (call, answer.ok().flatten()));
        self.out.push(answered.boxed());
        true
    }

    /// Waits until gossip is to be told something. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Happened {
        tokio::select! {
            Some((call, answer)) = self.out.next() => Happened::Answered { call, answer },
            Some(Asked { question, reply }) = self.inbox.recv() => {
                // Whoever waited may have gone without an answer; as many wait as may call.
                self.waiting.retain(|_, reply| !reply.is_closed());
                self.calls += 1;
                self.waiting.insert(self.calls, reply);
                Happened::Asked { call: self.calls, question }
            }
            else => std::future::pending().await,
        }
    }

    /// Gossip's answer to the question `call`.
    pub(crate) fn reply(&mut self, call: u64, answer: Answer) {
        if let Some(reply) = self.waiting.remove(&call) {
            // Whoever asked may have gone.
            let _ = reply.send(answer);
        }
    }
}

/// Writes one frame.
async fn write_frame(flow: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let too_long = || io::Error::from(io::ErrorKind::InvalidInput);
    if bytes.len() > MAX_ASK_LEN {
        return Err(too_long());
    }
    let length = u16::try_from(bytes.len()).map_err(|_| too_long())?;
    let mut frame = Vec::with_capacity(2 + bytes.len());
    frame.extend(length.to_be_bytes());
    frame.extend(bytes);
    flow.write_all(&frame).await?;
    flow.flush().await
}

/// Reads one frame; whatever follows is left unread.
async fn read_frame(flow: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    flow.read_exact(&mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_ASK_LEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    flow.read_exact(&mut bytes).await?;
    Ok(bytes)
}
