//! What to pay next, by which transaction. Pure choice: nothing is changed here.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes};

use super::config::{
    APPROVE_GAS, BATCH_GAS, BATCH_GAS_EACH, EngineConfig, KEEP_BACK, TRANSFER_GAS,
};
use super::fees::{self, Price};
use super::intent::{Kind, Leg, MAX_LEGS, total};
use super::io::{Event, View};
use super::live::Live;
use super::{Engine, abi};
use crate::ledger::{Payable, Wei};

/// A payment that could be made.
pub(super) struct Plan {
    pub nonce: u64,
    pub kind: Kind,
    pub legs: Vec<Leg>,
    pub gas: u64,
    pub price: Price,
}

/// Why nothing is paid now.
pub(super) enum NoPlan {
    /// Something under way comes first.
    Wait,
    /// There is nothing to pay.
    Nothing,
    /// Something is in the way, which the user is told.
    Because(Event),
}

impl From<Option<Event>> for NoPlan {
    fn from(why: Option<Event>) -> Self {
        why.map_or(Self::Nothing, Self::Because)
    }
}

/// What there is to pay with.
struct Purse {
    token: Wei,
    coins: u128,
}

/// Whether a debt is to be paid now.
pub(super) fn is_due(config: &EngineConfig, row: &Payable, unix: u64, settle: bool) -> bool {
    let due = row.due();
    row.reserved == 0
        && row.hold_until <= unix
        && due > 0
        && (settle || config.thresholds.pays(due, row.since, unix))
}

/// The call that pays.
pub(super) fn call(config: &EngineConfig, kind: Kind, legs: &[Leg]) -> (Address, Bytes) {
    match (kind, config.disperse) {
        (Kind::Approve(amount), Some(disperse)) => (config.token, abi::approve(disperse, amount)),
        (Kind::Batch, Some(disperse)) => (disperse, abi::disperse(config.token, &by_wallet(legs))),
        (Kind::Transfer, _) if !legs.is_empty() => {
            let to = legs[0].payee.wallet;
            (config.token, abi::transfer(to, total(legs)))
        }
        // The contract was taken out of the settings meanwhile: the nonce is used up by nothing,
        // and what is reserved comes back.
        _ => (config.wallet, Bytes::new()),
    }
}

fn by_wallet(legs: &[Leg]) -> Vec<(Address, Wei)> {
    let mut sums: BTreeMap<Address, Wei> = BTreeMap::new();
    for leg in legs {
        let sum = sums.entry(leg.payee.wallet).or_default();
        *sum = sum.saturating_add(leg.amount());
    }
    sums.into_iter().collect()
}

impl Engine {
    /// The next payment by what `view` shows, or why there is none. Oldest debts first.
    pub(super) fn plan(&self, unix: u64, view: &View) -> Result<Plan, NoPlan> {
        let Some(nonce) = self.meta.next else {
            return Err(NoPlan::Wait);
        };
        if self.live.len() >= self.config.max_in_flight {
            return Err(NoPlan::Wait);
        }
        let (groups, capped) = self.groups(unix);
        if groups.is_empty() {
            let spent = self.spent_today(unix);
            return Err(NoPlan::from(capped.then_some(Event::DayCap { spent })));
        }
        let purse = self.purse(view);
        if let Some(plan) = self.batch(nonce, view, &groups, &purse)? {
            return Ok(plan);
        }
        self.single(nonce, view, groups, &purse)
    }

    fn spent_today(&self, unix: u64) -> Wei {
        let today = self.meta.day == unix / 86_400;
        if today { self.meta.spent } else { 0 }
    }

    /// What could be paid, by wallet, oldest first; and whether a cap of the day left something out.
    fn groups(&self, unix: u64) -> (Vec<Vec<Leg>>, bool) {
        let config = &self.config;
        let mut rows: Vec<Leg> = Vec::new();
        let mut capped = false;
        let mut left = config.day_cap.saturating_sub(self.spent_today(unix));
        let mut candidates: Vec<(Leg, Wei)> = Vec::new();
        for row in self.payables.iter() {
            let order = self.prepay.get(&row.payee).copied();
            let advance = order.map_or(0, |order| {
                let rest = order.most.saturating_sub(row.due());
                order.advance.min(rest)
            });
            let free = row.reserved == 0 && row.hold_until <= unix;
            let is_due = is_due(config, row, unix, self.settle_now);
            if is_due || (order.is_some() && free) {
                let cap = config.payee_day_cap.saturating_sub(row.spent_on(unix));
                // More may be due by now than when a budget was looked at.
                let most = order.filter(|_| !is_due).map(|order| order.most);
                let cap = cap.min(most.unwrap_or(Wei::MAX));
                candidates.push((leg(row, advance), cap));
            }
        }
        for (payee, order) in &self.prepay {
            if self.payables.get(payee).is_none() {
                let leg = Leg {
                    payee: *payee,
                    due: 0,
                    advance: order.advance,
                    since: None,
                };
                candidates.push((leg, config.payee_day_cap.min(order.most)));
            }
        }
        candidates.sort_by_key(|(leg, _)| (leg.since.unwrap_or(u64::MAX), leg.payee));
        for (mut leg, cap) in candidates {
            let most = cap.min(left);
            capped |= leg.amount() > most;
            leg.due = leg.due.min(most);
            leg.advance = leg.advance.min(most - leg.due);
            if leg.amount() > 0 {
                left -= leg.amount();
                rows.push(leg);
            }
        }
        let mut groups: Vec<Vec<Leg>> = Vec::new();
        let mut at: BTreeMap<Address, usize> = BTreeMap::new();
        for leg in rows {
            let index = *at.entry(leg.payee.wallet).or_insert(groups.len());
            match groups.get_mut(index) {
                Some(group) if group.len() < MAX_LEGS => group.push(leg),
                Some(_) => {}
                None => groups.push(vec![leg]),
            }
        }
        (groups, capped)
    }

    /// What is there and not promised to payments under way.
    fn purse(&self, view: &View) -> Purse {
        let mut purse = Purse {
            token: view.token,
            coins: view.native,
        };
        let included = |live: &&Live| view.receipts.iter().any(|r| live.has(&r.hash));
        for live in self.live.values().filter(|live| !included(live)) {
            if !matches!(live.intent.kind, Kind::Approve(_)) {
                purse.token = purse.token.saturating_sub(live.intent.value());
            }
            let price = live.newest().map_or(0, |v| v.max_fee);
            let fee = cost(live.intent.gas, price, view.fees.data);
            purse.coins = purse.coins.saturating_sub(fee);
        }
        purse
    }

    /// One payment to one wallet: the oldest that fits.
    fn single(
        &self,
        nonce: u64,
        view: &View,
        groups: Vec<Vec<Leg>>,
        purse: &Purse,
    ) -> Result<Plan, NoPlan> {
        let mut why = None;
        let mut short = Shortage::default();
        for legs in groups {
            let value = total(&legs);
            let price = match fees::first(&self.config, &view.fees, TRANSFER_GAS, value) {
                Ok(price) => price,
                Err(event @ Event::GasTooDear { .. }) => return Err(NoPlan::Because(event)),
                Err(event) => {
                    why = why.or(Some(event));
                    continue;
                }
            };
            let fee = cost(TRANSFER_GAS, price.max_fee, view.fees.data);
            if value > purse.token || fee > purse.coins {
                short.add(value, fee);
                continue;
            }
            return Ok(Plan {
                nonce,
                kind: Kind::Transfer,
                legs,
                gas: TRANSFER_GAS,
                price,
            });
        }
        Err(NoPlan::from(short.event(purse).or(why)))
    }

    /// Several wallets by one transaction, where that is wanted, or the approval for it.
    fn batch(
        &self,
        nonce: u64,
        view: &View,
        groups: &[Vec<Leg>],
        purse: &Purse,
    ) -> Result<Option<Plan>, NoPlan> {
        if self.config.disperse.is_none() || groups.len() < 2 {
            return Ok(None);
        }
        let mut legs: Vec<Leg> = Vec::new();
        let mut wallets = 0_u64;
        for group in groups {
            let more = total(&legs).saturating_add(total(group));
            if more <= purse.token && legs.len() + group.len() <= MAX_LEGS {
                legs.extend_from_slice(group);
                wallets += 1;
            }
        }
        if wallets < 2 {
            return Ok(None);
        }
        let value = total(&legs);
        let under_way = |kind: fn(&Kind) -> bool| {
            let mut kinds = self.live.values().map(|live| &live.intent.kind);
            kinds.any(kind)
        };
        if under_way(|kind| !matches!(kind, Kind::Transfer)) {
            // Allowances of two batches would mix.
            return Err(NoPlan::Wait);
        }
        let (kind, gas) = if view.allowance < value {
            (Kind::Approve(value), APPROVE_GAS)
        } else {
            (Kind::Batch, BATCH_GAS + wallets * BATCH_GAS_EACH)
        };
        let price = fees::first(&self.config, &view.fees, gas, value);
        let price = price.map_err(NoPlan::Because)?;
        let fee = cost(gas, price.max_fee, view.fees.data);
        if fee > purse.coins {
            let mut short = Shortage::default();
            short.add(value, fee);
            return Err(NoPlan::from(short.event(purse)));
        }
        if matches!(kind, Kind::Approve(_)) {
            legs.clear();
        }
        Ok(Some(Plan {
            nonce,
            kind,
            legs,
            gas,
            price,
        }))
    }
}

fn leg(row: &Payable, advance: Wei) -> Leg {
    Leg {
        payee: row.payee,
        due: row.due(),
        advance,
        since: row.since,
    }
}

/// What has to be there for a transaction and for raising its fee.
fn cost(gas: u64, max_fee: u128, data: u128) -> u128 {
    let fee = u128::from(gas).saturating_mul(max_fee);
    fee.saturating_add(data).saturating_mul(KEEP_BACK)
}

/// What is missing.
#[derive(Default)]
struct Shortage {
    tokens: Wei,
    coins: u128,
    waiting: usize,
}

impl Shortage {
    fn add(&mut self, tokens: Wei, coins: u128) {
        self.tokens = self.tokens.saturating_add(tokens);
        self.coins = self.coins.saturating_add(coins);
        self.waiting += 1;
    }

    fn event(self, purse: &Purse) -> Option<Event> {
        (self.waiting > 0).then_some(Event::Short {
            tokens_needed: self.tokens,
            tokens: purse.token,
            coins_needed: self.coins,
            coins: purse.coins,
            waiting: self.waiting,
        })
    }
}
