//! Asking: a circuit for this one question, which ends at the node that is asked
//! and carries nothing else.
//!
//! The pool has no part in it: such a circuit says who its origin is to the node
//! at its end, so no flow of a client may ever share it.

use std::time::{Duration, Instant};

use masq_cores::flow::{ClientSession, FlowRequest};
use masq_cores::pool::{Outcome, RouteSource};
use masq_cores::session::SessionId;
use masq_cores::{CloseReason, Cores, NodeKey as CoresKey, Route};
use masq_gossip::{ASK_SERVICE, ASK_TIMEOUT, NodeKey};
use rand::RngExt;
use tokio::time::timeout;

use super::{Answer, read_frame, write_frame};
use crate::node::routes::Routes;

/// How much sooner than gossip stops waiting the answer has to be here. Guess: the way from the
/// task through the loop, on a busy machine.
const SPARE: Duration = Duration::from_millis(500);

/// Routes that are tried for one question. Guess.
const ROUTES_TRIED: usize = 3;

/// How long one of them may take to come up. Guess: so short that there is time for another.
const BUILD_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Asks other nodes. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) cores: Cores,
    pub(crate) routes: Routes,
}

impl Asker {
    /// Asks `to`, and gives the answer, if one came within [`ASK_TIMEOUT`]. Dropping the future
    /// gives the question up; it may have been asked by then.
    pub(crate) async fn ask(self, to: NodeKey, question: Vec<u8>) -> Answer {
        let asked = timeout(
            ASK_TIMEOUT.saturating_sub(SPARE),
            self.try_routes(to, question),
        );
        asked.await.ok().flatten()
    }

    async fn try_routes(&self, to: NodeKey, question: Vec<u8>) -> Answer {
        let to = CoresKey(to.0);
        let mut avoid = Vec::new();
        for _ in 0..ROUTES_TRIED {
            let route = match self.routes.to_service(to, &avoid) {
                Ok(route) => route,
                Err(why) => {
                    tracing::debug!(%why, "no way to ask a node");
                    return None;
                }
            };
            let relays = between(&route);
            if let Some(session) = self.build(route, to).await {
                // Asked once at most: what may have arrived is never said again.
                let answer = call(&session, &question).await;
                session.close();
                return answer;
            }
            avoid.extend(relays);
        }
        None
    }

    /// A session on a new circuit. What is sent in it is protected by keys that this circuit made.
    pub(super) async fn build(&self, route: Route, to: CoresKey) -> Option<ClientSession> {
        let begun = Instant::now();
        let built = timeout(BUILD_TIMEOUT, async {
            let (end, mut circuit) = match self.cores.launch(route.clone()).await {
                Ok(launched) => launched,
                Err(error) => return Err(Outcome::NotLaunched(error)),
            };
            let (session, driver) = ClientSession::start(end, SessionId(rand::rng().random()));
            tokio::spawn(driver);
            match circuit.established().await {
                Ok(()) => Ok(session),
                Err(reason) => Err(Outcome::Failed(reason)),
            }
        })
        .await;
        match built {
            Ok(Ok(session)) => {
                self.routes.report(&route, Outcome::Built(begun.elapsed()));
                Some(session)
            }
            Ok(Err(outcome)) => {
                if !is_about(&outcome, to) {
                    self.routes.report(&route, outcome);
                }
                None
            }
            // Our patience is short; that alone says nothing against anybody.
            Err(_) => None,
        }
    }
}

/// Whether only the node that was asked has to do with it: that it has no time for questions says
/// nothing of it as a relay, nor of the relay before it.
fn is_about(outcome: &Outcome, to: CoresKey) -> bool {
    let Outcome::Failed(reason) = outcome else {
        return false;
    };
    match &**reason {
        CloseReason::Failed(failure) => [failure.edge.0, failure.edge.1].contains(&to),
        _ => false,
    }
}

/// The relays behind the entry neighbours, which another attempt goes round.
fn between(route: &Route) -> Vec<CoresKey> {
    let over = route.over.get(1..route.over.len().saturating_sub(1));
    let back = route.back.get(..route.back.len().saturating_sub(1));
    let hops = over.into_iter().chain(back).flatten();
    hops.map(|hop| hop.node).collect()
}

async fn call(session: &ClientSession, question: &[u8]) -> Answer {
    let request = FlowRequest::Service {
        name: ASK_SERVICE.into(),
    };
    let mut flow = session.open(request).await.ok()?;
    write_frame(&mut flow, question).await.ok()?;
    let (_, mut flow) = flow.reply().await.ok()?;
    read_frame(&mut flow).await.ok()
}
