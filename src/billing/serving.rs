//! Circuits of others: whether a payer is served, and what it is charged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use alloy_primitives::Address;
use masq_cores::host::{Asked, Carried, Refused, Running, Served};
use masq_cores::{FailureCode, Leg, Role};
use masq_settlement::auth::{HopView, judge};
use masq_settlement::state::{Input, Terms};
use masq_settlement::{CircuitRef, Message, Party, Reason, Refusal, Wei};

use super::{Inner, map};
use crate::ledger::{LeaseId, price};

/// Body bytes whose price a circuit is leased at first: set-up, keys and a small page.
/// Guess: a newcomer's credit has room for some sixty circuits at a hop.
const FIRST_LEASE: u64 = 256 * 1024;
/// Most that a lease grows by: a busy circuit asks some ten times a second at most.
const MOST_LEASE: u64 = 16 * 1024 * 1024;
/// Body bytes of the smallest cell of either leg: price of a byte is highest there.
const SMALLEST: u64 = price::SMALL_BODY_OVER;

/// A refusal for the origin's eyes.
fn refused(refusal: Refusal) -> Refused {
    Refused {
        code: FailureCode::BadAuthorisation,
        detail: Message::Refusal(refusal).encode(),
    }
}

/// One circuit that somebody pays for.
pub(super) struct Serving {
    me: Weak<Self>,
    billing: Weak<Inner>,
    payer: Address,
    circuit: CircuitRef,
    role: Role,
    terms: Terms,
    lease: LeaseId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    /// Booked so far, in wei.
    booked: Wei,
    /// By how much the lease grew last, in body bytes.
    step: u64,
    over: bool,
}

impl Inner {
    /// Whether to serve who asks.
    pub(super) fn admit(self: &Arc<Self>, asked: &Asked<'_>) -> Result<Arc<Serving>, Refused> {
        let view = HopView {
            domain: self.domain,
            node: self.me,
            ephemeral: asked.ephemeral,
            floors: std::slice::from_ref(&self.floor),
        };
        let now = self.unix();
        let verified = judge(asked.auth.kind, &asked.auth.body, &view, now).map_err(refused)?;
        let terms = Terms {
            rates: verified.auth.rates,
            service: map::service(asked.role),
            max_spend: verified.auth.max_spend,
        };
        let (payer, circuit) = (verified.auth.payer, verified.circuit.short());
        self.note_payer(asked.from, payer);
        let want = price_of(&terms, FIRST_LEASE);
        let _moment = self.money.booking();
        let (lease, limit) = {
            let mut books = self.money.receivables();
            let lease = books.lease(now, payer, asked.from.0, want);
            let lease = lease.map_err(|why| refused(map::refusal(why)))?;
            (lease, books.limit(now, &payer))
        };
        let admitted = self.settlement.with(|machine, now| {
            machine.handle(now, Input::Limit { payer, limit });
            machine.admit(now, payer, circuit, terms)
        });
        if let Err(why) = admitted {
            self.money.receivables().release(now, lease.id);
            return Err(refused(why));
        }
        Ok(Arc::new_cyclic(|me| Serving {
            me: me.clone(),
            billing: Arc::downgrade(self),
            payer,
            circuit,
            role: asked.role,
            terms,
            lease: lease.id,
            state: Mutex::new(State {
                step: FIRST_LEASE,
                ..State::default()
            }),
        }))
    }
}

/// The price of so many body bytes in the smallest cells, so that it is enough in any case.
fn price_of(terms: &Terms, bytes: u64) -> Wei {
    let carried = masq_settlement::Carried {
        cells: bytes.div_ceil(SMALLEST),
        bytes,
    };
    terms.rates.price_of(terms.service, carried).max(1)
}

impl Serving {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books what was carried since the last time, and ends the circuit when there is nothing left
    /// for it.
    pub(super) fn book(&self) {
        let Some(billing) = self.billing.upgrade() else {
            return;
        };
        let mut state = self.state();
        let Some(running) = state.running.clone().filter(|_| !state.over) else {
            return;
        };
        let (over, back) = (running.carried(Leg::Over), running.carried(Leg::Back));
        let left = self.charge(&billing, &mut state, over, back, None);
        match self.refill(&billing, &mut state, left) {
            Ok(left) => {
                let bytes = over.bytes.saturating_add(back.bytes);
                running.set_mark(bytes.saturating_add(self.bytes_for(left)));
            }
            Err(why) => running.end(refused(why)),
        }
    }

    /// So many body bytes `left` pays for at the least.
    fn bytes_for(&self, left: Wei) -> u64 {
        let of_one = price_of(&self.terms, SMALLEST).max(1);
        u64::try_from(left / of_one)
            .unwrap_or(u64::MAX)
            .saturating_mul(SMALLEST)
    }

    /// Books counters; returns what is left of the lease.
    fn charge(
        &self,
        billing: &Inner,
        state: &mut State,
        over: Carried,
        back: Carried,
        ended: Option<bool>,
    ) -> Wei {
        let usage = map::usage(self.role, over, back);
        let price = self.terms.price(usage);
        let more = price.saturating_sub(state.booked);
        let now = billing.unix();
        let _moment = billing.money.booking();
        let left = billing.money.receivables().charge(now, self.lease, more);
        state.booked = state.booked.max(price);
        let (who, circuit) = (Party::Payer(self.payer), self.circuit);
        billing
            .settlement
            .handle(map::counted(who, circuit, usage, ended));
        left.unwrap_or(0)
    }

    /// Extends a lease that runs low. An error when nothing is left and nothing more is given.
    fn refill(&self, billing: &Inner, state: &mut State, left: Wei) -> Result<Wei, Refusal> {
        if left >= price_of(&self.terms, state.step / 2) {
            return Ok(left);
        }
        let now = billing.unix();
        let step = state.step.saturating_mul(2).min(MOST_LEASE);
        let want = price_of(&self.terms, step);
        let _moment = billing.money.booking();
        let extended = billing.money.receivables().extend(now, self.lease, want);
        match extended {
            Ok(more) => {
                state.step = step;
                Ok(left.saturating_add(more))
            }
            // What is left is carried; less than a cell's worth is nothing.
            Err(_) if left > price_of(&self.terms, SMALLEST) => Ok(left),
            Err(why) => Err(map::refusal(why)),
        }
    }

    fn finish(&self, counts: Option<(Carried, Carried, bool)>) {
        let mut state = self.state();
        if std::mem::replace(&mut state.over, true) {
            return;
        }
        state.running = None;
        let Some(billing) = self.billing.upgrade() else {
            return;
        };
        let (over, back, clean) = counts.unwrap_or((Carried::default(), Carried::default(), true));
        self.charge(&billing, &mut state, over, back, Some(clean));
        let now = billing.unix();
        let _moment = billing.money.booking();
        billing.money.receivables().release(now, self.lease);
    }

    /// Whose circuit it is.
    pub(super) fn is_of(&self, payer: &Address, circuit: &CircuitRef) -> bool {
        self.payer == *payer && self.circuit == *circuit
    }

    /// Whether this payer pays for it.
    pub(super) fn is_by(&self, payer: &Address) -> bool {
        self.payer == *payer
    }

    /// Ends it, because its payer's credit is used up.
    pub(super) fn end_over_limit(&self) {
        if let Some(running) = &self.state().running {
            running.end(refused(Reason::OverLimit.into()));
        }
    }

    /// Ends it, because it has come to cost more than its authorisation allows.
    pub(super) fn end_over_spend(&self) {
        if let Some(running) = &self.state().running {
            running.end(refused(Reason::OverLimit.into()));
        }
    }
}

impl Served for Serving {
    fn begun(&self, running: Running) {
        let me = self.me.clone();
        running.call_at_marks(move || {
            if let Some(me) = me.upgrade() {
                me.book();
            }
        });
        self.state().running = Some(running);
        if let Some(billing) = self.billing.upgrade() {
            billing.open().serving.push(self.me.clone());
        }
        self.book();
    }

    fn heard(&self, slot: &[u8]) {
        // The own counters first: what is said is held against them.
        self.book();
        if let Some(billing) = self.billing.upgrade() {
            billing.settlement.hear_slot(Party::Payer(self.payer), slot);
        }
    }

    fn say(&self) -> Vec<u8> {
        self.book();
        let billing = self.billing.upgrade();
        let party = Party::Payer(self.payer);
        billing.map_or_else(Vec::new, |billing| {
            billing.settlement.say_slot(&party, &self.circuit)
        })
    }

    fn ended(&self, over: Carried, back: Carried, clean: bool) {
        self.finish(Some((over, back, clean)));
    }
}

impl Drop for Serving {
    /// It never came about: nothing was carried, and the lease goes back.
    fn drop(&mut self) {
        self.finish(None);
    }
}
