//! What the chain, the payments and the settlement protocol have to tell each other.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256};
use masq_settlement::state::{Event, Found, Input, Output, Payment};
use masq_settlement::{NodeKey, Reason, Wei};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Billing, Inner, PAID_SINCE};
use crate::chain::driver::MoneyEvent;
use crate::chain::engine::{self, Outcome};
use crate::control::types::debts_wait;
use crate::ledger::{CreditChange, Payee};
use crate::routing::Dispute;

/// Transfers whose state is remembered for questions about them. Guess: far more than are under
/// way at a time.
pub(super) const MAX_SEEN: usize = 4_096;
/// How long after payers' words made this node look at the chain they do so again. Guess: about a
/// block; it looks by itself as well.
const LOOKS_APART: Duration = Duration::from_secs(5);

impl Billing {
    /// What the settlement protocol wants, or has to tell.
    pub(crate) fn on_output(&self, output: Output) {
        match output {
            Output::LookUp { payer, transaction } => self.0.look_up(payer, transaction),
            Output::Event(event) => self.0.on_settlement(event),
            // The behaviour speaks over links, circuits over their report rounds.
            Output::Speak(_) => {}
        }
    }

    /// Looks for payments when somebody says that he has paid, however many say so.
    pub(super) fn keep_looking(&self, wishes: mpsc::Receiver<()>) {
        let weak = Arc::downgrade(&self.0);
        let look = move || {
            let money = weak.upgrade().map(|inner| inner.money.clone());
            async move {
                match money {
                    // It may have ended; then nobody is served any more.
                    Some(money) => money.look_for_payments().await.is_ok(),
                    None => false,
                }
            }
        };
        tokio::spawn(keep_looking(wishes, LOOKS_APART, look));
    }

    /// Hears what payments and the chain tell, until they end.
    pub(super) fn keep_listening(&self) {
        let weak = Arc::downgrade(&self.0);
        let mut events = self.0.money.events();
        tokio::spawn(async move {
            loop {
                let event = match events.recv().await {
                    Ok(event) => event,
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(target: "masq::ledger", missed, "events of payments were missed");
                        continue;
                    }
                    Err(RecvError::Closed) => return,
                };
                let Some(inner) = weak.upgrade() else { return };
                inner.on_money(event);
            }
        });
    }
}

/// Looks when it is wished for, at once and then no more often than every `apart`, until nobody can
/// wish any more or `look` says that there is nothing to look at.
async fn keep_looking<F: Future<Output = bool>>(
    mut wishes: mpsc::Receiver<()>,
    apart: Duration,
    look: impl Fn() -> F,
) {
    while wishes.recv().await.is_some() && look().await {
        sleep(apart).await;
    }
}

impl Inner {
    fn on_money(&self, event: MoneyEvent) {
        match event {
            MoneyEvent::Engine(event) => self.on_payment(event),
            MoneyEvent::Credited(changes) => self.on_credited(&changes),
            MoneyEvent::Judged(verdicts) => {
                tracing::info!(target: "masq::ledger", changes = verdicts.len(), "payers were banned or unbanned");
            }
            MoneyEvent::Distrusted(endpoint, why) => {
                tracing::warn!(target: "masq::chain", endpoint, %why, "an RPC endpoint is not believed");
            }
        }
    }

    fn on_payment(&self, event: engine::Event) {
        match event {
            engine::Event::Included(payment) => {
                self.tell_hops(&payment, Payment::Included);
                for (payee, _) in &payment.shares {
                    self.add_to_refusal(&payee.hop, Some(PAID_SINCE.into()), false);
                }
            }
            engine::Event::Final { payment, outcome } => {
                let what = if outcome == Outcome::Paid {
                    Payment::Final
                } else {
                    Payment::Gone
                };
                self.tell_hops(&payment, what);
            }
            engine::Event::Halted(why) => {
                self.note(format!("Payments are halted: {why}."));
                tracing::error!(target: "masq::chain", "payments are halted: {why}");
            }
            engine::Event::Short { waiting, .. } => {
                self.note(format!(
                    "{} because the wallet that pays has too little.",
                    debts_wait(waiting as u64)
                ));
                tracing::warn!(target: "masq::chain", waiting, "the consuming wallet's balance is too low to pay every debt; fund it");
            }
            engine::Event::GasTooDear { .. } => {
                self.note("Gas is dearer than the cap; payments wait.".into());
                tracing::warn!(target: "masq::chain", "gas is dearer than the cap; payments wait");
            }
            engine::Event::WouldPay { payees, amount, .. } => self.note(format!(
                "Dry run: {} would be paid to {payees} hops.",
                crate::ledger::Tokens(amount)
            )),
            engine::Event::NotWorthItsFee { value, .. } => self.note(format!(
                "A debt of {} waits: it is not worth its fee yet.",
                crate::ledger::Tokens(value)
            )),
            engine::Event::DayCap { spent } => self.note(format!(
                "Payments wait for tomorrow: {} were paid today, which is the cap.",
                crate::ledger::Tokens(spent)
            )),
            engine::Event::Stuck { nonce } => self.note(format!(
                "Payment {nonce} waits longer than it should, and its fee can't be raised within the caps."
            )),
            engine::Event::Refused(why) => {
                self.note(format!("Refused: {why}."));
                tracing::warn!(target: "masq::chain", why, "refused");
            }
            _ => {}
        }
    }

    fn tell_hops(&self, payment: &engine::Payment, what: Payment) {
        for (payee, amount) in &payment.shares {
            self.settlement.handle(Input::Paid {
                hop: NodeKey(payee.hop),
                transaction: payment.hash,
                amount: *amount,
                payment: what,
            });
        }
    }

    /// One transaction may bring several transfers of one payer.
    fn on_credited(&self, changes: &[CreditChange]) {
        let mut found: BTreeMap<(Address, B256), Found> = BTreeMap::new();
        for change in changes {
            let (CreditChange::Seen {
                payer,
                amount,
                transaction,
            }
            | CreditChange::Gone {
                payer,
                amount,
                transaction,
            }
            | CreditChange::Final {
                payer,
                amount,
                transaction,
            }) = *change;
            let key = (payer, transaction);
            let next = match (change, found.get(&key)) {
                (CreditChange::Gone { .. }, _) => Found::Unknown,
                (CreditChange::Seen { .. }, Some(Found::Provisional(before))) => {
                    Found::Provisional(amount.saturating_add(*before))
                }
                (CreditChange::Seen { .. }, _) => Found::Provisional(amount),
                (CreditChange::Final { .. }, Some(Found::Final(before))) => {
                    Found::Final(amount.saturating_add(*before))
                }
                (CreditChange::Final { .. }, _) => Found::Final(amount),
            };
            found.insert(key, next);
        }
        for ((payer, transaction), found) in found {
            self.remember(payer, transaction, found);
            let limit = {
                let now = self.unix();
                self.money.receivables().limit(now, &payer)
            };
            self.settlement.handle(Input::Limit { payer, limit });
            self.settlement.handle(Input::Chain {
                payer,
                transaction,
                found,
            });
        }
    }

    pub(super) fn remember(&self, payer: Address, transaction: B256, found: Found) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if found == Found::Unknown {
            seen.remove(&(payer, transaction));
        } else if seen.len() < MAX_SEEN || seen.contains_key(&(payer, transaction)) {
            seen.insert((payer, transaction), found);
        } else {
            // Whoever asks for those that are forgotten is answered by the next look at the chain.
            seen.retain(|_, found| matches!(found, Found::Provisional(_)));
            seen.insert((payer, transaction), found);
        }
    }

    /// A payer says that it has paid.
    fn look_up(&self, payer: Address, transaction: B256) {
        let seen = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(&(payer, transaction)).copied()
        };
        if let Some(found) = seen {
            return self.settlement.handle(Input::Chain {
                payer,
                transaction,
                found,
            });
        }
        // Not seen yet. The payer's word makes this node look sooner, and nothing else.
        self.settlement.handle(Input::Chain {
            payer,
            transaction,
            found: Found::Unknown,
        });
        // One wish stands for any number of them.
        let _ = self.look.try_send(());
    }

    fn on_settlement(self: &Arc<Self>, event: Event) {
        match event {
            Event::WrittenOff { payer, amount } => {
                let now = self.unix();
                let _moment = self.money.booking();
                self.money.receivables().write_off(now, &payer, amount);
            }
            Event::Recovered { payer, amount } => {
                let now = self.unix();
                let _moment = self.money.booking();
                self.money.receivables().recover(now, &payer, amount);
            }
            Event::Adjusted { hop, amount } => self.write_off(hop, amount),
            Event::OverSpend { payer, circuit } => {
                for serving in self.serving() {
                    if serving.is_of(&payer, &circuit) {
                        serving.end_over_spend();
                    }
                }
            }
            // The ledger sees debts only, and this is none any more: circuits that were admitted
            // before would go on.
            Event::OverLimit { payer, broke } if broke > 0 => {
                for serving in self.serving() {
                    if serving.is_by(&payer) {
                        serving.end_over_limit();
                    }
                }
            }
            Event::Disputed { hop, times, .. } => self.on_disputed(hop, times),
            Event::Refused { hop, refusal } if is_about_serving(refusal.reason) => {
                self.on_refused(hop, None, refusal);
            }
            // What was said is said again; nothing depends on any one message.
            Event::Refused { hop, refusal } => {
                tracing::debug!(target: "masq::ledger", node = %short(&hop), reason = %refusal.reason, "a message was refused");
            }
            // The ledger has it; the protocol's account learns of it with the next start.
            Event::Unbooked { .. } => {
                tracing::warn!(target: "masq::ledger", "a payment was credited, but there is no room for its payer's account: too many payers have money here");
            }
            Event::NoRoom { hop } => {
                tracing::warn!(target: "masq::ledger", node = %short(&hop), "a hop was paid, but there is no room for its account");
            }
            Event::Unsigned { error } => {
                tracing::warn!(target: "masq::ledger", %error, "a receipt was not signed");
            }
            event => tracing::debug!(target: "masq::ledger", event = event.name(), "settlement"),
        }
    }

    /// A hop claims more than was counted here. What was counted is acknowledged, and nothing more.
    fn on_disputed(&self, hop: NodeKey, times: u32) {
        tracing::warn!(target: "masq::ledger", ?hop, times, "a hop claims more than this node has counted; only what was counted is acknowledged");
        let dispute = self.disputed.get();
        let dispute = dispute.map(|to| to.disputed(masq_cores::NodeKey(hop.0)));
        let then = match dispute {
            Some(Dispute::Avoided(_)) => " It is avoided for a while.",
            Some(Dispute::Dropped) => " It goes on doing so, and is banned for a day.",
            None => "",
        };
        self.note(format!(
            "Node {} claims to have carried more than this one has counted, and is paid for what was \
             counted.{then}",
            masq_gossip::NodeKey::from(hop.0).short()
        ));
    }

    /// What a hop does not ask for after circuits broke is not owed to it.
    fn write_off(self: &Arc<Self>, hop: NodeKey, amount: Wei) {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(books) = inner.money.books().await else {
                return;
            };
            let mut left = amount;
            for row in books.payables.iter().filter(|row| row.payee.hop == hop.0) {
                let part = left.min(row.due());
                left -= part;
                if part > 0 {
                    let payee: Payee = row.payee;
                    let _ = inner.money.write_off(payee, part).await;
                }
            }
        });
    }
}

/// How logs call a node.
pub(super) fn short(hop: &NodeKey) -> String {
    masq_gossip::NodeKey::from(hop.0).short()
}

/// Whether a hop speaks of what it needs to serve on, and not of a message.
fn is_about_serving(reason: Reason) -> bool {
    use Reason::{Delinquent, NoGas, NoTokens, OverLimit};
    matches!(reason, Delinquent | NoGas | NoTokens | OverLimit)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn s27_any_number_of_wishes_is_one_look_in_so_long_a_time() {
        let (wish, wishes) = mpsc::channel(1);
        let looks = Cell::new(0);
        let looking = keep_looking(wishes, LOOKS_APART, || {
            looks.set(looks.get() + 1);
            std::future::ready(true)
        });
        let wishing = async {
            for _ in 0..10_000 {
                let _ = wish.try_send(());
                sleep(Duration::from_millis(1)).await;
            }
            drop(wish);
        };
        tokio::join!(looking, wishing);
        // At once, after five seconds and after ten.
        assert_eq!(looks.get(), 3);
    }

    #[tokio::test]
    async fn where_there_is_nothing_to_look_at_it_ends() {
        let (wish, wishes) = mpsc::channel(1);
        wish.try_send(()).unwrap();
        keep_looking(wishes, LOOKS_APART, || std::future::ready(false)).await;
    }
}
