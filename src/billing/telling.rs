//! What the chain, the payments and the settlement protocol have to tell each other.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use alloy_primitives::{Address, B256};
use masq_settlement::state::{Event, Found, Input, Output, Payment};
use masq_settlement::{NodeKey, Reason, Wei};
use tokio::sync::broadcast::error::RecvError;

use super::{Billing, Inner};
use crate::chain::driver::MoneyEvent;
use crate::chain::engine::{self, Outcome};
use crate::control::types::debts_wait;
use crate::ledger::{CreditChange, Payee};

/// Transfers whose state is remembered for questions about them. Guess: far more than are under
/// way at a time.
pub(super) const MAX_SEEN: usize = 4_096;

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
            engine::Event::Included(payment) => self.tell_hops(&payment, Payment::Included),
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
    fn look_up(self: &Arc<Self>, payer: Address, transaction: B256) {
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
        let money = self.money.clone();
        tokio::spawn(async move {
            // It may have ended; then nobody is served any more.
            let _ = money.look_for_payments().await;
        });
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
            Event::Disputed { hop, times, .. } => {
                tracing::warn!(target: "masq::ledger", ?hop, times, "a hop claims more than this node has counted; only what was counted is acknowledged");
            }
            Event::Refused { hop, refusal } if is_about_serving(refusal.reason) => {
                self.on_refused(hop, None, refusal);
            }
            // What was said is said again; nothing depends on any one message.
            Event::Refused { hop, refusal } => {
                tracing::debug!(target: "masq::ledger", ?hop, reason = %refusal.reason, "a message was refused");
            }
            Event::Unsigned { error } => {
                tracing::warn!(target: "masq::ledger", %error, "a receipt was not signed");
            }
            event => tracing::debug!(target: "masq::ledger", event = event.name(), "settlement"),
        }
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

/// Whether a hop speaks of what it needs to serve on, and not of a message.
fn is_about_serving(reason: Reason) -> bool {
    use Reason::{Delinquent, NoGas, NoTokens, OverLimit};
    matches!(reason, Delinquent | NoGas | NoTokens | OverLimit)
}
