//! Circuits of this node's own: what its hops are promised, and what they are owed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use masq_cores::host::{Carried, PaidHop, Paying, Running, Unpaid, key_share};
use masq_cores::{Authorisation, FailureCode, Leg, Role};
use masq_settlement::auth::{KIND_ROUTE_AUTH, RouteAuth};
use masq_settlement::state::Terms;
use masq_settlement::{CircuitId, CircuitRef, Message, NodeKey, Party, Wei};

use super::{Inner, Prices, map};
use crate::ledger::Payee;
use crate::routing::Rates;

/// Most that a circuit may cost is the price of so many body bytes at its rates. Guess: ten
/// minutes at 400 MB/s, the longest and fastest that a circuit is likely to be. What is owed
/// follows from what both sides count; this is the brake behind it.
const MOST_BYTES: u64 = 256 << 30;
/// An authorisation begins so many seconds before it is made: clocks differ.
const BEFORE: u64 = 60;
/// How long it holds, in seconds: it is looked at when the circuit is set up, and a package is on
/// its way for some seconds.
const LIFE: u64 = 600;

/// One hop of one circuit.
struct Hop {
    node: NodeKey,
    role: Role,
    /// What it is paid by; nothing where it asks for nothing.
    paid: Option<(Terms, Payee)>,
}

/// One circuit that this node pays for.
pub(super) struct PayingCircuit {
    me: Weak<Self>,
    billing: Weak<Inner>,
    hops: Vec<Hop>,
    state: Mutex<State>,
}

struct State {
    /// How each hop's account calls the circuit, once it was promised something.
    circuits: Vec<Option<CircuitRef>>,
    /// Booked so far for each hop, in wei.
    booked: Vec<Wei>,
    running: Option<Running>,
    /// How many hops served, where it failed before it had come home.
    reached: Option<usize>,
    over: bool,
}

impl Inner {
    /// Gets ready to pay for a circuit.
    pub(super) fn open_circuit(
        self: &Arc<Self>,
        hops: &[PaidHop],
    ) -> Result<Arc<PayingCircuit>, Unpaid> {
        let prices = self
            .prices()
            .ok_or_else(|| Unpaid("no prices are known yet".into()))?;
        self.promise(prices.as_ref(), hops)
    }

    pub(super) fn promise(
        self: &Arc<Self>,
        prices: &dyn Prices,
        hops: &[PaidHop],
    ) -> Result<Arc<PayingCircuit>, Unpaid> {
        let hop = |hop: &PaidHop| {
            let node = map::node(&hop.node);
            let (rates, wallet) = prices
                .of(&hop.node)
                .ok_or_else(|| Unpaid(format!("{node:?} is not known any more")))?;
            // The route was chosen by an earlier record, perhaps.
            let within = |ceiling: &masq_gossip::RatePack| {
                let (asks, most) = (Rates::from(&rates), Rates::from(ceiling));
                match hop.role {
                    Role::Exit => asks.exit_within(&most),
                    _ => asks.relay_within(&most),
                }
            };
            if wallet.is_some() && !self.terms.ceiling.as_ref().is_none_or(within) {
                return Err(Unpaid(format!(
                    "{node:?} asks for more than the price ceiling"
                )));
            }
            let rates = map::rates(&rates);
            let terms = Terms {
                rates,
                service: map::service(hop.role),
                max_spend: most(&rates, hop.role),
            };
            let payee = wallet.map(|wallet| Payee {
                wallet,
                hop: node.0,
            });
            Ok(Hop {
                node,
                role: hop.role,
                paid: payee.map(|payee| (terms, payee)),
            })
        };
        let hops: Vec<Hop> = hops.iter().map(hop).collect::<Result<_, Unpaid>>()?;
        let state = State {
            circuits: vec![None; hops.len()],
            booked: vec![0; hops.len()],
            running: None,
            reached: None,
            over: false,
        };
        Ok(Arc::new_cyclic(|me| PayingCircuit {
            me: me.clone(),
            billing: Arc::downgrade(self),
            hops,
            state: Mutex::new(state),
        }))
    }
}

fn most(rates: &masq_settlement::RatePack, role: Role) -> Wei {
    let carried = masq_settlement::Carried {
        cells: MOST_BYTES / 1_000,
        bytes: MOST_BYTES,
    };
    rates.price_of(map::service(role), carried)
}

impl PayingCircuit {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books what was carried since the last time. Not before the circuit is home: until then
    /// nobody knows which of its hops serve, and little is sent.
    pub(super) fn book(&self) {
        let mut state = self.state();
        if let Some(running) = state.running.clone().filter(|_| !state.over) {
            let (over, back) = (running.carried(Leg::Over), running.carried(Leg::Back));
            if back.cells > 0 {
                self.charge(&mut state, over, back, None);
            }
        }
    }

    fn charge(&self, state: &mut State, over: Carried, back: Carried, ended: Option<bool>) {
        let Some(billing) = self.billing.upgrade() else {
            return;
        };
        let _moment = billing.money.booking();
        for (at, hop) in self.hops.iter().enumerate() {
            let (Some((terms, payee)), Some(circuit)) = (hop.paid, state.circuits[at]) else {
                continue;
            };
            let (over, back) = match state.reached {
                Some(reached) if at >= reached => Default::default(),
                // Those that carried it count it, though it did not come home.
                Some(_) => (over, key_share()),
                None => (over, back),
            };
            let usage = map::usage(hop.role, over, back);
            let price = terms.price(usage);
            let more = price.saturating_sub(state.booked[at]);
            state.booked[at] = state.booked[at].max(price);
            if more > 0 && !billing.money.used(payee, more) {
                tracing::warn!(target: "masq::ledger", "usage of a hop was not booked: too many hops at a time");
            }
            let who = Party::Hop(hop.node);
            billing
                .settlement
                .handle(map::counted(who, circuit, usage, ended));
        }
    }

    fn finish(&self, counts: Option<(Carried, Carried, bool)>) {
        let mut state = self.state();
        if std::mem::replace(&mut state.over, true) {
            return;
        }
        state.running = None;
        let (over, back, clean) = counts.unwrap_or((Carried::default(), Carried::default(), true));
        self.charge(&mut state, over, back, Some(clean));
    }

    /// The hops that are paid while the circuit runs.
    pub(super) fn payees(&self) -> impl Iterator<Item = Payee> {
        self.hops.iter().filter_map(|hop| Some(hop.paid?.1))
    }
}

impl Paying for PayingCircuit {
    fn authorise(&self, hop: usize, ephemeral: &[u8; 32]) -> Authorisation {
        let promise = || {
            let billing = self.billing.upgrade()?;
            let at = self.hops.get(hop)?;
            let (terms, _) = at.paid?;
            let signer = billing.signer.as_ref()?;
            let now = billing.unix();
            let auth = RouteAuth {
                payer: signer.address(),
                rates: terms.rates,
                max_spend: terms.max_spend,
                not_before: now.saturating_sub(BEFORE),
                expiry: now.saturating_add(LIFE),
            };
            let signed = auth
                .sign(&billing.domain, &at.node, ephemeral, signer)
                .map_err(|error| tracing::warn!(%error, "a circuit was not authorised"))
                .ok()?;
            let circuit = CircuitId::of(ephemeral).short();
            let opened = billing
                .settlement
                .with(|machine, now| machine.open(now, at.node, circuit, terms));
            // Without an account nothing is promised: the hop refuses, and another is taken.
            opened.ok()?;
            self.state().circuits[hop] = Some(circuit);
            Some(Authorisation {
                kind: KIND_ROUTE_AUTH,
                body: signed.encode(),
            })
        };
        promise().unwrap_or_else(Authorisation::none)
    }

    fn begun(&self, running: Running) {
        self.state().running = Some(running);
        if let Some(billing) = self.billing.upgrade() {
            billing.open().paying.push(self.me.clone());
        }
    }

    fn heard(&self, hop: usize, slot: &[u8]) {
        self.book();
        if let (Some(billing), Some(hop)) = (self.billing.upgrade(), self.hops.get(hop)) {
            billing.settlement.hear_slot(Party::Hop(hop.node), slot);
        }
    }

    fn say(&self, hop: usize) -> Vec<u8> {
        self.book();
        let circuit = self.state().circuits.get(hop).copied().flatten();
        let (Some(billing), Some(hop), Some(circuit)) =
            (self.billing.upgrade(), self.hops.get(hop), circuit)
        else {
            return Vec::new();
        };
        billing.settlement.say_slot(&Party::Hop(hop.node), &circuit)
    }

    fn refused(&self, hop: usize, code: FailureCode, detail: &[u8]) {
        let (Some(billing), Some(at)) = (self.billing.upgrade(), self.hops.get(hop)) else {
            return;
        };
        if code != FailureCode::BadAuthorisation {
            return;
        }
        if let Ok(Message::Refusal(refusal)) = Message::decode(detail) {
            billing.on_refused(at.node, at.paid.map(|(_, payee)| payee), refusal);
        }
    }

    fn half_built(&self, reached: usize) {
        self.state().reached = Some(reached);
    }

    fn ended(&self, over: Carried, back: Carried, clean: bool) {
        self.finish(Some((over, back, clean)));
    }
}

impl Drop for PayingCircuit {
    /// It never came about: nothing is owed for it.
    fn drop(&mut self) {
        self.finish(None);
    }
}
