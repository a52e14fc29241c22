//! The task that owns the money: it runs engine, scanner and books over a journal, an endpoint pool
//! and the real clock.
//!
//! Everything that is slow happens in here or in tasks of its own, so nobody else waits: usage is
//! dropped into an inbox ([`Money::used`]), credit is decided in memory ([`Money::receivables`]),
//! and everything else is asked for over a bounded channel. All commits are made by this one task,
//! one after the other, in the order in which the machines made them.
//!
//! When something can't be written the task ends with [`DriverError`]: the books in memory are then
//! ahead of those on disk, and the node has to stop serving and originating.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::Address;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::engine::{
    Distrust, Endpoint, Engine, EngineConfig, Event, Input, Intent, Ordered, Phase, Settled,
};
use super::provider::{Provider, Signer};
use super::scanner::{Scanner, ScannerConfig};
use crate::ledger::{
    Batch, CreditChange, Funds, Journal, JournalError, Payable, Payee, Receivables, Verdict, Wei,
    opaque_debug,
};

mod note;
mod run;
#[cfg(test)]
mod tests;
mod words;

pub use note::{FileNote, NonceNote};

/// Commands that wait at a time. A guess: they come from people.
const COMMANDS: usize = 64;
/// Events that are kept for a listener that is slow. A guess: some seconds of a busy node.
const EVENTS: usize = 256;
/// Payees in the inbox at a time: each circuit has a handful.
const MAX_INBOX: usize = 4_096;

/// What one of the two sides of the money needs.
pub struct Setup {
    /// Endpoints.
    pub provider: Arc<Provider>,
    /// The books on disk.
    pub journal: Box<dyn Journal>,
    /// The note outside of them.
    pub note: Box<dyn NonceNote>,
    /// Paying: at nodes that originate.
    pub paying: Option<(EngineConfig, Arc<dyn Signer>)>,
    /// Finding what was paid: at nodes that serve.
    pub earning: Option<ScannerConfig>,
    /// What payers owe.
    pub receivables: Receivables,
    /// How often the balances of payers, and of this node's own wallet, are read; drawn anew each time, up to half as long again.
    pub funds_every: Duration,
    /// Other books that are written together with these.
    pub beside: Option<Arc<dyn Beside>>,
}

/// Books of somebody else that have to stay in step with those here: what changed in both is
/// written in one commit, each second.
pub trait Beside: Send + Sync {
    /// The rows that changed since this was last asked. Called under the lock of
    /// [`Money::booking`], so whoever books the same thing in both places holds that meanwhile.
    fn flush(&self) -> Batch;
}

/// Something to be known.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MoneyEvent {
    /// From the payment engine.
    Engine(Event),
    /// Transfers came in, went away, or are final.
    Credited(Vec<CreditChange>),
    /// Payers were banned or unbanned.
    Judged(Vec<Verdict>),
    /// The scanner does not believe an endpoint.
    Distrusted(Endpoint, Distrust),
}

/// What is owed and under way, at one moment.
pub struct Books {
    /// Per payee.
    pub payables: Vec<Payable>,
    /// Advances that were asked for and are in no payment yet.
    pub asked: Vec<(Payee, Ordered)>,
    /// Payments that are not final.
    pub under_way: Vec<Intent>,
    /// Nonces of those that were seen in a block.
    pub included: Vec<u64>,
    /// Whether payments may begin; `None` at a node that pays nobody.
    pub phase: Option<Phase>,
    /// Whether the user has paused them.
    pub paused: bool,
    /// Whether they are only reported.
    pub dry_run: bool,
    /// What the consuming wallet had when it was last seen, and how long ago that was.
    pub purse: Option<(Funds, Duration)>,
    /// What a transfer cost when that was last seen, in wei of the chain's coin.
    pub fee: Option<u128>,
    /// The next block that is not looked through for good; `None` at a node that earns nothing.
    pub scanned: Option<u64>,
}

/// Payments that are final.
pub struct History {
    /// The newest ones, the newest first.
    pub newest: Vec<Settled>,
    /// How many older ones there are.
    pub older: usize,
}

opaque_debug!(Setup, Books, History, Money);

/// Why the task has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The books can't be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The note outside the database can't be read or written.
    #[error("the note of the last payment can't be read or written: {0}")]
    Note(#[source] std::io::Error),
    /// A thread that writes has died.
    #[error("writing the books was broken off")]
    BrokenOff,
}

/// The task is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("payments are not running")]
pub struct Gone;

enum Command {
    Engine(Input),
    Poke,
    Books(oneshot::Sender<Books>),
    History(usize, oneshot::Sender<Result<History, JournalError>>),
    Configure(Box<EngineConfig>),
    Shutdown { settle: bool },
}

type Inbox = Arc<Mutex<HashMap<Payee, Wei>>>;
type Booking = Arc<Mutex<()>>;

/// A handle to the task; clones are cheap.
#[derive(Clone)]
pub struct Money {
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<MoneyEvent>,
    inbox: Inbox,
    receivables: Arc<Mutex<Receivables>>,
    booking: Booking,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Money {
    /// Reads the books and starts the task. It ends by [`Money::shutdown`], or with an error.
    ///
    /// # Errors
    /// [`DriverError`] when the books or the note can't be read.
    pub fn spawn(setup: Setup) -> Result<(Self, JoinHandle<Result<(), DriverError>>), DriverError> {
        let (commands, inbound) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        let money = Self {
            commands,
            events: events.clone(),
            inbox: Inbox::default(),
            receivables: Arc::new(Mutex::new(setup.receivables)),
            booking: Booking::default(),
        };
        let clock = run::Clock::new();
        let noted = setup.note.read().map_err(DriverError::Note)?;
        let journal = setup.journal;
        let now = clock.now();
        // How many have to agree follows from how many there are.
        let endpoints = setup.provider.endpoints();
        let engine = match setup.paying {
            Some((mut config, signer)) => {
                let wallet = signer.wallet();
                (config.wallet, config.endpoints) = (wallet, endpoints);
                let engine = Engine::recover(config, journal.as_ref(), noted, now)?;
                Some(run::Paying {
                    engine,
                    signer,
                    wallet,
                })
            }
            None => None,
        };
        let scanner = match setup.earning {
            Some(mut config) => {
                let wallet = config.wallet;
                config.endpoints = endpoints;
                let scanner = Scanner::recover(config, journal.as_ref(), now.mono)?;
                Some((scanner, wallet))
            }
            None => None,
        };
        let driver = run::Driver::new(run::Parts {
            clock,
            provider: setup.provider,
            journal: Arc::new(Mutex::new(journal)),
            note: Arc::new(Mutex::new(setup.note)),
            paying: engine,
            scanner,
            receivables: money.receivables.clone(),
            inbox: money.inbox.clone(),
            booking: money.booking.clone(),
            beside: setup.beside,
            inbound,
            events,
            funds_every: setup.funds_every,
        });
        Ok((money, tokio::spawn(driver.run())))
    }

    /// Books usage; at once, without waiting. It is on disk within a second. `false` when there are
    /// too many payees at a time: then nothing more should be asked of this one.
    pub fn used(&self, payee: Payee, amount: Wei) -> bool {
        let mut inbox = lock(&self.inbox);
        if inbox.len() >= MAX_INBOX && !inbox.contains_key(&payee) {
            return false;
        }
        let sum = inbox.entry(payee).or_default();
        // A sum that does not fit is refused when it is booked.
        *sum = sum.saturating_add(amount);
        true
    }

    /// What payers owe and may still use. Never hold this across an await.
    pub fn receivables(&self) -> MutexGuard<'_, Receivables> {
        lock(&self.receivables)
    }

    /// While this is held nothing is written: what is booked in several places meanwhile is written
    /// in one commit. Never hold it across an await.
    pub fn booking(&self) -> MutexGuard<'_, ()> {
        lock(&self.booking)
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<MoneyEvent> {
        self.events.subscribe()
    }

    async fn command(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| Gone)
    }

    /// Pays a hop in advance, once.
    ///
    /// # Errors
    /// [`Gone`]; whether it is paid is told by events.
    pub async fn prepay(&self, payee: Payee, amount: Wei) -> Result<(), Gone> {
        self.command(Command::Engine(Input::Prepay { payee, amount }))
            .await
    }

    /// Pays a hop in advance, once, and no more than `most` by that payment, what is due when it is made
    /// included.
    ///
    /// # Errors
    /// [`Gone`]; whether it is paid is told by events.
    pub async fn prepay_within(&self, payee: Payee, amount: Wei, most: Wei) -> Result<(), Gone> {
        let input = Input::PrepayWithin {
            payee,
            amount,
            most,
        };
        self.command(Command::Engine(input)).await
    }

    /// Takes back usage that both sides agree was not carried.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn write_off(&self, payee: Payee, amount: Wei) -> Result<(), Gone> {
        self.command(Command::Engine(Input::WriteOff { payee, amount }))
            .await
    }

    /// Pays everything that is due and worth its fee.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn settle_now(&self) -> Result<(), Gone> {
        self.command(Command::Engine(Input::SettleNow)).await
    }

    /// Holds debts against the thresholds now; pays those that are over the line.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn scan_debts(&self) -> Result<(), Gone> {
        self.command(Command::Engine(Input::ScanNow)).await
    }

    /// Looks now at what became of payments under way.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn look_at_pending(&self) -> Result<(), Gone> {
        self.command(Command::Engine(Input::LookNow)).await
    }

    /// Only reports payments from now on, or makes them again. Forgotten at the end.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn set_dry_run(&self, on: bool) -> Result<(), Gone> {
        self.command(Command::Engine(Input::DryRun(on))).await
    }

    /// Pauses payments, or lets them go on. Outlives restarts.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn set_paused(&self, paused: bool) -> Result<(), Gone> {
        let input = if paused { Input::Pause } else { Input::Resume };
        self.command(Command::Engine(input)).await
    }

    /// Tries to replace a payment under way by nothing.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn cancel(&self, nonce: u64) -> Result<(), Gone> {
        self.command(Command::Engine(Input::Cancel { nonce })).await
    }

    /// The user has looked at a halt and takes the chain's nonce for right.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn adopt_nonce(&self) -> Result<(), Gone> {
        self.command(Command::Engine(Input::AdoptNonce)).await
    }

    /// The user says whether a foreign transaction has paid a payment's payees.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn decide(&self, nonce: u64, paid: bool) -> Result<(), Gone> {
        self.command(Command::Engine(Input::Decide { nonce, paid }))
            .await
    }

    /// Takes new thresholds, caps and prices.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn configure(&self, config: EngineConfig) -> Result<(), Gone> {
        self.command(Command::Configure(Box::new(config))).await
    }

    /// Looks for incoming payments soon: somebody says that he has paid.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn look_for_payments(&self) -> Result<(), Gone> {
        self.command(Command::Poke).await
    }

    /// What is owed and under way now.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn books(&self) -> Result<Books, Gone> {
        let (answer, asked) = oneshot::channel();
        self.command(Command::Books(answer)).await?;
        asked.await.map_err(|_| Gone)
    }

    /// The newest `most` payments that are final.
    ///
    /// # Errors
    /// [`DriverError::BrokenOff`] when the task has ended, [`DriverError::Journal`] when the books
    /// can't be read.
    pub async fn history(&self, most: usize) -> Result<History, DriverError> {
        let (answer, asked) = oneshot::channel();
        let sent = self.command(Command::History(most, answer)).await;
        sent.map_err(|Gone| DriverError::BrokenOff)?;
        Ok(asked.await.map_err(|_| DriverError::BrokenOff)??)
    }

    /// Writes everything and ends the task; pays first what is due when `settle` is set, for at most
    /// half a minute. Wait for the task to know that it is done.
    ///
    /// # Errors
    /// [`Gone`] when it has ended already.
    pub async fn shutdown(&self, settle: bool) -> Result<(), Gone> {
        self.command(Command::Shutdown { settle }).await
    }
}

/// A wallet whose balances were read.
type Read = (Address, crate::ledger::Funds);
