//! The payer's side: what this node owes hops.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::B256;

use super::accounts::Shelve;
use super::circuits::{Circuits, Recent, Terms, in_flight};
use super::limits::{MAX_NOTICES, MESSAGE_LIFE, NOTICE_RETRY, PROVISIONAL_RETRY, TOLERATED_PART};
use super::{Event, HopBooks, Now, Output, Party, Payment};
use crate::eip712::{CanonicalSignature, Domain, Signer};
use crate::key::{CircuitRef, NodeKey};
use crate::message::{
    Message, NoticeAnswer, PaymentNotice, PaymentState, Question, Receipt, Statement,
    receipt_digest,
};
use crate::rates::{Usage, Wei};
use crate::refusal::Reason;

/// A payment that the hop does not know as final yet.
#[derive(Debug, Clone, Copy)]
struct Notice {
    amount: Wei,
    say_at: Duration,
    state: PaymentState,
}

/// A receipt that is to be signed when there is a way to send it.
#[derive(Debug, Clone, Copy)]
struct Owed {
    epoch: u32,
    sequence: u64,
    total: Wei,
    settled: Option<Wei>,
}

/// What one hop is owed.
#[derive(Debug)]
pub(super) struct Account {
    hop: NodeKey,
    /// The hop's; 0 while it is not known.
    epoch: u32,
    /// What was booked before the epoch.
    base: Wei,
    /// Price of everything carried, less what the hop does not ask for.
    booked: Wei,
    /// Acknowledged in this epoch.
    signed: Wei,
    /// Booked when both sides last agreed.
    agreed: Wei,
    sequence: u64,
    paid: Wei,
    recent: Recent,
    notices: BTreeMap<B256, Notice>,
    pub(super) circuits: Circuits,
    owed: Option<Owed>,
    /// Receipts and notices take turns: a slot holds one of them.
    noticed: bool,
    question: Option<Question>,
    /// Whether the hop was asked to end this epoch.
    reopening: bool,
    /// Whether it was ever asked to.
    reopened: bool,
    disputes: u32,
    disputing: bool,
    credit: Option<Wei>,
    /// When a circuit last ended.
    ended_at: Option<Duration>,
    pub(super) touched: Duration,
}

/// What is kept of an account that nobody uses.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) books: HopBooks,
    agreed: Wei,
    reopened: bool,
    reopening: bool,
    circuits: Circuits,
    ended_at: Option<Duration>,
    touched: Duration,
}

impl Shelve for Account {
    type Kept = Kept;

    fn put_by(self) -> Kept {
        Kept {
            books: self.books(),
            agreed: self.agreed,
            reopened: self.reopened,
            reopening: self.reopening,
            circuits: self.circuits,
            ended_at: self.ended_at,
            touched: self.touched,
        }
    }

    fn take_up(kept: Kept) -> Self {
        let credit = kept.books.credit;
        let mut account = Self::new(kept.books.hop).with_books(kept.books);
        account.credit = credit;
        account.agreed = kept.agreed;
        account.reopened = kept.reopened;
        account.reopening = kept.reopening;
        account.circuits = kept.circuits;
        account.ended_at = kept.ended_at;
        account.touched = kept.touched;
        account
    }

    fn in_use(&self) -> bool {
        !self.circuits.is_empty()
    }

    /// What is owed is the ledger's matter, and a hop that was forgotten is asked to take out what
    /// was acknowledged. What was prepaid or is being announced is known here only.
    fn holds_money(&self) -> bool {
        self.paid > self.booked || !self.notices.is_empty() || self.disputing
    }

    fn touched(&self) -> Duration {
        self.touched
    }
}

impl Account {
    pub(super) fn new(hop: NodeKey) -> Self {
        Self {
            hop,
            epoch: 0,
            base: 0,
            booked: 0,
            signed: 0,
            agreed: 0,
            sequence: 0,
            paid: 0,
            recent: Recent::default(),
            notices: BTreeMap::new(),
            circuits: Circuits::default(),
            owed: None,
            noticed: false,
            question: None,
            reopening: false,
            reopened: false,
            disputes: 0,
            disputing: false,
            credit: None,
            ended_at: None,
            touched: Duration::ZERO,
        }
    }

    /// Takes up an account from the store.
    pub(super) fn restore(now: Now, books: HopBooks) -> Self {
        let mut account = Self::new(books.hop).with_books(books);
        // What was open then has ended, and what was said then may still be on its way.
        account.ended_at = Some(now.mono);
        account.touched = now.mono;
        account.circuits.restarted();
        account
    }

    fn with_books(mut self, books: HopBooks) -> Self {
        self.epoch = books.epoch;
        self.base = books.base.min(books.booked);
        self.booked = books.booked;
        // A receipt may have left that the last second's books do not cover.
        self.signed = books.signed.min(self.own());
        self.agreed = books.booked;
        self.sequence = books.sequence;
        self.paid = books.paid;
        self.disputes = books.disputes;
        self.disputing = books.disputing;
        let unconfirmed = books.unconfirmed.into_iter().take(MAX_NOTICES);
        self.notices = unconfirmed
            .map(|(transaction, amount)| {
                let state = PaymentState::Unknown;
                let say_at = Duration::ZERO;
                let notice = Notice {
                    amount,
                    say_at,
                    state,
                };
                (transaction, notice)
            })
            .collect();
        self.recent = Recent::restore(books.counted);
        self
    }

    pub(super) fn books(&self) -> HopBooks {
        HopBooks {
            hop: self.hop,
            epoch: self.epoch,
            base: self.base,
            booked: self.booked,
            signed: self.signed,
            sequence: self.sequence,
            paid: self.paid,
            unconfirmed: self.notices.iter().map(|(t, n)| (*t, n.amount)).collect(),
            counted: self.recent.list(),
            credit: self.credit,
            disputes: self.disputes,
            disputing: self.disputing,
        }
    }

    /// Whether its last statement claimed too much.
    pub(super) fn is_disputing(&self) -> bool {
        self.disputing
    }

    /// What this epoch's statements are held against.
    fn own(&self) -> Wei {
        self.booked.saturating_sub(self.base)
    }

    fn tolerance(&self) -> Wei {
        let since = self.booked.saturating_sub(self.agreed);
        self.circuits
            .tolerance()
            .saturating_add(since / TOLERATED_PART)
    }

    /// One more circuit. Its rates are what this node chose to authorise, so what may be in flight
    /// is priced at them.
    pub(super) fn open(&mut self, circuit: CircuitRef, terms: Terms) -> bool {
        let flight = in_flight(&terms.rates, terms.service);
        let opened = self.circuits.open(circuit, terms, flight);
        if opened {
            self.circuits.expect(flight);
        }
        opened
    }

    pub(super) fn count(&mut self, circuit: &CircuitRef, usage: Usage) {
        let counted = self.circuits.count(circuit, usage);
        self.booked = self.booked.saturating_add(counted.more);
    }

    pub(super) fn end(&mut self, now: Now, circuit: &CircuitRef, clean: bool) {
        if self.circuits.end(circuit, clean) {
            self.ended_at = Some(now.mono);
        }
    }

    pub(super) fn hear(&mut self, now: Now, message: Message, out: &mut Vec<Output>) {
        let hop = self.hop;
        match message {
            Message::Statement(statement) => self.take_statement(now, &statement, out),
            Message::Answer(answer) => self.take_answer(now, &answer, out),
            Message::Refusal(refusal) if refusal.reason == Reason::Nothing => {}
            Message::Refusal(refusal) => out.push(Output::Event(Event::Refused { hop, refusal })),
            Message::Receipt(_) | Message::Notice(_) | Message::Question(_) => {}
        }
    }

    fn take_statement(&mut self, now: Now, statement: &Statement, out: &mut Vec<Output>) {
        if statement.epoch < self.epoch
            || (statement.epoch == self.epoch && statement.sequence <= self.sequence)
        {
            return;
        }
        if statement.epoch > self.epoch {
            self.begin_epoch(statement.epoch);
        }
        self.sequence = statement.sequence;
        self.credit = Some(statement.credit);
        let ended = self.ended(now, statement);
        let most = |own: Wei| own.saturating_add(self.circuits.missed());
        if self.is_unknown() && ended.is_some_and(|(stated, own)| stated > most(own)) {
            self.ask_to_reopen();
        }
        if statement.total > self.own().saturating_add(self.tolerance()) {
            self.dispute(statement, out);
        } else if std::mem::take(&mut self.disputing) {
            let hop = self.hop;
            out.push(Output::Event(Event::Reconciled { hop }));
        }
        out.push(Output::Speak(Party::Hop(self.hop)));
        if self.question == Some(Question::Reopen) {
            // What is acknowledged now would be asked for again in the new epoch if the
            // receipt were lost.
            self.owed = None;
            return;
        }
        let settled = ended.map(|ended| self.settle(ended, out));
        let total = self.signed.max(self.own().min(statement.total));
        self.owed = Some(Owed {
            epoch: self.epoch,
            sequence: self.sequence,
            total,
            settled: settled.map(|settled| settled.min(total)),
        });
    }

    /// What was acknowledged stays with the old epoch: it is never acknowledged a second time.
    /// Where it is the hop that began anew, it had been paid for everything.
    fn begin_epoch(&mut self, epoch: u32) {
        self.base = self.base.saturating_add(self.signed);
        let asked = std::mem::take(&mut self.reopening);
        if self.epoch != 0 && !asked {
            self.base = self.base.max(self.paid.min(self.booked));
        }
        self.epoch = epoch;
        self.signed = 0;
        self.sequence = 0;
        self.owed = None;
    }

    /// An account that was forgotten here, or never known.
    fn is_unknown(&self) -> bool {
        self.base == 0 && self.signed == 0 && self.agreed == 0
    }

    /// The hop is asked to take out what is paid before it is called a liar; once.
    fn ask_to_reopen(&mut self) {
        if !std::mem::replace(&mut self.reopened, true) {
            self.reopening = true;
            self.question = Some(Question::Reopen);
        }
    }

    fn dispute(&mut self, statement: &Statement, out: &mut Vec<Output>) {
        let hop = self.hop;
        if self.is_unknown() {
            self.ask_to_reopen();
        }
        if self.question == Some(Question::Reopen) {
            return;
        }
        self.disputes = self.disputes.saturating_add(1);
        self.disputing = true;
        out.push(Output::Event(Event::Disputed {
            hop,
            stated: statement.total,
            booked: self.own(),
            times: self.disputes,
        }));
    }

    /// What both sides have for circuits that have ended, the hop's first, where that can be
    /// told apart.
    fn ended(&self, now: Now, statement: &Statement) -> Option<(Wei, Wei)> {
        // A statement from before the last circuit ended does not count the same circuits.
        let fresh = |at: Duration| now.mono.saturating_sub(at) <= MESSAGE_LIFE;
        if self.ended_at.is_some_and(fresh) {
            return None;
        }
        let name = statement.circuit.map(|in_use| in_use.circuit);
        let stated_on_it = match statement.circuit {
            // `None` where it has ended here, and not yet at the hop.
            Some(in_use) => {
                let terms = self.circuits.terms(&in_use.circuit)?;
                terms.price(in_use.usage)
            }
            None => 0,
        };
        if statement.others > 0 || self.circuits.others(name.as_ref()) > 0 {
            return None;
        }
        let on_it = name.map_or(0, |name| self.circuits.cost(&name));
        Some((
            statement.total.saturating_sub(stated_on_it),
            self.own().saturating_sub(on_it),
        ))
    }

    /// What of ended circuits is acknowledged. What the hop does not ask for
    /// after circuits broke is taken out of the books.
    fn settle(&mut self, (stated, own): (Wei, Wei), out: &mut Vec<Output>) -> Wei {
        if stated > own {
            return own;
        }
        let gap = own - stated;
        let broken = self.circuits.broken();
        if gap > self.circuits.residue(broken) {
            return stated;
        }
        // Never below what was signed already; the rest comes when more was carried.
        let whole = gap;
        let gap = gap.min(self.own().saturating_sub(self.signed));
        self.booked = self.booked.saturating_sub(gap);
        self.agreed = self.booked;
        if gap == whole {
            self.circuits.agree(broken);
        }
        if gap > 0 {
            let hop = self.hop;
            out.push(Output::Event(Event::Adjusted { hop, amount: gap }));
        }
        stated
    }

    fn take_answer(&mut self, now: Now, answer: &NoticeAnswer, out: &mut Vec<Output>) {
        self.credit = Some(answer.credit);
        let Some(notice) = self.notices.get_mut(&answer.transaction) else {
            return;
        };
        let changed = notice.state != answer.state;
        notice.state = answer.state;
        match answer.state {
            PaymentState::Unknown => notice.say_at = now.mono + NOTICE_RETRY,
            PaymentState::Provisional => notice.say_at = now.mono + PROVISIONAL_RETRY,
            PaymentState::Final | PaymentState::Mismatch => {
                self.notices.remove(&answer.transaction);
            }
        }
        if changed {
            out.push(Output::Event(Event::PaymentSeen {
                hop: self.hop,
                transaction: answer.transaction,
                state: answer.state,
            }));
        }
    }

    /// A statement is wanted now.
    pub(super) fn ask(&mut self, out: &mut Vec<Output>) {
        self.question.get_or_insert(Question::Statement);
        out.push(Output::Speak(Party::Hop(self.hop)));
    }

    /// What became of a payment of this node's own.
    pub(super) fn pay(
        &mut self,
        now: Now,
        (transaction, amount): (B256, Wei),
        payment: Payment,
        out: &mut Vec<Output>,
    ) {
        match payment {
            Payment::Included => {
                if self.notices.len() >= MAX_NOTICES || self.recent.contains(&transaction) {
                    // The hop sees it on the chain all the same, only later.
                    return;
                }
                self.notices.entry(transaction).or_insert(Notice {
                    amount,
                    say_at: now.mono,
                    state: PaymentState::Unknown,
                });
                out.push(Output::Speak(Party::Hop(self.hop)));
            }
            Payment::Final if !self.recent.contains(&transaction) => {
                self.paid = self.paid.saturating_add(amount);
                self.recent.push(transaction);
            }
            Payment::Final => {}
            Payment::Gone => {
                self.notices.remove(&transaction);
            }
        }
    }

    /// What to say to the hop next, if anything.
    pub(super) fn say(
        &mut self,
        now: Now,
        domain: &Domain,
        signer: Option<&dyn Signer>,
        out: &mut Vec<Output>,
    ) -> Option<Message> {
        let said = self.next(now, domain, signer, out);
        let due = self.notices.values().any(|n| n.say_at <= now.mono);
        if said.is_some() && (due || self.owed.is_some() || self.question.is_some()) {
            out.push(Output::Speak(Party::Hop(self.hop)));
        }
        said
    }

    fn next(
        &mut self,
        now: Now,
        domain: &Domain,
        signer: Option<&dyn Signer>,
        out: &mut Vec<Output>,
    ) -> Option<Message> {
        let other = self.owed.is_some() || self.question.is_some();
        let turn = !std::mem::take(&mut self.noticed) || !other;
        let due = self.notices.iter_mut().find(|(_, n)| n.say_at <= now.mono);
        if let Some((transaction, notice)) = due.filter(|_| turn) {
            self.noticed = true;
            notice.say_at = now.mono + NOTICE_RETRY;
            return Some(Message::Notice(PaymentNotice {
                transaction: *transaction,
                amount: notice.amount,
            }));
        }
        if let Some(question) = self.question.take() {
            return Some(Message::Question(question));
        }
        let owed = self.owed?;
        let signer = signer?;
        let at = (owed.epoch, owed.sequence);
        let amounts = (owed.total, owed.settled);
        let digest = receipt_digest(domain, &signer.address(), &self.hop, at, amounts);
        let signature = match CanonicalSignature::sign(signer, &digest) {
            Ok(signature) => signature,
            Err(error) => {
                // It stays owed, and is tried again when there is occasion to speak.
                out.push(Output::Event(Event::Unsigned { error }));
                return None;
            }
        };
        self.owed = None;
        self.signed = self.signed.max(owed.total);
        let (hop, total) = (self.hop, owed.total);
        out.push(Output::Event(Event::Signed { hop, total }));
        Some(Message::Receipt(Receipt {
            epoch: owed.epoch,
            sequence: owed.sequence,
            total: owed.total,
            settled: owed.settled,
            signature,
        }))
    }

    /// When to wake up; `None` when there is nothing to wake up for.
    pub(super) fn due(&self) -> Option<Duration> {
        self.notices.values().map(|n| n.say_at).min()
    }

    pub(super) fn on_timeout(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.notices.values().any(|n| n.say_at <= now.mono) {
            out.push(Output::Speak(Party::Hop(self.hop)));
        }
    }
}
