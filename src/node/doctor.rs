//! Gathers what `masq doctor` judges of a running node. The judging is
//! `crate::doctor`'s.

use std::time::{Duration, Instant};

use masq_gossip::LinkInfo;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::address::public_address;
use super::api::Api;
use super::swarm::Command;
use crate::config::Chain;
use crate::doctor::look::{Files, Folder};
use crate::doctor::{Facts, ReachFact, Report, judge, offline};
use crate::reach::{Home, is_global};

/// An answer younger than this is not asked for anew (guess: a neighbour answers once in five
/// minutes).
const FRESH: Duration = Duration::from_secs(5 * 60);
/// How long a neighbour's answer is waited for: less than the control API gives the whole.
const REACH_TIME: Duration = Duration::from_secs(7);

impl Api {
    pub(super) async fn make_report(&self) -> Report {
        let resolver = async {
            match &self.resolver {
                Some(resolver) => Some(offline::resolve(resolver.clone()).await),
                None => None,
            }
        };
        let (reach, resolver, links, clocks) = tokio::join!(
            self.reach_fact(),
            resolver,
            self.links(),
            self.asked_of_loop(Command::Clocks),
        );
        let folder = self.data.path().to_owned();
        let looked = tokio::task::spawn_blocking(move || (Folder::look(&folder), Files::here()));
        // Looking does not fail; only the end of the runtime cuts it short.
        let (folder, files) = looked.await.unwrap_or((Folder::Private, None));
        let config = &self.config;
        let view = self.view.borrow();
        let outside = view.mapping.external();
        let advertised = public_address(config, &view.listening, outside);
        let entries = links.iter().filter(|link| link.entry.ours());
        let dialled = links.iter().filter(|link| !link.dialled);
        let facts = Facts {
            mode: config.mode,
            dev: config.chain == Chain::Dev,
            uptime: self.started.elapsed(),
            clocks: clocks.unwrap_or_default(),
            listening: view.listening.clone(),
            local: Home::find(None).map(|home| home.local),
            mapping: view.mapping.clone(),
            advertised: advertised.map(|(host, _)| host.to_string()),
            reach,
            dialled_from_outside: dialled.clone().filter(|link| from_outside(link)).count(),
            dialled: dialled.count(),
            neighbours: links.len(),
            entries: entries.count(),
            seeds: config.neighbours.len(),
            remembered: self.safe.memory.remembered().neighbours.len(),
            attempts: (view.attempts.iter())
                .map(|(node, why)| (node.short().to_string(), why.clone()))
                .collect(),
            stage: view.stage,
            hops: (
                self.routes.hops().to_string(),
                self.routes.hops().min().into(),
            ),
            nodes: view.neighbourhood.len(),
            exits: view.exits_known(),
            usable_exits: view.exits_of_use(),
            paid_nodes: view.paid_nodes(),
            resolver,
            folder,
            files,
        };
        Report::new(true, judge(&facts))
    }

    async fn asked_of_loop<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(question(answer)).await.ok()?;
        answered.await.ok()
    }

    /// What a neighbour says; asked now, if nobody has said anything of late.
    async fn reach_fact(&self) -> Option<ReachFact> {
        if !self.config.mode.joins() || !self.config.mode.accepts_connections() {
            return None;
        }
        let mut view = self.view.clone();
        let begin = Instant::now();
        let fresh = view
            .borrow_and_update()
            .reach
            .as_ref()
            .is_some_and(|(at, _, reach)| {
                reach.outcome.is_answer() && begin.saturating_duration_since(*at) < FRESH
            });
        if !fresh && self.asked_of_loop(Command::CheckReach).await == Some(true) {
            let news = view.wait_for(|view| {
                let reach = view.reach.as_ref();
                reach.is_some_and(|(at, ..)| *at >= begin)
            });
            // Without an answer the last one stands.
            let _ = timeout(REACH_TIME, news).await;
        }
        let view = self.view.borrow();
        let (_, asked, reach) = view.reach.as_ref()?;
        Some(ReachFact {
            outcome: reach.outcome,
            asked: asked.clone(),
            reached: reach.ports.clone(),
            seen: reach.seen,
        })
    }
}

/// Whether a link comes from an address that is not of this machine's surroundings.
fn from_outside(link: &LinkInfo) -> bool {
    link.remote.is_some_and(is_global)
}
