//! Answering: the service under which every node that routes takes questions in
//! circuits that end at it, and how little a node that is no exit does besides.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncWriteExt, FutureExt};
use masq_cores::CircuitEnd;
use masq_cores::flow::{self, FlowHandler, FlowStream, SessionInfo};
use masq_gossip::ASK_TIMEOUT;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Answer, read_frame, write_frame};
use crate::exit::Service;

/// Questions answered at once. Guess: gossip answers in microseconds, so these are mostly flows
/// whose question has not come yet.
pub(crate) const MAX_CALLS: usize = 32;

/// Circuits that may end at a node that is no exit, in all and per link. Guess: one question each.
pub(crate) const NON_EXIT_CIRCUITS: (usize, usize) = (32, 8);

/// Flows in all of them together. Guess: as many as there are circuits, and some to be refused.
pub(crate) const NON_EXIT_FLOWS: usize = 64;

/// How long such a circuit may last: nobody holds a place by a circuit that asks nothing. Guess:
/// twice what a question takes, so no honest one is ever cut short.
const NON_EXIT_LIFE: Duration = Duration::from_secs(2 * ASK_TIMEOUT.as_secs());

/// A question that somebody asks of this node.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is asked.
    pub(crate) question: Vec<u8>,
    /// Where the answer goes; `None` ends the call without one.
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// The service. Questions go to the loop.
pub(crate) struct Answering {
    questions: mpsc::Sender<Asked>,
}

impl Answering {
    /// The service, and where its questions come out.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (questions, inbox) = mpsc::channel(MAX_CALLS);
        (Self { questions }, inbox)
    }
}

impl Service for Answering {
    fn call(&self, mut flow: FlowStream, _: SessionInfo) -> BoxFuture<'static, ()> {
        let questions = self.questions.clone();
        let answered = async move {
            let question = read_frame(&mut flow).await.ok()?;
            let (reply, answer) = oneshot::channel();
            let asked = Asked { question, reply };
            questions.send(asked).await.ok()?;
            let answer = answer.await.ok().flatten()?;
            write_frame(&mut flow, &answer).await.ok()?;
            flow.close().await.ok()
        };
        timeout(ASK_TIMEOUT, answered).map(drop).boxed()
    }
}

/// Serves a circuit that ends at a node which is no exit, for a short time.
pub(crate) async fn serve_briefly(end: CircuitEnd, handler: Arc<dyn FlowHandler>) {
    let _ = timeout(NON_EXIT_LIFE, flow::accept(end, handler)).await;
}
