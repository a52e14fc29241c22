//! Advances that are made without asking the user, within the budget.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use masq_settlement::{NodeKey, Reason, Refusal, Wei};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Billing, Inner};
use crate::ledger::fit::least_payment;
use crate::ledger::{Advice, Payee, PrepayPolicy, Standing, Tokens};

/// How often it is looked whether a hop's credit runs out: a payment takes some blocks to arrive.
/// Guess.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often the chain's fees are asked for again, [`LOOK_EVERY`], before a hop that refused is left
/// alone. Guess: a minute; whoever still wants it asks it again.
const FEE_TRIES: usize = 12;

impl Billing {
    /// Looks after the credit at the hops of running circuits, if there is a budget for it.
    pub(super) fn keep_prepaying(&self) {
        if self.0.budget.is_none() || self.0.signer.is_none() {
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
    /// Hops that refused, and about which nothing is decided yet.
    fn deciding(&self) -> MutexGuard<'_, BTreeSet<Payee>> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hop that refused may be paid, unless it was decided before that it is not.
    fn is_deciding_on(&self, hop: &[u8; 32]) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let refusing = refusals.iter_mut().find(|known| known.node == *hop);
        if let Some(refusing) = refusing.filter(|known| known.hint.is_none()) {
            refusing.passes = true;
        }
    }

    /// A hop does not serve for want of credit: it has none left.
    pub(super) fn prepay_after(&self, payee: Payee, refusal: &Refusal) {
        if refusal.reason != Reason::OverLimit || self.signer.is_none() {
            return;
        }
        let name = name(&payee);
        if self.budget.is_none() {
            let hint = format!("`masq prepay {name} AMOUNT` pays it in advance");
            return self.add_to_refusal(&payee.hop, Some(hint), false);
        }
        self.is_deciding_on(&payee.hop);
        // One task for each hop, however often it refuses meanwhile.
        if !self.deciding().insert(payee) {
            return;
        }
        if let Some(inner) = self.this.upgrade() {
            tokio::spawn(async move {
                let mut advice = inner.prepay(payee, 0).await;
                for _ in 0..FEE_TRIES {
                    if advice.is_some() {
                        break;
                    }
                    sleep(LOOK_EVERY).await;
                    advice = inner.prepay(payee, 0).await;
                }
                inner.deciding().remove(&payee);
                let passes = !matches!(advice, Some(Advice::DaySpent | Advice::NotWorthIt));
                let hint = match advice {
                    Some(Advice::Advance(amount)) => {
                        format!("it is being paid {} in advance", Tokens(amount))
                    }
                    Some(Advice::Enough) => "an advance to it is on its way".into(),
                    Some(Advice::DaySpent) => {
                        format!(
                            "the prepay_budget of today is used up; `masq prepay {name} AMOUNT` pays it all the same"
                        )
                    }
                    Some(Advice::NotWorthIt) => {
                        format!(
                            "an advance within the prepay_budget is not worth its fee at present; `masq prepay {name} AMOUNT` pays more"
                        )
                    }
                    None => {
                        "what an advance costs is not known yet: no endpoint of the chain answers"
                            .into()
                    }
                };
                inner.add_to_refusal(&payee.hop, Some(hint), passes);
            });
        }
    }

    /// Pays a hop in advance that says it has so much credit left, if that is to be done; says what
    /// was decided. `None` when the chain's fees are not known, or the books are closed.
    async fn prepay(&self, payee: Payee, remaining: Wei) -> Option<Advice> {
        // What is asked for is in the books that the next one looks at.
        let _one_at_a_time = self.advancing.lock().await;
        let books = self.money.books().await.ok()?;
        let row = books.payables.iter().find(|row| row.payee == payee);
        let asked = |of: Option<[u8; 32]>| {
            let asked = books.asked.iter();
            let asked = asked.filter(|(to, _)| of.is_none_or(|of| of == to.hop));
            asked.fold(0, |sum: Wei, (_, order)| {
                // What the user orders has no bound but itself.
                let bound = of.is_none() && order.most < Wei::MAX;
                sum.saturating_add(if bound { order.most } else { order.advance })
            })
        };
        // What the hop holds under all wallets that it ever named: by a new one it gets nothing new.
        let held = books
            .payables
            .iter()
            .filter(|row| row.payee.hop == payee.hop);
        let held = held.fold(asked(Some(payee.hop)), |sum, row| {
            sum.saturating_add(row.ahead())
        });
        let standing = Standing {
            remaining,
            due: row.map_or(0, |row| row.due()),
            ahead: held,
        };
        let now = self.unix();
        let today = books.payables.iter().map(|row| row.spent_on(now));
        let today = today.fold(asked(None), Wei::saturating_add);
        let mut policy = PrepayPolicy {
            budget: self.budget,
            least: 0,
        };
        // Whether it is worth its fee is asked only where something would be advanced.
        let advice = policy.decide(standing, today);
        if advice == Advice::Enough {
            return Some(advice);
        }
        let fees = self.provider.fees().await?;
        policy.least = least_payment(fees.of_transfer(), self.token_price);
        let advice = policy.decide(standing, today);
        let name = name(&payee);
        match advice {
            Advice::Enough => {}
            Advice::Advance(amount) => {
                let most = amount.saturating_add(standing.due);
                self.money.prepay_within(payee, amount, most).await.ok()?;
                self.note(format!(
                    "Node {name} is paid {} in advance, by the prepay_budget.",
                    Tokens(amount)
                ));
                tracing::info!(target: "masq::ledger", hop = %name, "a hop is paid in advance");
            }
            Advice::DaySpent => self.note(format!(
                "Node {name} wants to be paid in advance, and the prepay_budget of today, {}, is used up.",
                Tokens(self.budget.per_day)
            )),
            Advice::NotWorthIt => self.note(format!(
                "Node {name} wants to be paid in advance; less than {} is not worth its fee at present, and the prepay_budget allows {}.",
                Tokens(policy.least),
                Tokens(self.budget.per_hop)
            )),
        }
        Some(advice)
    }
}

/// How the user names a hop.
fn name(payee: &Payee) -> String {
    masq_gossip::NodeKey::from(payee.hop).short()
}
