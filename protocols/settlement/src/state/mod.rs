//! The books of both sides as a pure machine: what payers owe this node, and what it owes hops.
//!
//! Order of calls: any input ([`Machine::handle`], [`Machine::admit`], [`Machine::open`],
//! [`Machine::say`], [`Machine::on_timeout`]), then [`Machine::poll_output`] until there is
//! nothing more, then [`Machine::poll_timeout`]. Nothing here waits, and time is told.
//!
//! Amounts are kept per account: at the hop by payer, at the payer by hop. An account is opened
//! with the first circuit (or the first payment). When room is needed the one that was used
//! longest ago is put by, and taken up again as it was when its other side comes back; an account
//! is forgotten only where far too many are put by and there is no money in it. The host stores
//! accounts ([`Machine::take_changed`]), whether in use or put by, and restores them at its start.

mod accounts;
mod circuits;
mod event;
mod hop;
pub mod limits;
mod payer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256};

use self::accounts::{Accounts, Timers};
pub use self::circuits::Terms;
pub use self::event::{Event, HopBooks, PayerBooks, ReceiptFault};
use crate::bucket::TokenBucket;
use crate::eip712::{Domain, Signer};
use crate::key::{CircuitRef, NodeKey};
use crate::message::Message;
use crate::rates::{RatePack, Usage, Wei};
use crate::refusal::{Reason, Refusal};

/// The present moment on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since some fixed moment; never goes back.
    pub mono: Duration,
    /// Seconds since 1970.
    pub unix: u64,
}

/// The other side of an account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// Somebody who owes this node.
    Payer(Address),
    /// Somebody whom this node owes.
    Hop(NodeKey),
}

impl fmt::Debug for Party {
    /// Without the wallet: logs show none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payer(_) => f.write_str("Payer(..)"),
            Self::Hop(hop) => f.debug_tuple("Hop").field(hop).finish(),
        }
    }
}

/// What the books are kept in, and their bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// Chain and token.
    pub domain: Domain,
    /// This node's own key: receipts for it name it.
    pub node: NodeKey,
    /// What a payer is served for before it has paid anything, in wei, unless
    /// [`Input::Limit`] says otherwise.
    pub start_limit: Wei,
    /// What this node itself asks for: what circuits may have in flight is priced at it, so that
    /// no payer says how much it need not acknowledge. Zeros at a node that nobody pays.
    pub rates: RatePack,
    /// Accounts of payers in use (default [`limits::MAX_PAYERS`]).
    pub max_payers: usize,
    /// … and put by (default [`limits::SHELVED_PAYERS`]).
    pub shelved_payers: usize,
    /// Accounts of hops in use (default [`limits::MAX_HOPS`]).
    pub max_hops: usize,
    /// … and put by (default [`limits::SHELVED_HOPS`]).
    pub shelved_hops: usize,
}

impl Config {
    /// With the default bounds.
    pub fn new(domain: Domain, node: NodeKey, start_limit: Wei, rates: RatePack) -> Self {
        Self {
            domain,
            node,
            start_limit,
            rates,
            max_payers: limits::MAX_PAYERS,
            shelved_payers: limits::SHELVED_PAYERS,
            max_hops: limits::MAX_HOPS,
            shelved_hops: limits::SHELVED_HOPS,
        }
    }
}

/// What the chain shows of a transaction that may pay this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or nothing any more: a provisional credit is taken back.
    Unknown,
    /// It is there, and brings nothing from this payer to this node.
    Mismatch,
    /// In a block: brings so much for now.
    Provisional(Wei),
    /// Final: brings so much. To be said once per transaction, by whoever keeps that durably.
    Final(Wei),
}

/// What became of a payment of this node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// In a block: the hop is told.
    Included,
    /// Final. To be said once per transaction.
    Final,
    /// It will not come, or not so.
    Gone,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A circuit's counters, from its beginning on. For one that is not open it does nothing.
    Carried {
        /// Who pays or is paid for it.
        who: Party,
        /// Which.
        circuit: CircuitRef,
        /// What it has carried so far.
        usage: Usage,
    },
    /// A circuit has ended; its last counters come with it.
    Ended {
        /// Who pays or is paid for it.
        who: Party,
        /// Which.
        circuit: CircuitRef,
        /// What it has carried.
        usage: Usage,
        /// Whether in good order, so that both sides have counted the same.
        clean: bool,
    },
    /// A message arrived, over the party's circuit or over a link that is known to be its.
    Heard {
        /// Who said it.
        from: Party,
        /// What.
        message: Message,
    },
    /// For how much a payer is served before it has to pay, beside what it has prepaid.
    Limit {
        /// Who.
        payer: Address,
        /// In wei.
        limit: Wei,
    },
    /// The chain shows something of a payer's transaction.
    Chain {
        /// Who paid.
        payer: Address,
        /// The transaction.
        transaction: B256,
        /// What there is of it.
        found: Found,
    },
    /// Something became of a payment to a hop.
    Paid {
        /// Who is paid.
        hop: NodeKey,
        /// The transaction.
        transaction: B256,
        /// How much of the token it brings to the hop, in wei.
        amount: Wei,
        /// What became of it.
        payment: Payment,
    },
    /// A statement of a hop's is wanted now.
    Ask {
        /// Whose.
        hop: NodeKey,
    },
    /// Whether there is a direct link over which the party's account may be spoken of.
    Linked {
        /// Who.
        who: Party,
        /// Whether there is.
        up: bool,
    },
}

/// Something to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// To tell the host.
    Event(Event),
    /// Look for a transaction on the chain, then say [`Input::Chain`].
    LookUp {
        /// Who says that it paid.
        payer: Address,
        /// The transaction.
        transaction: B256,
    },
    /// There is something to say: ask [`Machine::say`] when there is a way to the party.
    Speak(Party),
}

impl fmt::Debug for Output {
    /// Without the wallet: logs show none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => event.fmt(f),
            Self::LookUp { .. } => f.write_str("LookUp(..)"),
            Self::Speak(party) => f.debug_tuple("Speak").field(party).finish(),
        }
    }
}

/// An account as it is stored.
#[derive(PartialEq, Eq)]
enum Stored {
    Payer(PayerBooks),
    Hop(HopBooks),
}

/// There is no room for another account, or for another circuit in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for another account or circuit")]
pub struct Full;

/// The books of one node. See the module for the order of calls.
pub struct Machine {
    config: Config,
    signer: Option<Arc<dyn Signer>>,
    payers: Accounts<Address, hop::Account>,
    hops: Accounts<NodeKey, payer::Account>,
    /// The latest epoch that any account was opened with.
    last_epoch: u32,
    outputs: VecDeque<Output>,
    timers: Timers,
    changed: BTreeSet<Party>,
    /// Looks for payments of payers that have never paid.
    strangers: TokenBucket,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("payers", &self.payers.len())
            .field("hops", &self.hops.len())
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// Empty books. Without a signer the node owes nobody: [`Machine::open`] is not to be used.
    pub fn new(config: Config, signer: Option<Arc<dyn Signer>>) -> Self {
        Self {
            payers: Accounts::new(config.max_payers, config.shelved_payers),
            hops: Accounts::new(config.max_hops, config.shelved_hops),
            config,
            signer,
            last_epoch: 0,
            outputs: VecDeque::new(),
            timers: Timers::default(),
            changed: BTreeSet::new(),
            strangers: TokenBucket::new(
                limits::STRANGERS_LOOKUPS,
                limits::STRANGERS_LOOKUP_EVERY,
                Duration::ZERO,
            ),
        }
    }

    /// Takes up a payer's account from the store, before anything else is said of it.
    ///
    /// # Errors
    /// [`Full`], where there are too many that hold money; the store keeps it.
    pub fn restore_payer(&mut self, books: PayerBooks) -> Result<(), Full> {
        self.last_epoch = self.last_epoch.max(books.epoch);
        let account = hop::Account::restore(books, &self.config.rates);
        let restored = self.payers.restore(account.payer(), account);
        self.note_gone();
        restored
    }

    /// Takes up a hop's account from the store, before anything else is said of it.
    ///
    /// # Errors
    /// [`Full`]; the store keeps it.
    pub fn restore_hop(&mut self, now: Now, books: HopBooks) -> Result<(), Full> {
        let hop = books.hop;
        let restored = self.hops.restore(hop, payer::Account::restore(now, books));
        self.note_gone();
        restored?;
        self.finish(now, Party::Hop(hop), Vec::new(), true);
        Ok(())
    }

    /// What a payer owes.
    pub fn payer(&self, payer: &Address) -> Option<PayerBooks> {
        let put_by = || self.payers.kept(payer).map(|kept| kept.books.clone());
        self.payers
            .get(payer)
            .map(hop::Account::books)
            .or_else(put_by)
    }

    /// What a hop is owed.
    pub fn hop(&self, hop: &NodeKey) -> Option<HopBooks> {
        let put_by = || self.hops.kept(hop).map(|kept| kept.books.clone());
        self.hops
            .get(hop)
            .map(payer::Account::books)
            .or_else(put_by)
    }

    /// The hops whose last statement claimed too much.
    pub fn disputing(&self) -> Vec<NodeKey> {
        let disputing = self
            .hops
            .iter()
            .filter(|(_, account)| account.is_disputing());
        disputing.map(|(hop, _)| *hop).collect()
    }

    /// Accounts that have changed since this was last asked: to be stored, or, where there is
    /// nothing of them any more, to be forgotten in the store as well.
    pub fn take_changed(&mut self) -> BTreeSet<Party> {
        std::mem::take(&mut self.changed)
    }

    /// Whether this node serves a payer in one more circuit; if so, the circuit is open. To be
    /// asked when its authorisation has been verified.
    ///
    /// # Errors
    /// [`Reason::OverLimit`] with what would have to be paid, or [`Reason::NoRoom`].
    pub fn admit(
        &mut self,
        now: Now,
        payer: Address,
        circuit: CircuitRef,
        terms: Terms,
    ) -> Result<(), Refusal> {
        let rates = self.config.rates;
        let account = self
            .payer_account(now, payer, false)
            .ok_or(Reason::NoRoom)?;
        let admitted = account.admit(circuit, terms, &rates);
        self.finish(now, Party::Payer(payer), Vec::new(), true);
        admitted
    }

    /// This node begins to use a hop in one more circuit.
    ///
    /// # Errors
    /// [`Full`]; what the circuit costs would be lost, so it must not be built.
    pub fn open(
        &mut self,
        now: Now,
        hop: NodeKey,
        circuit: CircuitRef,
        terms: Terms,
    ) -> Result<(), Full> {
        let account = self.hop_account(hop, false).ok_or(Full)?;
        account.touched = now.mono;
        let opened = account.open(circuit, terms);
        self.finish(now, Party::Hop(hop), Vec::new(), true);
        opened.then_some(()).ok_or(Full)
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        let mut out = Vec::new();
        let who = match input {
            Input::Carried { who, .. } | Input::Ended { who, .. } | Input::Linked { who, .. } => {
                who
            }
            Input::Heard { from, .. } => from,
            Input::Limit { payer, .. } | Input::Chain { payer, .. } => Party::Payer(payer),
            Input::Paid { hop, .. } | Input::Ask { hop } => Party::Hop(hop),
        };
        let before = self.stored(&who, &input);
        match who {
            Party::Payer(payer) => self.handle_payer(now, payer, input, &mut out),
            Party::Hop(hop) => self.handle_hop(now, hop, input, &mut out),
        }
        let same = before.is_some() && before == self.stored(&who, &input);
        self.finish(now, who, out, !same);
    }

    /// What is stored of an account, where an input may well leave it as it is. Counters nearly
    /// always change it, and come often: they are not looked at.
    fn stored(&self, who: &Party, input: &Input) -> Option<Stored> {
        match (who, input) {
            (_, Input::Carried { .. } | Input::Ended { .. }) => None,
            (Party::Payer(payer), _) => self.payer(payer).map(Stored::Payer),
            (Party::Hop(hop), _) => {
                let books = self.hop(hop)?;
                // Not stored.
                let credit = None;
                Some(Stored::Hop(HopBooks { credit, ..books }))
            }
        }
    }

    fn handle_payer(&mut self, now: Now, payer: Address, input: Input, out: &mut Vec<Output>) {
        let (domain, node) = (self.config.domain, self.config.node);
        let mut strangers = self.strangers.clone();
        let account = match input {
            Input::Chain {
                found: Found::Provisional(_) | Found::Final(_),
                ..
            } => self.payer_account(now, payer, true),
            Input::Limit { .. } | Input::Heard { .. } | Input::Linked { up: true, .. } => {
                self.payer_account(now, payer, false)
            }
            Input::Chain { .. } if self.payers.knows(&payer) => {
                self.payer_account(now, payer, false)
            }
            // What has no circuit or link has none to be counted or taken down.
            _ => self.payers.get_mut(&payer),
        };
        let Some(account) = account else {
            if let Input::Chain { found, .. } = input {
                out.push(Output::Event(Event::Unbooked { payer, found }));
            }
            return;
        };
        account.touched = now.mono;
        match input {
            Input::Carried { circuit, usage, .. } => account.count(&circuit, usage, out),
            Input::Ended {
                circuit,
                usage,
                clean,
                ..
            } => {
                account.count(&circuit, usage, out);
                account.circuits.end(&circuit, clean);
            }
            Input::Heard { message, .. } => {
                account.hear(now, message, (&domain, &node), &mut strangers, out);
            }
            Input::Limit { limit, .. } => account.set_limit(limit),
            Input::Chain {
                transaction, found, ..
            } => account.chain(transaction, found, out),
            Input::Linked { up, .. } => account.linked = up,
            Input::Paid { .. } | Input::Ask { .. } => {}
        }
        let epoch = account.epoch();
        self.strangers = strangers;
        self.last_epoch = self.last_epoch.max(epoch);
    }

    fn handle_hop(&mut self, now: Now, hop: NodeKey, input: Input, out: &mut Vec<Output>) {
        let account = match input {
            Input::Paid { .. } => self.hop_account(hop, true),
            // A node that was never used may say what it likes.
            Input::Heard { .. } | Input::Ask { .. } if self.hops.knows(&hop) => {
                self.hop_account(hop, false)
            }
            _ => self.hops.get_mut(&hop),
        };
        let Some(account) = account else {
            if matches!(input, Input::Paid { .. }) {
                out.push(Output::Event(Event::NoRoom { hop }));
            }
            return;
        };
        account.touched = now.mono;
        match input {
            Input::Carried { circuit, usage, .. } => account.count(&circuit, usage),
            Input::Ended {
                circuit,
                usage,
                clean,
                ..
            } => {
                account.count(&circuit, usage);
                account.end(now, &circuit, clean);
            }
            Input::Heard { message, .. } => account.hear(now, message, out),
            Input::Paid {
                transaction,
                amount,
                payment,
                ..
            } => account.pay(now, (transaction, amount), payment, out),
            Input::Ask { .. } => account.ask(out),
            Input::Limit { .. } | Input::Chain { .. } | Input::Linked { .. } => {}
        }
    }

    /// What to say to a party next: over the named circuit, or over a direct link. A hop always
    /// has something to say to its payer; a payer may not. A receipt is signed here (60 µs), and
    /// counts as given: whether it arrives is not known.
    pub fn say(&mut self, now: Now, to: &Party, circuit: Option<&CircuitRef>) -> Option<Message> {
        let mut out = Vec::new();
        let said = match to {
            Party::Payer(payer) if self.payers.knows(payer) => {
                let account = self.payer_account(now, *payer, false);
                account.map(|a| a.say(now, circuit, &mut out))
            }
            Party::Hop(hop) if self.hops.knows(hop) => {
                let (domain, signer) = (self.config.domain, self.signer.clone());
                let account = self.hop_account(*hop, false);
                account.and_then(|a| a.say(now, &domain, signer.as_deref(), &mut out))
            }
            Party::Payer(_) | Party::Hop(_) => None,
        };
        self.finish(now, *to, out, true);
        said
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Machine::on_timeout`] is to be called, on the clock of [`Now::mono`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Now) {
        while let Some(party) = self.timers.pop(now.mono) {
            let mut out = Vec::new();
            match &party {
                Party::Payer(payer) => {
                    if let Some(account) = self.payers.get_mut(payer) {
                        account.on_timeout(now, &mut self.strangers, &mut out);
                    }
                }
                Party::Hop(hop) => {
                    if let Some(account) = self.hops.get_mut(hop) {
                        account.on_timeout(now, &mut out);
                    }
                }
            }
            // Notices and what is to be said are not stored.
            self.finish(now, party, out, false);
        }
    }

    /// After anything was done to an account.
    fn finish(&mut self, now: Now, party: Party, out: Vec<Output>, changed: bool) {
        self.outputs.extend(out);
        let (known, due) = match &party {
            Party::Payer(payer) => {
                let account = self.payers.get(payer);
                (
                    self.payers.knows(payer),
                    account.and_then(hop::Account::due),
                )
            }
            Party::Hop(hop) => {
                let account = self.hops.get(hop);
                (self.hops.knows(hop), account.and_then(payer::Account::due))
            }
        };
        // What is due already has been tried, and waits for an occasion to be said.
        self.timers.set(party, due.filter(|due| *due > now.mono));
        if known && changed {
            self.changed.insert(party);
        }
    }

    /// A payer's account, a new one or one that is taken up again if it must be.
    fn payer_account(
        &mut self,
        now: Now,
        payer: Address,
        brings_money: bool,
    ) -> Option<&mut hop::Account> {
        if !self.payers.knows(&payer) {
            let epoch = u32::try_from(now.unix).unwrap_or(u32::MAX);
            self.last_epoch = self.last_epoch.saturating_add(1).max(epoch);
            let account = hop::Account::new(
                payer,
                self.last_epoch,
                self.config.start_limit,
                &self.config.rates,
            );
            let added = self.payers.add(payer, account, brings_money);
            self.note_gone();
            added.ok()?;
        }
        if self.payers.get(&payer).is_none() {
            self.payers.recall(&payer, brings_money)?;
            self.note_gone();
        }
        let account = self.payers.get_mut(&payer)?;
        account.touched = now.mono;
        Some(account)
    }

    /// A hop's account, likewise.
    fn hop_account(&mut self, hop: NodeKey, brings_money: bool) -> Option<&mut payer::Account> {
        if !self.hops.knows(&hop) {
            let added = self.hops.add(hop, payer::Account::new(hop), brings_money);
            self.note_gone();
            added.ok()?;
        }
        if self.hops.get(&hop).is_none() {
            self.hops.recall(&hop, brings_money)?;
            self.note_gone();
        }
        self.hops.get_mut(&hop)
    }

    /// Nothing wakes what was put by; what was forgotten is forgotten in the store as well.
    fn note_gone(&mut self) {
        let (payers, hops) = (self.payers.take_gone(), self.hops.take_gone());
        let put_by = payers.put_by.into_iter().map(Party::Payer);
        for party in put_by.chain(hops.put_by.into_iter().map(Party::Hop)) {
            self.timers.set(party, None);
        }
        let forgotten = payers.forgotten.into_iter().map(Party::Payer);
        for party in forgotten.chain(hops.forgotten.into_iter().map(Party::Hop)) {
            self.timers.set(party, None);
            self.changed.insert(party);
        }
    }
}
