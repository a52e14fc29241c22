//! What the user asks for.

use super::intent::Outcome;
use super::io::{Event, Halt, Input, Now};
use super::{Engine, Phase};
use crate::ledger::{Batch, Payee, Wei};

/// An advance that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ordered {
    /// How much beyond what is due.
    pub advance: Wei,
    /// The most by that payment, what is due when it is made included.
    pub most: Wei,
}

/// Most prepayments that wait at a time. A guess: as many as one batch pays.
const MAX_WAITING: usize = 50;

impl Engine {
    pub(super) fn asked_by_user(&mut self, now: Now, input: Input) {
        match input {
            Input::WriteOff { payee, amount } => {
                if self.payables.write_off(&payee, amount).is_err() {
                    self.tell(Event::Refused("less is due than was to be written off"));
                }
                self.plan_flush(now);
            }
            Input::Prepay { payee, amount } => self.prepay(now, payee, amount, Wei::MAX),
            Input::PrepayWithin {
                payee,
                amount,
                most,
            } => self.prepay(now, payee, amount, most),
            Input::SettleNow => {
                self.settle_now = true;
                self.look_now(now);
            }
            Input::ScanNow => {
                self.scan_at = now.mono;
                // A debt that waits for something is looked at again as well.
                self.look_now(now);
            }
            Input::LookNow => self.look_now(now),
            Input::DryRun(on) => {
                self.config.dry_run = on;
                self.scan_at = now.mono;
                self.look_now(now);
            }
            Input::Pause => self.set_paused(true),
            Input::Resume => {
                self.set_paused(false);
                self.scan_at = now.mono;
            }
            Input::Cancel { nonce } => self.cancel(nonce),
            Input::AdoptNonce => self.adopt(now),
            Input::Decide { nonce, paid } => self.decide(now, nonce, paid),
            Input::Shutdown { settle } => {
                if settle && self.may_pay() {
                    self.settle_now = true;
                    self.look_now(now);
                }
                self.stopping_since(now);
            }
            // The rest is what the driver answers.
            _ => {}
        }
    }

    fn look_now(&mut self, now: Now) {
        self.ask_at = now.mono;
        self.told = None;
    }

    fn prepay(&mut self, now: Now, payee: Payee, amount: Wei, most: Wei) {
        let waiting = self.prepay.len() >= MAX_WAITING && !self.prepay.contains_key(&payee);
        if waiting || amount == 0 {
            self.tell(Event::Refused("too many prepayments wait already"));
            return;
        }
        // Asked for twice before it is begun is once: the larger of the two.
        let wanted = self.prepay.entry(payee).or_default();
        wanted.advance = amount.max(wanted.advance);
        wanted.most = most.max(wanted.most);
        self.look_now(now);
    }

    fn set_paused(&mut self, paused: bool) {
        if self.meta.paused != paused {
            self.meta.paused = paused;
            let mut batch = Batch::default();
            self.put_meta(&mut batch);
            self.commit(batch);
        }
    }

    fn adopt(&mut self, now: Now) {
        let Phase::Halted(Halt::OldDatabase { .. } | Halt::ChainAhead { .. }) = self.phase else {
            self.tell(Event::Refused("there is no foreign nonce to adopt"));
            return;
        };
        self.adopting = true;
        self.first_nonce.clear();
        self.ahead.clear();
        self.phase = Phase::Reconciling;
        self.look_now(now);
    }

    fn decide(&mut self, now: Now, nonce: u64, paid: bool) {
        let seen = self.live.get(&nonce).and_then(|live| {
            let mut votes = live.votes.values();
            let open = |outcome| matches!(outcome, Outcome::Foreign | Outcome::Astray);
            votes.find(|(_, outcome)| open(*outcome)).copied()
        });
        let halted = self.phase == Phase::Halted(Halt::Foreign { nonce })
            || self.phase == Phase::Halted(Halt::Astray { nonce });
        let Some((hash, outcome)) = seen.filter(|_| halted) else {
            self.tell(Event::Refused("there is nothing to decide at that nonce"));
            return;
        };
        let outcome = if paid { Outcome::Paid } else { outcome };
        self.settle(now, nonce, hash, outcome);
        // Whether the wallet is still used by something else is for the chain to say.
        self.phase = Phase::Reconciling;
        self.agreeing.clear();
        self.look_now(now);
    }
}
