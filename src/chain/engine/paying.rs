//! Making payments: reserve, sign, write down, send, raise the fee.

use std::collections::BTreeSet;

use alloy_primitives::{B256, Bytes};

use super::config::KEEP_BACK;
use super::fees::{self, Price};
use super::intent::{Intent, Kind, Leg, MAX_VARIANTS, Variant};
use super::io::{Event, Halt, Now, Output, Payment, TxRequest, View};
use super::live::Live;
use super::plan::{self, NoPlan, Plan};
use super::{Engine, Phase, Signing};
use crate::ledger::{Batch, Wei};

const DAY: u64 = 86_400;

impl Engine {
    /// Begins the next payment, when there is one and everything before it is done.
    pub(super) fn pay(&mut self, now: Now, view: &View) {
        let wanted = self.wants_to_pay || self.settle_now || !self.prepay.is_empty();
        if !wanted || !self.may_pay() || self.signing.is_some() {
            return;
        }
        self.payables.note_clock(now.unix);
        match self.plan(now.unix, view) {
            Ok(plan) if self.config.dry_run => self.would_pay(now, &plan),
            Ok(plan) => self.sign_new(plan),
            Err(NoPlan::Wait) => {}
            Err(why) => {
                if let NoPlan::Because(event) = why {
                    self.tell_once(event);
                }
                self.look_again_later(now);
            }
        }
    }

    fn would_pay(&mut self, now: Now, plan: &Plan) {
        self.tell(Event::WouldPay {
            payees: plan.legs.len(),
            amount: super::intent::total(&plan.legs),
            fee: u128::from(plan.gas).saturating_mul(plan.price.max_fee),
        });
        self.look_again_later(now);
    }

    /// Nothing more can be done now: the next scan looks again.
    fn look_again_later(&mut self, now: Now) {
        self.wants_to_pay = false;
        self.settle_now = false;
        // An advance to somebody whom a payment is on the way to waits for its end; whatever else
        // was in the way of the others was told.
        let payables = &self.payables;
        self.prepay
            .retain(|payee, _| payables.get(payee).is_some_and(|row| row.reserved > 0));
        self.scan_at = now.mono + self.config.scan_every;
    }

    fn sign_new(&mut self, plan: Plan) {
        let (to, data) = plan::call(&self.config, plan.kind, &plan.legs);
        let request = TxRequest {
            id: self.fresh_id(),
            chain_id: self.config.chain_id,
            nonce: plan.nonce,
            to,
            data,
            gas: plan.gas,
            max_fee: plan.price.max_fee,
            tip: plan.price.tip,
        };
        self.signing = Some((request.id, Signing::New(plan)));
        self.out.push_back(Output::Sign(request));
    }

    fn sign_variant(&mut self, nonce: u64, price: Price, cancels: bool) {
        let Some(live) = self.live.get(&nonce) else {
            return;
        };
        let intent = &live.intent;
        let (to, data) = if cancels {
            (self.config.wallet, Bytes::new())
        } else {
            plan::call(&self.config, intent.kind, &intent.legs)
        };
        // The call may have become an empty one, which then counts as a cancellation.
        let cancels = cancels || data.is_empty();
        let gas = intent.gas;
        let request = TxRequest {
            id: self.fresh_id(),
            chain_id: self.config.chain_id,
            nonce,
            to,
            data,
            gas,
            max_fee: price.max_fee,
            tip: price.tip,
        };
        let signing = Signing::Variant {
            nonce,
            price,
            cancels,
        };
        self.signing = Some((request.id, signing));
        self.out.push_back(Output::Sign(request));
    }

    pub(super) fn signed(&mut self, now: Now, id: u64, hash: B256, raw: Bytes) {
        let Some((_, signing)) = self.signing.take_if(|(at, _)| *at == id) else {
            return;
        };
        if !Self::is_hash_of(&hash, &raw) {
            self.tell(Event::Refused("what was signed is not what its hash says"));
            return;
        }
        match signing {
            Signing::New(plan) => self.write_down(now, plan, hash, raw),
            Signing::Variant {
                nonce,
                price,
                cancels,
            } => {
                let variant = Variant {
                    hash,
                    raw,
                    max_fee: price.max_fee,
                    tip: price.tip,
                    cancels,
                };
                self.write_variant(now, nonce, variant);
            }
        }
    }

    /// Rule 1: nonce, reservation and bytes in one commit. When something has changed while the
    /// signature was made, nothing is written, and the bytes are forgotten unsent.
    fn write_down(&mut self, now: Now, plan: Plan, hash: B256, raw: Bytes) {
        if !self.may_pay() || self.meta.next != Some(plan.nonce) {
            return;
        }
        let mut batch = Batch::default();
        let mut legs = plan.legs;
        if !self.reserve(now, &mut legs, &mut batch) {
            return;
        }
        let intent = Intent {
            nonce: plan.nonce,
            kind: plan.kind,
            legs,
            gas: plan.gas,
            made: now.unix,
            variants: vec![Variant {
                hash,
                raw,
                max_fee: plan.price.max_fee,
                tip: plan.price.tip,
                cancels: false,
            }],
        };
        self.meta.next = Some(plan.nonce + 1);
        if !matches!(intent.kind, Kind::Approve(_)) {
            let today = now.unix / DAY;
            if self.meta.day != today {
                (self.meta.day, self.meta.spent) = (today, 0);
            }
            self.meta.spent = self.meta.spent.saturating_add(intent.value());
        }
        batch.put(&intent);
        self.put_meta(&mut batch);
        let seq = self.commit(batch);
        let payment = Payment::new(intent.nonce, hash, &intent.legs);
        let mut live = Live::new(intent, seq);
        live.unsent = true;
        live.made_at = Some(now.mono);
        self.live.insert(plan.nonce, live);
        self.told = None;
        self.tell(Event::Begun(payment));
        // There may be more to pay.
        self.ask_at = now.mono;
    }

    /// Reserves every leg, or none.
    fn reserve(&mut self, now: Now, legs: &mut [Leg], batch: &mut Batch) -> bool {
        for at in 0..legs.len() {
            let leg = &mut legs[at];
            let reserved = self
                .payables
                .reserve(now.unix, leg.payee, leg.due, leg.advance, batch);
            if let Ok(since) = reserved {
                leg.since = since;
                continue;
            }
            // What is due was written off meanwhile, or there is no room for another payee. The
            // batch is thrown away; the books in memory must be as before.
            let mut forgotten = Batch::default();
            for done in &legs[..at] {
                let parts = (done.due, done.advance, done.since);
                let undone =
                    self.payables
                        .release(now.unix, &done.payee, parts, false, &mut forgotten);
                if undone.is_err() {
                    self.halt(Halt::BooksDisagree);
                }
            }
            return false;
        }
        for leg in legs {
            self.prepay.remove(&leg.payee);
        }
        true
    }

    fn write_variant(&mut self, now: Now, nonce: u64, variant: Variant) {
        let Some(live) = self.live.get_mut(&nonce) else {
            return;
        };
        live.intent.variants.push(variant);
        let mut batch = Batch::default();
        batch.put(&live.intent);
        live.unsent = true;
        live.made_at = Some(now.mono);
        let seq = self.commit(batch);
        if let Some(live) = self.live.get_mut(&nonce) {
            live.seq = seq;
        }
    }

    /// Sends what is written and noted durably.
    pub(super) fn send_what_is_ready(&mut self, now: Now) {
        if matches!(self.phase, Phase::Halted(_)) {
            return;
        }
        let (durable, noted) = (self.durable, self.noted);
        // Rule 5: the note follows the commit, so it is never ahead of its own database.
        let written = self.live.values().filter(|live| live.seq <= durable);
        let highest = written.map(|live| live.intent.nonce).max();
        self.note(highest.map(|nonce| nonce + 1));
        for live in self.live.values_mut().filter(|live| live.unsent) {
            let is_noted = noted.is_some_and(|noted| noted > live.intent.nonce);
            if live.seq > durable || !is_noted {
                continue;
            }
            if let Some(newest) = live.intent.variants.last() {
                self.out.push_back(Output::Send {
                    hash: newest.hash,
                    raw: newest.raw.clone(),
                });
            }
            live.unsent = false;
            live.sent_at = Some(now.mono);
        }
    }

    /// What is not in the chain is sent again, the lowest with a higher fee when that helps: those
    /// behind it can't come in before it.
    pub(super) fn resend(&mut self, now: Now, view: &View, absent: &BTreeSet<u64>) {
        if matches!(self.phase, Phase::Halted(_)) {
            return;
        }
        for nonce in absent {
            if let Some(live) = self.live.get_mut(nonce) {
                let wait = self.config.resend_after;
                let long_ago = live.sent_at.is_none_or(|at| now.mono >= at + wait);
                live.unsent |= long_ago;
            }
        }
        let lowest = absent.first().copied();
        if let Some(lowest) = lowest.filter(|_| self.signing.is_none()) {
            self.raise(now, view, lowest);
        }
    }

    /// What a payment holds up: its own value, and that of all behind it, which can't come into a
    /// block before it. A raised fee is at most 5 % of that; by its own value alone, a small
    /// payment that was signed when gas was cheap could block large ones for ever.
    fn held_up_by(&self, nonce: u64) -> Wei {
        let behind = self
            .live
            .range(nonce..)
            .map(|(_, live)| live.intent.value());
        behind.fold(0, Wei::saturating_add)
    }

    fn raise(&mut self, now: Now, view: &View, nonce: u64) {
        let value = self.held_up_by(nonce);
        let (config, fees) = (&self.config, &view.fees);
        let Some(live) = self.live.get_mut(&nonce) else {
            return;
        };
        let Some(newest) = live.intent.variants.last() else {
            return;
        };
        let (price, cancels) = (
            Price {
                max_fee: newest.max_fee,
                tip: newest.tip,
            },
            newest.cancels,
        );
        let waited = now.mono.saturating_sub(live.made_at.unwrap_or(now.mono));
        // A fee that is high enough is raised only when something else must be wrong with it.
        let due = if fees::too_low(fees, price) {
            waited >= config.bump_after
        } else {
            waited >= config.bump_after * 5
        };
        if !due {
            return;
        }
        let gas = live.intent.gas;
        let room = live.intent.variants.len() < MAX_VARIANTS;
        let higher = fees::bumped(config, fees, gas, value, price).filter(|_| room);
        match higher {
            Some(price) => {
                live.stuck = false;
                self.sign_variant(nonce, price, cancels);
            }
            None if !live.stuck => {
                live.stuck = true;
                self.tell(Event::Stuck { nonce });
            }
            None => {}
        }
    }

    /// Signs a cancellation of a payment under way.
    pub(super) fn cancel(&mut self, nonce: u64) {
        let Some(live) = self.live.get(&nonce) else {
            self.tell(Event::Refused("there is no such payment under way"));
            return;
        };
        let room = live.intent.variants.len() < MAX_VARIANTS;
        let Some(newest) = live.newest().filter(|v| room && !v.cancels) else {
            self.tell(Event::Refused("the payment can't be cancelled again"));
            return;
        };
        if self.signing.is_some() || matches!(self.phase, Phase::Halted(_)) {
            self.tell(Event::Refused("not now: try again in a moment"));
            return;
        }
        let old = Price {
            max_fee: newest.max_fee,
            tip: newest.tip,
        };
        // No market price is at hand; an eighth more replaces what was sent, and later bumps do
        // the rest.
        let fees = super::Fees::default();
        let (gas, value) = (live.intent.gas, self.held_up_by(nonce));
        match fees::bumped(&self.config, &fees, gas, value, old) {
            Some(price) => self.sign_variant(nonce, price, true),
            None => self.tell(Event::Stuck { nonce }),
        }
    }
}

// What is kept back for raising fees has to cover the first bump, which is an eighth.
const _: () = assert!(KEEP_BACK >= 2);
