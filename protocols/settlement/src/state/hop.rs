//! The hop's side: what payers owe this node.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use alloy_primitives::{Address, B256};

use super::accounts::Shelve;
use super::circuits::{Broken, Circuits, Recent, Terms, in_flight};
use super::limits::{
    LOOKUP_EVERY, LOOKUP_MOST, MAX_NOTICES, MAX_OFFERS, MAX_PROVISIONAL, NOTICE_LIFE, REOPEN_EVERY,
    STATEMENT_EVERY, TOLERATED_PART,
};
use super::{Event, Found, Now, Output, Party, PayerBooks, ReceiptFault};
use crate::bucket::TokenBucket;
use crate::eip712::Domain;
use crate::key::{CircuitRef, NodeKey};
use crate::message::{
    CircuitUse, Message, NoticeAnswer, PaymentNotice, PaymentState, Question, Receipt, Statement,
};
use crate::rates::{RatePack, Service, Usage, Wei};
use crate::refusal::{Reason, Refusal};

/// A statement that a receipt may still answer.
#[derive(Debug, Clone, Copy)]
struct Offer {
    sequence: u64,
    /// What it said of circuits that had ended; only where no other circuit was open.
    ended: Option<Wei>,
    /// Broken circuits that went into it.
    broken: Broken,
}

/// A payment that was announced.
#[derive(Debug, Clone, Copy)]
struct Notice {
    amount: Wei,
    since: Duration,
    look_at: Duration,
    /// How long after that to look again.
    pause: Duration,
    state: PaymentState,
    credited: Wei,
    unanswered: bool,
}

/// What one payer owes.
#[derive(Debug)]
pub(super) struct Account {
    payer: Address,
    epoch: u32,
    /// What was booked before the epoch.
    base: Wei,
    /// Price of everything carried, less what was written off.
    booked: Wei,
    sequence: u64,
    signed: Option<Receipt>,
    written_off: Wei,
    final_credit: Wei,
    provisional: BTreeMap<B256, Wei>,
    recent: Recent,
    notices: BTreeMap<B256, Notice>,
    limit: Wei,
    over_limit: bool,
    pub(super) circuits: Circuits,
    offers: VecDeque<Offer>,
    /// Statements and answers take turns: a slot holds one of them.
    answered: bool,
    refusal: Option<Refusal>,
    reopened: Option<Duration>,
    pub(super) linked: bool,
    /// Booked when it was last stated over a direct link, and when to do so again.
    stated: (Wei, Duration),
    pub(super) touched: Duration,
}

/// What is kept of an account that nobody uses.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) books: PayerBooks,
    circuits: Circuits,
    touched: Duration,
}

impl Shelve for Account {
    type Kept = Kept;

    /// A notice is forgotten: what it announces is found on the chain without it.
    fn put_by(self) -> Kept {
        Kept {
            books: self.books(),
            circuits: self.circuits,
            touched: self.touched,
        }
    }

    fn take_up(kept: Kept) -> Self {
        let Kept {
            books,
            circuits,
            touched,
        } = kept;
        let rates = RatePack::default();
        let mut account = Self::new(books.payer, books.epoch, books.limit, &rates);
        account.circuits = circuits;
        account.touched = touched;
        account.with_books(books)
    }

    fn in_use(&self) -> bool {
        !self.circuits.is_empty() || self.linked
    }

    fn holds_money(&self) -> bool {
        let paid = self.final_credit > 0 || !self.provisional.is_empty();
        let settled = self.booked == self.final_credit && self.provisional.is_empty();
        paid && !settled
    }

    fn touched(&self) -> Duration {
        self.touched
    }
}

impl Account {
    /// `rates` are this node's own.
    pub(super) fn new(payer: Address, epoch: u32, limit: Wei, rates: &RatePack) -> Self {
        // The lower one: a node that is no exit may ask anything for being one.
        let least = [Service::Routing, Service::Exit].map(|service| in_flight(rates, service));
        let least = least.into_iter().min().unwrap_or(0);
        Self {
            payer,
            epoch,
            base: 0,
            booked: 0,
            sequence: 0,
            signed: None,
            written_off: 0,
            final_credit: 0,
            provisional: BTreeMap::new(),
            recent: Recent::default(),
            notices: BTreeMap::new(),
            limit,
            over_limit: false,
            circuits: Circuits::new(least),
            offers: VecDeque::new(),
            answered: false,
            refusal: None,
            reopened: None,
            linked: false,
            stated: (0, Duration::ZERO),
            touched: Duration::ZERO,
        }
    }

    /// Takes up an account from the store.
    pub(super) fn restore(books: PayerBooks, rates: &RatePack) -> Self {
        let mut account = Self::new(books.payer, books.epoch, books.limit, rates);
        account.circuits.restarted();
        account.with_books(books)
    }

    fn with_books(mut self, books: PayerBooks) -> Self {
        self.base = books.base.min(books.booked);
        self.booked = books.booked;
        self.sequence = books.sequence;
        self.signed = books.signed;
        self.written_off = books.written_off;
        self.final_credit = books.final_credit;
        let provisional = books.provisional.into_iter().take(MAX_PROVISIONAL);
        self.provisional = provisional.collect();
        self.recent = Recent::restore(books.counted);
        self
    }

    pub(super) fn payer(&self) -> Address {
        self.payer
    }

    pub(super) fn books(&self) -> PayerBooks {
        PayerBooks {
            payer: self.payer,
            epoch: self.epoch,
            base: self.base,
            booked: self.booked,
            sequence: self.sequence,
            signed: self.signed,
            written_off: self.written_off,
            final_credit: self.final_credit,
            provisional: self.provisional.iter().map(|(t, a)| (*t, *a)).collect(),
            counted: self.recent.list(),
            limit: self.limit,
        }
    }

    fn total(&self) -> Wei {
        self.booked.saturating_sub(self.base)
    }

    fn credited(&self) -> Wei {
        // More than all tokens there are would be needed to saturate it.
        self.provisional
            .values()
            .fold(self.final_credit, |sum, amount| sum.saturating_add(*amount))
    }

    /// Written off beyond what an honest payer loses: no debt, and no free service either.
    fn excess(&self) -> Wei {
        let signed = self.signed.map_or(0, |receipt| receipt.total);
        // A receipt may run ahead of what was carried, and buys nothing by that.
        let signed = signed.min(self.booked);
        let allowed = self.circuits.largest();
        let allowed = allowed.saturating_add(signed / TOLERATED_PART);
        self.written_off.saturating_sub(allowed)
    }

    fn used(&self) -> Wei {
        self.booked.saturating_add(self.excess())
    }

    /// How much more this payer is served for.
    fn credit(&self) -> Wei {
        self.limit
            .saturating_add(self.credited())
            .saturating_sub(self.used())
    }

    /// One more circuit. What it may have in flight is priced at this node's own `rates`, and never
    /// at those that the payer chose, where they are higher.
    pub(super) fn admit(
        &mut self,
        circuit: CircuitRef,
        terms: Terms,
        rates: &RatePack,
    ) -> Result<(), Refusal> {
        if self.credit() == 0 {
            let room = self.limit.saturating_add(self.credited());
            return Err(Refusal {
                reason: Reason::OverLimit,
                figure: self.used().saturating_sub(room).saturating_add(1),
            });
        }
        let flight = in_flight(rates, terms.service).min(in_flight(&terms.rates, terms.service));
        if self.circuits.open(circuit, terms, flight) {
            Ok(())
        } else {
            Err(Reason::NoRoom.into())
        }
    }

    pub(super) fn set_limit(&mut self, limit: Wei) {
        self.limit = limit;
        self.over_limit &= self.credit() == 0;
    }

    pub(super) fn count(&mut self, circuit: &CircuitRef, usage: Usage, out: &mut Vec<Output>) {
        let counted = self.circuits.count(circuit, usage);
        self.booked = self.booked.saturating_add(counted.more);
        let (payer, circuit) = (self.payer, *circuit);
        if counted.over_spend {
            out.push(Output::Event(Event::OverSpend { payer, circuit }));
        }
        if counted.more > 0 && self.credit() == 0 && !self.over_limit {
            self.over_limit = true;
            let broke = self.excess();
            out.push(Output::Event(Event::OverLimit { payer, broke }));
        }
    }

    pub(super) fn hear(
        &mut self,
        now: Now,
        message: Message,
        (domain, me): (&Domain, &NodeKey),
        strangers: &mut TokenBucket,
        out: &mut Vec<Output>,
    ) {
        match message {
            Message::Receipt(receipt) => {
                if let Err(fault) = self.take_receipt(receipt, domain, me, out)
                    && fault != ReceiptFault::Stale
                {
                    let payer = self.payer;
                    out.push(Output::Event(Event::BadReceipt { payer, fault }));
                }
            }
            Message::Notice(notice) => self.take_notice(now, notice, strangers, out),
            Message::Question(Question::Reopen) => self.reopen(now),
            // Whatever is said, the answer is a statement.
            Message::Question(Question::Statement)
            | Message::Refusal(_)
            | Message::Statement(_)
            | Message::Answer(_) => {}
        }
    }

    /// The cheap checks come first, the signature last.
    fn take_receipt(
        &mut self,
        receipt: Receipt,
        domain: &Domain,
        me: &NodeKey,
        out: &mut Vec<Output>,
    ) -> Result<(), ReceiptFault> {
        if receipt.epoch != self.epoch {
            return Err(ReceiptFault::Stale);
        }
        if let Some(last) = &self.signed
            && last.epoch == self.epoch
        {
            if receipt.sequence <= last.sequence {
                return Err(ReceiptFault::Stale);
            }
            if receipt.total < last.total {
                return Err(ReceiptFault::Falling);
            }
        }
        if receipt.sequence > self.sequence {
            return Err(ReceiptFault::Unasked);
        }
        let most = self.total().saturating_add(self.written_off);
        let most = most.saturating_add(self.circuits.tolerance());
        let most = most.saturating_add(self.total() / TOLERATED_PART);
        if receipt.total > most
            || receipt
                .settled
                .is_some_and(|settled| settled > receipt.total)
        {
            return Err(ReceiptFault::TooMuch);
        }
        if !receipt.is_of(domain, &self.payer, me) {
            return Err(ReceiptFault::Signature);
        }
        self.signed = Some(receipt);
        let (payer, total) = (self.payer, receipt.total);
        out.push(Output::Event(Event::Acknowledged { payer, total }));
        self.recover(&receipt, out);
        self.settle(&receipt, out);
        Ok(())
    }

    /// A payer may acknowledge what was written off meanwhile, its receipt having been under way:
    /// then it is owed after all.
    fn recover(&mut self, receipt: &Receipt, out: &mut Vec<Output>) {
        let amount = receipt.total.saturating_sub(self.total());
        let amount = amount.min(self.written_off);
        if amount > 0 {
            self.booked = self.booked.saturating_add(amount);
            self.written_off = self.written_off.saturating_sub(amount);
            let payer = self.payer;
            out.push(Output::Event(Event::Recovered { payer, amount }));
        }
    }

    /// What circuits that broke are worth beyond what the payer acknowledges is written off.
    fn settle(&mut self, receipt: &Receipt, out: &mut Vec<Output>) {
        let answered = |offer: &&Offer| offer.sequence == receipt.sequence;
        let Some(offer) = self.offers.iter().find(answered).copied() else {
            return;
        };
        let (Some(ended), Some(settled)) = (offer.ended, receipt.settled) else {
            return;
        };
        let short = ended.saturating_sub(settled);
        let payer = self.payer;
        if short > self.circuits.residue(offer.broken) {
            out.push(Output::Event(Event::Disowned {
                payer,
                amount: short,
            }));
            return;
        }
        // Offers of before knew of the same residue: none of them may write it off again.
        self.offers.clear();
        // Never below what was acknowledged; the rest comes when more was carried.
        let whole = short;
        let short = short.min(self.total().saturating_sub(receipt.total));
        if short == whole {
            self.circuits.agree(offer.broken);
        }
        if short > 0 {
            self.booked = self.booked.saturating_sub(short);
            self.written_off = self.written_off.saturating_add(short);
            // Whoever counts by debts alone sees new credit now: where it is used up again, he is
            // told again.
            self.over_limit = false;
            out.push(Output::Event(Event::WrittenOff {
                payer,
                amount: short,
            }));
        }
    }

    /// Whether to look for a payment now. Who has paid before may always have it looked for; for
    /// all others together there is so much time.
    fn may_look(&self, now: Now, strangers: &mut TokenBucket) -> bool {
        self.final_credit > 0 || strangers.take(now.mono)
    }

    fn take_notice(
        &mut self,
        now: Now,
        notice: PaymentNotice,
        strangers: &mut TokenBucket,
        out: &mut Vec<Output>,
    ) {
        let transaction = notice.transaction;
        if let Some(known) = self.notices.get_mut(&transaction) {
            known.unanswered = true;
            return;
        }
        if self.notices.len() >= MAX_NOTICES {
            self.refusal = Some(Reason::TooOften.into());
            return;
        }
        let state = if self.recent.contains(&transaction) {
            PaymentState::Final
        } else {
            PaymentState::Unknown
        };
        self.notices.insert(
            transaction,
            Notice {
                amount: notice.amount,
                since: now.mono,
                look_at: now.mono + LOOKUP_EVERY,
                pause: LOOKUP_EVERY * 2,
                state,
                // That it was counted is remembered, how much it was is not.
                credited: if state == PaymentState::Final {
                    notice.amount
                } else {
                    0
                },
                unanswered: true,
            },
        );
        if state == PaymentState::Unknown && self.may_look(now, strangers) {
            let payer = self.payer;
            out.push(Output::LookUp { payer, transaction });
        }
    }

    /// A new epoch begins with what is neither paid for nor acknowledged.
    fn reopen(&mut self, now: Now) {
        let lately = |at: Duration| now.mono.saturating_sub(at) < REOPEN_EVERY;
        if self.reopened.is_some_and(lately) {
            return;
        }
        self.reopened = Some(now.mono);
        let acknowledged = self.signed.filter(|r| r.epoch == self.epoch);
        let acknowledged = acknowledged.map_or(0, |r| r.total.min(self.total()));
        let paid = self.booked.min(self.final_credit);
        self.base = self.base.saturating_add(acknowledged).max(paid);
        self.epoch = u32::try_from(now.unix)
            .unwrap_or(u32::MAX)
            .max(self.epoch.saturating_add(1));
        self.offers.clear();
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What the chain shows of a transaction.
    pub(super) fn chain(&mut self, transaction: B256, found: Found, out: &mut Vec<Output>) {
        let payer = self.payer;
        let before = self.credited();
        let credited = match found {
            Found::Provisional(_) | Found::Final(_) if self.recent.contains(&transaction) => {
                return;
            }
            Found::Provisional(amount) => {
                let known = self.provisional.contains_key(&transaction);
                if !known && self.provisional.len() >= MAX_PROVISIONAL {
                    // It will be credited once it is final.
                    return;
                }
                self.provisional.insert(transaction, amount);
                amount
            }
            Found::Final(amount) => {
                self.provisional.remove(&transaction);
                self.final_credit = self.final_credit.saturating_add(amount);
                self.recent.push(transaction);
                amount
            }
            Found::Unknown | Found::Mismatch => {
                if let Some(amount) = self.provisional.remove(&transaction) {
                    out.push(Output::Event(Event::TakenBack { payer, amount }));
                }
                0
            }
        };
        self.over_limit &= self.credit() == 0;
        if self.credited() != before || matches!(found, Found::Final(_)) {
            out.push(Output::Event(Event::Credited {
                payer,
                provisional: self.credited().saturating_sub(self.final_credit),
                final_credit: self.final_credit,
            }));
        }
        self.update_notice(transaction, found, credited, out);
    }

    fn update_notice(
        &mut self,
        transaction: B256,
        found: Found,
        credited: Wei,
        out: &mut Vec<Output>,
    ) {
        let Some(notice) = self.notices.get_mut(&transaction) else {
            return;
        };
        let state = match found {
            Found::Unknown => PaymentState::Unknown,
            Found::Mismatch => PaymentState::Mismatch,
            Found::Provisional(amount) | Found::Final(amount) if amount != notice.amount => {
                PaymentState::Mismatch
            }
            Found::Provisional(_) => PaymentState::Provisional,
            Found::Final(_) => PaymentState::Final,
        };
        let settled = matches!(found, Found::Final(_) | Found::Mismatch);
        if settled {
            // Answered once more, then forgotten.
            notice.look_at = Duration::MAX;
        }
        if (state, credited) != (notice.state, notice.credited) || settled {
            notice.state = state;
            notice.credited = credited;
            notice.unanswered = true;
            out.push(Output::Speak(Party::Payer(self.payer)));
        }
    }

    /// What to say to the payer next; there is always something.
    pub(super) fn say(
        &mut self,
        now: Now,
        circuit: Option<&CircuitRef>,
        out: &mut Vec<Output>,
    ) -> Message {
        let said = self.next(now, circuit);
        if self.refusal.is_some() || self.notices.values().any(|n| n.unanswered) {
            out.push(Output::Speak(Party::Payer(self.payer)));
        }
        said
    }

    fn next(&mut self, now: Now, circuit: Option<&CircuitRef>) -> Message {
        let turn = !std::mem::take(&mut self.answered);
        let due = self.notices.iter_mut().find(|(_, n)| n.unanswered);
        if let Some((transaction, notice)) = due.filter(|_| turn) {
            self.answered = true;
            notice.unanswered = false;
            let (transaction, state, credited) = (*transaction, notice.state, notice.credited);
            if matches!(state, PaymentState::Final | PaymentState::Mismatch) {
                self.notices.remove(&transaction);
            }
            return Message::Answer(NoticeAnswer {
                transaction,
                state,
                credited,
                credit: self.credit(),
            });
        }
        if let Some(refusal) = self.refusal.take() {
            return Message::Refusal(refusal);
        }
        Message::Statement(self.state(now, circuit))
    }

    fn state(&mut self, now: Now, circuit: Option<&CircuitRef>) -> Statement {
        // So it grows across a restart although it is not stored each time.
        let clock = now.unix.saturating_mul(1 << 20);
        self.sequence = self.sequence.saturating_add(1).max(clock);
        let in_use = circuit.and_then(|circuit| {
            let usage = self.circuits.usage(circuit)?;
            let circuit = *circuit;
            Some(CircuitUse { circuit, usage })
        });
        let others = self.circuits.others(circuit);
        let on_it = in_use.map_or(0, |in_use| self.circuits.cost(&in_use.circuit));
        if self.offers.len() >= MAX_OFFERS {
            self.offers.pop_front();
        }
        self.offers.push_back(Offer {
            sequence: self.sequence,
            ended: (others == 0).then(|| self.total().saturating_sub(on_it)),
            broken: self.circuits.broken(),
        });
        self.stated = (self.booked, now.mono);
        Statement {
            epoch: self.epoch,
            sequence: self.sequence,
            circuit: in_use,
            total: self.total(),
            credit: self.credit(),
            others: u16::try_from(others).unwrap_or(u16::MAX),
        }
    }

    /// When to wake up; `None` when there is nothing to wake up for.
    pub(super) fn due(&self) -> Option<Duration> {
        let notices = self.notices.values().map(|n| {
            let end = n.since.saturating_add(NOTICE_LIFE);
            n.look_at.min(end)
        });
        let acknowledged = self.signed.filter(|r| r.epoch == self.epoch);
        let open = acknowledged.map(|r| r.total) != Some(self.total()) && self.total() > 0;
        let new = self.stated.0 != self.booked || open;
        let statement = (self.linked && new).then(|| self.stated.1 + STATEMENT_EVERY);
        notices.chain(statement).min()
    }

    pub(super) fn on_timeout(
        &mut self,
        now: Now,
        strangers: &mut TokenBucket,
        out: &mut Vec<Output>,
    ) {
        let payer = self.payer;
        self.notices
            .retain(|_, n| now.mono < n.since.saturating_add(NOTICE_LIFE));
        let mut due = Vec::new();
        for (transaction, notice) in &mut self.notices {
            if notice.look_at <= now.mono {
                // Also where nobody looks: whoever is many must not crowd out others for long.
                notice.look_at = now.mono + notice.pause;
                notice.pause = (notice.pause * 2).min(LOOKUP_MOST);
                due.push(*transaction);
            }
        }
        for transaction in due {
            if self.may_look(now, strangers) {
                out.push(Output::LookUp { payer, transaction });
            }
        }
        if self.linked && self.stated.1 + STATEMENT_EVERY <= now.mono {
            self.stated.1 = now.mono;
            out.push(Output::Speak(Party::Payer(payer)));
        }
    }
}
