//! The payment engine: pays what is due, never twice, and loses no debt.
//!
//! A pure machine. [`Engine::handle`] takes what happened, [`Engine::poll_output`] gives what is to
//! be done, in order; [`Engine::poll_timeout`] says when the next [`Input::Tick`] is worth it. It
//! owns the payables, because usage and payments go to one journal in one order.
//!
//! # The rules
//!
//! 1. One commit allocates the nonce, moves the amounts from due to reserved and holds the signed
//!    bytes. Only when it is durable, and the nonce noted outside the database too, are they sent.
//! 2. What sending comes to changes nothing: the same bytes are sent again until the chain shows
//!    that their nonce is used.
//! 3. A retry has the same nonce, payees and amounts, and at least an eighth more of both fees.
//! 4. What is reserved is released only when a transaction at that nonce is final, and it failed or
//!    was a cancellation.
//! 5. A nonce of the chain beyond ours, or a foreign transaction at one of ours, halts payments.
//! 6. After a start nothing is paid before the chain was compared with the books; a bounded number
//!    of payments is under way at a time.
//! 7. A payment in a block is looked up again until that block is final; when the block goes, the
//!    payment is sent again.
//! 8. Answers from another chain are thrown away; caps bound every payment and every fee.
//! 9. (Incoming payments are the [`scanner`](super::scanner)'s.)
//! 10. When the balance is short, as many whole debts as fit are paid, oldest first; gas is kept
//!     back, and the user is told.
//!
//! With two or more endpoints, no single one of them is believed that something is final.
//!
//! # Lost at a crash
//!
//! Requests to settle now and to prepay that are not begun, and at most a second of usage.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use alloy_primitives::{B256, Bytes};

use crate::ledger::{Batch, Journal, JournalError, Payables, Payee, Row, Table, Wei, load};
use config::{FLUSH_EVERY, SHUTDOWN_WAIT};
use intent::Meta;
use live::Live;
use plan::Plan;

mod abi;
mod config;
mod fees;
mod intent;
mod io;
mod live;
mod looking;
mod paying;
mod plan;
#[cfg(test)]
mod tests;
mod user;

pub use config::{
    APPROVE_GAS, ASK_TIMEOUT, BATCH_GAS, BATCH_GAS_EACH, EngineConfig, FOREIGN_SEEN, KEEP_BACK,
    TRANSFER_GAS,
};
pub use intent::{Intent, Kind, Leg, MAX_LEGS, MAX_VARIANTS, Outcome, Settled, Variant};
pub use io::{
    Distrust, Endpoint, Event, Fees, Halt, Input, Nonces, Now, Output, Payment, Question, Receipt,
    SendError, TxRequest, View,
};
pub use user::Ordered;

/// Whether the engine may begin payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The chain has not been compared with the books yet.
    Reconciling,
    /// It may.
    Running,
    /// The user has to look at something first.
    Halted(Halt),
}

/// What a signature is being made for.
enum Signing {
    New(Plan),
    Variant {
        nonce: u64,
        price: fees::Price,
        cancels: bool,
    },
}

/// The question that is out.
struct Asking {
    id: u64,
    until: Duration,
    hashes: BTreeSet<B256>,
}

/// The machine. See the [module](self).
pub struct Engine {
    config: EngineConfig,
    payables: Payables,
    meta: Meta,
    live: BTreeMap<u64, Live>,
    phase: Phase,
    out: VecDeque<Output>,

    /// Number of the last commit that was put out, and of the last that is durable.
    committed: u64,
    durable: u64,
    /// The next nonce by the note outside the database, and by the note that is being written.
    noted: Option<u64>,
    noting: Option<u64>,

    next_id: u64,
    signing: Option<(u64, Signing)>,
    asking: Option<Asking>,
    /// Not this endpoint next time.
    avoid: Option<Endpoint>,
    ask_at: Duration,
    scan_at: Duration,
    flush_at: Option<Duration>,

    /// Endpoints whose view agreed with the books since the start.
    agreeing: BTreeSet<Endpoint>,
    /// What endpoints say is the first nonce, while there is none.
    first_nonce: BTreeMap<Endpoint, u64>,
    /// The user said that the chain's nonce is right.
    adopting: bool,
    /// Endpoints that have more transactions of the wallet than there are.
    ahead: BTreeMap<Endpoint, u64>,
    distrusted: BTreeMap<Endpoint, Distrust>,

    /// A view is wanted to pay by.
    wants_to_pay: bool,
    settle_now: bool,
    prepay: BTreeMap<Payee, Ordered>,
    told: Option<Event>,
    stopping: Option<Duration>,
    done: bool,
}

crate::ledger::opaque_debug!(Engine);

impl Engine {
    /// Reads the books. `noted` is the next nonce as it is noted outside the database.
    ///
    /// # Errors
    /// [`JournalError`] when they can't be read or are damaged.
    pub fn recover(
        config: EngineConfig,
        journal: &dyn Journal,
        noted: Option<u64>,
        now: Now,
    ) -> Result<Self, JournalError> {
        let meta = load::<Meta>(journal, Table::Engine)?;
        let intents = load::<Intent>(journal, Table::Intents)?;
        let mut engine = Self {
            config,
            payables: Payables::load(journal)?,
            meta: meta.into_iter().next().unwrap_or_default(),
            live: intents
                .into_iter()
                .map(|i| (i.nonce, Live::new(i, 0)))
                .collect(),
            phase: Phase::Reconciling,
            out: VecDeque::new(),
            committed: 0,
            durable: 0,
            noted,
            noting: noted,
            next_id: 1,
            signing: None,
            asking: None,
            avoid: None,
            ask_at: now.mono,
            scan_at: now.mono,
            flush_at: None,
            agreeing: BTreeSet::new(),
            first_nonce: BTreeMap::new(),
            adopting: false,
            ahead: BTreeMap::new(),
            distrusted: BTreeMap::new(),
            wants_to_pay: false,
            settle_now: false,
            prepay: BTreeMap::new(),
            told: None,
            stopping: None,
            done: false,
        };
        engine.check_books();
        Ok(engine)
    }

    /// What can be seen to be wrong without looking at the chain.
    fn check_books(&mut self) {
        let mut reserved: BTreeMap<Payee, Wei> = BTreeMap::new();
        for leg in self.live.values().flat_map(|live| &live.intent.legs) {
            let sum = reserved.entry(leg.payee).or_default();
            *sum = sum.saturating_add(leg.amount());
        }
        let agree = |row: &crate::ledger::Payable| {
            row.reserved == reserved.get(&row.payee).copied().unwrap_or(0)
        };
        let known = reserved
            .keys()
            .all(|payee| self.payables.get(payee).is_some());
        if !known || !self.payables.iter().all(agree) {
            self.halt(Halt::BooksDisagree);
            return;
        }
        // The commit comes before the note, so the note is never ahead of its database.
        if let Some(noted) = self.noted
            && self.meta.next.is_none_or(|next| noted > next)
        {
            self.halt(Halt::OldDatabase { noted });
            return;
        }
        self.note(self.meta.next);
    }

    /// Has the next nonce noted outside the database. Only called with what is durable inside.
    fn note(&mut self, next: Option<u64>) {
        if let Some(next) = next.filter(|next| self.noting < Some(*next)) {
            self.noting = Some(next);
            self.out.push_back(Output::NoteNonce(next));
        }
    }

    /// What is owed.
    pub fn payables(&self) -> &Payables {
        &self.payables
    }

    /// Advances that were asked for and are in no payment yet.
    pub fn advances_asked(&self) -> impl Iterator<Item = (Payee, Ordered)> {
        self.prepay.iter().map(|(payee, order)| (*payee, *order))
    }

    /// Payments that are not final.
    pub fn under_way(&self) -> impl Iterator<Item = &Intent> {
        self.live.values().map(|live| &live.intent)
    }

    /// Nonces of payments that were seen in a block, which is not final.
    pub fn included(&self) -> impl Iterator<Item = u64> {
        let seen = self.live.iter().filter(|(_, live)| live.included.is_some());
        seen.map(|(nonce, _)| *nonce)
    }

    /// Whether payments are only reported.
    pub fn is_dry(&self) -> bool {
        self.config.dry_run
    }

    /// Whether payments may begin.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the user has paused payments.
    pub fn is_paused(&self) -> bool {
        self.meta.paused
    }

    /// Takes new settings: thresholds, caps, prices. Chain, token, wallet and endpoints stay what
    /// they were.
    pub fn configure(&mut self, config: EngineConfig) {
        let EngineConfig {
            chain_id,
            token,
            wallet,
            endpoints,
            ..
        } = self.config;
        self.config = EngineConfig {
            chain_id,
            token,
            wallet,
            endpoints,
            ..config
        };
    }

    /// Books usage. Durable after a second at the latest.
    ///
    /// # Errors
    /// As [`Payables::accrue`].
    pub fn used(
        &mut self,
        now: Now,
        payee: Payee,
        amount: Wei,
    ) -> Result<(), crate::ledger::PayableError> {
        self.payables.accrue(now.unix, payee, amount)?;
        self.plan_flush(now);
        Ok(())
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Tick => {}
            Input::Flush => self.flush(),
            Input::Committed(seq) => self.durable = self.durable.max(seq),
            Input::Noted(next) => self.noted = Some(next),
            Input::Signed { id, hash, raw } => self.signed(now, id, hash, raw),
            Input::SignFailed { id } => {
                self.signing.take_if(|(at, _)| *at == id);
                self.ask_at = now.mono + self.config.poll;
            }
            Input::Sent { hash, result } => self.sent(now, hash, result),
            Input::Answer { id, view } => self.answered(now, id, view),
            other => self.asked_by_user(now, other),
        }
        self.advance(now);
    }

    /// What is to be done next, in order; nothing when the machine waits.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When the next [`Input::Tick`] is worth it, by [`Now::mono`].
    pub fn poll_timeout(&self) -> Duration {
        let ask = match &self.asking {
            Some(asking) => asking.until,
            None if self.wants_view() => self.ask_at,
            None => self.scan_at,
        };
        let flush = self.flush_at.unwrap_or(Duration::MAX);
        let stop = self.stopping.unwrap_or(Duration::MAX);
        ask.min(flush).min(stop)
    }

    /// Does what time and the last input made possible.
    fn advance(&mut self, now: Now) {
        if self.flush_at.is_some_and(|at| now.mono >= at) {
            self.flush();
        }
        self.scan(now);
        self.send_what_is_ready(now);
        self.ask(now);
        self.finish(now);
    }

    /// Looks whether a debt is over the line.
    fn scan(&mut self, now: Now) {
        if now.mono < self.scan_at {
            return;
        }
        self.scan_at = now.mono + self.config.scan_every;
        let pays = |row| plan::is_due(&self.config, row, now.unix, false);
        let pays = self.payables.iter().any(pays);
        if pays && !self.wants_to_pay && self.live.is_empty() {
            self.ask_at = now.mono;
        }
        self.wants_to_pay |= pays;
    }

    fn flush(&mut self) {
        self.flush_at = None;
        let batch = self.payables.flush();
        self.commit(batch);
    }

    fn plan_flush(&mut self, now: Now) {
        let at = now.mono + FLUSH_EVERY;
        self.flush_at.get_or_insert(at);
    }

    /// Puts a batch out and returns its number.
    fn commit(&mut self, batch: Batch) -> u64 {
        if !batch.is_empty() {
            self.committed += 1;
            let seq = self.committed;
            self.out.push_back(Output::Commit { seq, batch });
        }
        self.committed
    }

    fn tell(&mut self, event: Event) {
        self.out.push_back(Output::Tell(event));
    }

    /// Tells something that is true for long only once, until something else is told this way.
    fn tell_once(&mut self, event: Event) {
        if self.told.as_ref() != Some(&event) {
            self.told = Some(event.clone());
            self.tell(event);
        }
    }

    fn halt(&mut self, why: Halt) {
        if self.phase != Phase::Halted(why) {
            self.phase = Phase::Halted(why);
            self.tell(Event::Halted(why));
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Ends, once everything is written and there is nothing more to be sent.
    fn finish(&mut self, now: Now) {
        let Some(until) = self.stopping else {
            return;
        };
        if self.payables.is_dirty() {
            self.flush();
        }
        let written = self.durable == self.committed;
        let to_send = self.live.values().any(|live| live.unsent);
        let can_pay = self.phase == Phase::Running && !self.meta.paused;
        let busy = self.signing.is_some() || to_send || (self.settle_now && can_pay);
        let late = now.mono >= until;
        if written && (!busy || late) && !self.done {
            self.done = true;
            self.out.push_back(Output::Done);
        }
    }

    fn sent(&mut self, now: Now, hash: B256, result: Result<(), SendError>) {
        let Err(why) = result else {
            return;
        };
        let live = self.live.values_mut().find(|live| live.has(&hash));
        if let Some(live) = live {
            let nonce = live.intent.nonce;
            if why == SendError::NonceTooLow {
                // Every variant is looked up soon.
                self.ask_again_soon(now);
            } else {
                // The same bytes go out again when the chain is next seen without them.
                live.sent_at = None;
            }
            self.tell(Event::NotTaken { nonce, why });
        }
    }

    fn put_meta(&self, batch: &mut Batch) {
        batch.put(&self.meta);
    }

    fn stopping_since(&mut self, now: Now) {
        let until = now.mono + SHUTDOWN_WAIT;
        self.stopping.get_or_insert(until);
    }

    /// Whether raw bytes are the transaction of that hash.
    fn is_hash_of(hash: &B256, raw: &Bytes) -> bool {
        alloy_primitives::keccak256(raw) == *hash
    }
}

/// Removes an intent.
fn removed(batch: &mut Batch, intent: &Intent) {
    batch.remove(Table::Intents, intent.key());
}
