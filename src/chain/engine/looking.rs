//! Looking at the chain: asking, weighing what an endpoint says, and what follows from it.

use std::collections::BTreeSet;

use alloy_primitives::B256;

use super::config::{ASK_TIMEOUT, FOREIGN_SEEN, SECOND_OPINION_AFTER};
use super::intent::{Outcome, Settled};
use super::io::{Distrust, Event, Halt, Now, Output, Payment, Question, View};
use super::live::Sight;
use super::{Asking, Engine, Phase, removed};
use crate::ledger::Batch;

impl Engine {
    /// Whether there is something to be learnt.
    pub(super) fn wants_view(&self) -> bool {
        let unsettled = !self.live.is_empty() || self.phase == Phase::Reconciling;
        let paying = self.wants_to_pay || self.settle_now || !self.prepay.is_empty();
        unsettled || (paying && self.may_pay())
    }

    pub(super) fn may_pay(&self) -> bool {
        self.phase == Phase::Running && !self.meta.paused
    }

    pub(super) fn ask(&mut self, now: Now) {
        if self.asking.as_ref().is_some_and(|a| now.mono >= a.until) {
            self.asking = None;
        }
        if self.asking.is_some() || !self.wants_view() || now.mono < self.ask_at || self.done {
            return;
        }
        let variants = self.live.values().flat_map(|live| &live.intent.variants);
        let hashes: Vec<B256> = variants.map(|variant| variant.hash).collect();
        let id = self.fresh_id();
        self.asking = Some(Asking {
            id,
            until: now.mono + ASK_TIMEOUT,
            hashes: hashes.iter().copied().collect(),
        });
        let avoid = self.avoid;
        self.out
            .push_back(Output::Ask(Question { id, avoid, hashes }));
    }

    pub(super) fn answered(&mut self, now: Now, id: u64, view: Option<Box<View>>) {
        let Some(asking) = self.asking.take_if(|asking| asking.id == id) else {
            return;
        };
        self.ask_at = now.mono + self.config.poll;
        let Some(view) = view else {
            return;
        };
        // Endpoints take turns: whatever one of them says, another is asked next.
        self.avoid = Some(view.endpoint);
        let sights = self.weigh(&view, &asking.hashes);
        let sights = match sights {
            Ok(sights) => sights,
            Err(why) => {
                let endpoint = view.endpoint;
                if self.distrusted.insert(endpoint, why) != Some(why) {
                    self.tell(Event::Distrusted { endpoint, why });
                }
                return;
            }
        };
        self.distrusted.remove(&view.endpoint);
        let mut absent = BTreeSet::new();
        for (nonce, sight) in sights {
            if self.see(now, &view, nonce, sight) {
                absent.insert(nonce);
            }
        }
        if self.is_ahead(now, &view) {
            return;
        }
        self.reconcile(now, &view);
        self.resend(now, &view, &absent);
        self.pay(now, &view);
    }

    /// Whether a view can be believed at all, and what it shows of each payment.
    fn weigh(&self, view: &View, asked: &BTreeSet<B256>) -> Result<Vec<(u64, Sight)>, Distrust> {
        if view.chain_id != self.config.chain_id {
            return Err(Distrust::WrongChain(view.chain_id));
        }
        let nonces = view.nonces;
        if view.finalized > view.head
            || nonces
                .finalized
                .is_some_and(|finalized| finalized > nonces.latest)
            || nonces.latest > nonces.pending
        {
            return Err(Distrust::Contradiction);
        }
        // Everything below the lowest payment under way is final, so every endpoint has it, or is
        // behind, or has another chain of the same number.
        let lowest = self.live.keys().next().copied();
        let settled = lowest.or(self.meta.next).unwrap_or(0);
        if nonces.latest < settled && !self.adopting {
            return Err(Distrust::Behind);
        }
        let sights = self.live.iter().map(|(nonce, live)| {
            let complete = live.intent.variants.iter().all(|v| asked.contains(&v.hash));
            let sight = live.sight(view, complete);
            Ok((*nonce, sight.ok_or(Distrust::Contradiction)?))
        });
        sights.collect()
    }

    /// Takes one sight of one payment. Returns whether its place is free.
    fn see(&mut self, now: Now, view: &View, nonce: u64, sight: Sight) -> bool {
        let quorum = self.config.quorum();
        let Some(live) = self.live.get_mut(&nonce) else {
            return false;
        };
        let Sight::Final { hash, outcome } = sight else {
            live.votes.remove(&view.endpoint);
            self.see_unfinished(now, nonce, sight);
            return sight == Sight::Absent;
        };
        let news = live.votes.insert(view.endpoint, (hash, outcome)) != Some((hash, outcome));
        if outcome == Outcome::Foreign {
            live.foreign_seen = live.foreign_seen.saturating_add(1);
        }
        let agree = live.votes.values().filter(|vote| **vote == (hash, outcome));
        if agree.count() < quorum {
            if news {
                self.ask_again_soon(now);
            }
        } else if outcome == Outcome::Foreign {
            if live.foreign_seen >= FOREIGN_SEEN {
                self.halt(Halt::Foreign { nonce });
            }
        } else if outcome == Outcome::Astray {
            self.halt(Halt::Astray { nonce });
        } else {
            self.settle(now, nonce, hash, outcome);
        }
        false
    }

    fn see_unfinished(&mut self, now: Now, nonce: u64, sight: Sight) {
        let Some(live) = self.live.get_mut(&nonce) else {
            return;
        };
        match sight {
            Sight::Included { hash, block } => {
                if live.included.replace((hash, block)) != Some((hash, block)) {
                    let payment = Payment::new(nonce, hash, &live.intent.legs);
                    self.tell(Event::Included(payment));
                }
            }
            Sight::Absent => {
                live.made_at.get_or_insert(now.mono);
                if live.included.take().is_some() {
                    live.sent_at = None;
                    self.tell(Event::Reorged { nonce });
                }
            }
            Sight::Taken | Sight::Final { .. } => {}
        }
    }

    /// A payment is over, for good.
    pub(super) fn settle(&mut self, now: Now, nonce: u64, hash: B256, outcome: Outcome) {
        let Some(live) = self.live.remove(&nonce) else {
            return;
        };
        let intent = live.intent;
        let mut batch = Batch::default();
        for leg in &intent.legs {
            let moved = if outcome == Outcome::Paid {
                let amount = leg.amount();
                self.payables.settle(&leg.payee, amount, &mut batch)
            } else {
                let parts = (leg.due, leg.advance, leg.since);
                let failed = outcome == Outcome::Failed;
                self.payables
                    .release(now.unix, &leg.payee, parts, failed, &mut batch)
            };
            if moved.is_err() {
                self.halt(Halt::BooksDisagree);
                return;
            }
        }
        removed(&mut batch, &intent);
        batch.put(&Settled {
            nonce,
            hash,
            at: now.unix,
            outcome,
            legs: intent.legs.clone(),
        });
        self.commit(batch);
        let payment = Payment::new(nonce, hash, &intent.legs);
        self.tell(Event::Final { payment, outcome });
        // What waits for its turn, or is owed again, need not wait for the next round.
        self.scan_at = now.mono;
    }

    /// Whether the endpoint has more transactions of the wallet than were made here.
    fn is_ahead(&mut self, now: Now, view: &View) -> bool {
        let chain = view.nonces.pending;
        let Some(ours) = self.meta.next.filter(|_| !self.adopting) else {
            return false;
        };
        if chain <= ours {
            self.ahead.remove(&view.endpoint);
            return false;
        }
        let news = self.ahead.insert(view.endpoint, chain).is_none();
        if self.ahead.len() >= self.config.quorum() {
            self.halt(Halt::ChainAhead { chain, ours });
        } else if news {
            self.ask_again_soon(now);
        }
        true
    }

    /// Compares the chain with the books after a start.
    fn reconcile(&mut self, now: Now, view: &View) {
        if self.phase != Phase::Reconciling {
            return;
        }
        if self.meta.next.is_none() || self.adopting {
            self.learn_nonce(now, view);
            return;
        }
        self.agreeing.insert(view.endpoint);
        if self.agreeing.len() >= self.config.quorum() {
            self.phase = Phase::Running;
            self.told = None;
            let next = self.meta.next.unwrap_or_default();
            self.tell(Event::Reconciled { next });
        } else {
            self.ask_again_soon(now);
        }
    }

    pub(super) fn ask_again_soon(&mut self, now: Now) {
        self.ask_at = self.ask_at.min(now.mono + SECOND_OPINION_AFTER);
    }

    /// Takes the first nonce from the chain: nothing of the wallet may be waiting there, and all
    /// endpoints that are asked have to agree.
    fn learn_nonce(&mut self, now: Now, view: &View) {
        let nonces = view.nonces;
        if nonces.latest != nonces.pending {
            self.first_nonce.remove(&view.endpoint);
            return;
        }
        let above = self
            .live
            .keys()
            .next_back()
            .map_or(0, |n| n.saturating_add(1));
        let next = nonces.latest.max(above);
        self.first_nonce.insert(view.endpoint, next);
        let agree = self.first_nonce.values().filter(|n| **n == next);
        if agree.count() < self.config.quorum() {
            self.ask_again_soon(now);
            return;
        }
        self.meta.next = Some(next);
        let mut batch = Batch::default();
        self.put_meta(&mut batch);
        self.commit(batch);
        if self.adopting {
            self.adopting = false;
            // The note may be ahead of it, which is what the user has looked at.
            (self.noted, self.noting) = (None, Some(next));
            self.out.push_back(Output::NoteNonce(next));
        }
        self.phase = Phase::Running;
        self.told = None;
        self.tell(Event::Reconciled { next });
    }
}
