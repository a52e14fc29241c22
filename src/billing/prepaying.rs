//! Advances that are made without asking the user, within the budget.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use masq_settlement::{NodeKey, Reason, Refusal, Wei};
use tokio::time::{MissedTickBehavior, interval};

use super::{Billing, Inner};
use crate::ledger::fit::least_payment;
use crate::ledger::{Payee, PrepayPolicy};

/// How often it is looked whether a hop's credit runs out: a payment takes some blocks to arrive.
/// Guess.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Billing {
    /// Looks after the credit at the hops of running circuits, if there is a budget for it.
    pub(super) fn keep_prepaying(&self) {
        if self.0.budget == Default::default() || self.0.signer.is_none() {
            return;
        }
        let weak = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut tick = interval(LOOK_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(inner) = weak.upgrade() else { return };
                let used: BTreeSet<Payee> =
                    inner.paying().iter().flat_map(|c| c.payees()).collect();
                for payee in used {
                    let hop = inner
                        .settlement
                        .with(|machine, _| machine.hop(&NodeKey(payee.hop)));
                    if let Some(credit) = hop.and_then(|books| books.credit) {
                        inner.prepay(payee, credit).await;
                    }
                }
            }
        });
    }
}

impl Inner {
    /// A hop does not serve for want of credit: it has none left.
    pub(super) fn prepay_after(&self, payee: Payee, refusal: &Refusal) {
        if refusal.reason != Reason::OverLimit || self.budget == Default::default() {
            return;
        }
        if let Some(inner) = self.this.upgrade() {
            tokio::spawn(async move { inner.prepay(payee, 0).await });
        }
    }

    async fn prepay(&self, payee: Payee, remaining: Wei) {
        let Ok(books) = self.money.books().await else {
            return;
        };
        let row = books.payables.iter().find(|row| row.payee == payee);
        let ahead = row.map_or(0, |row| row.ahead());
        let now = self.unix();
        let today = books.payables.iter().map(|row| row.spent_on(now));
        let today = today.fold(0, Wei::saturating_add);
        let mut policy = PrepayPolicy {
            budget: self.budget,
            least: 0,
        };
        // Whether it is worth its fee is asked only where something would be advanced.
        if policy.decide(remaining, ahead, today).is_none() {
            return;
        }
        let Some(fees) = self.provider.fees().await else {
            return;
        };
        policy.least = least_payment(fees.of_transfer(), self.token_price);
        if let Some(amount) = policy.decide(remaining, ahead, today) {
            let _ = self.money.prepay(payee, amount).await;
        }
    }
}
