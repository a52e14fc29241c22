//! The loop itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use alloy_primitives::{Address, B256};
use rand::RngExt as _;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use super::{
    Beside, Booking, Books, Command, DriverError, History, Inbox, MoneyEvent, NonceNote, Read, lock,
};
use crate::chain::engine::{Engine, Fees, Input, Now, Output, SendError, Settled, View};
use crate::chain::provider::{Provider, Signer};
use crate::chain::scanner::{LogAnswer, Scanner};
use crate::ledger::{Batch, Funds, Journal, JournalError, Payee, Receivables, Table, Wei, load};

/// How often usage is written: with what a commit takes, loss at a crash stays below a second.
const WRITE_EVERY: Duration = Duration::from_millis(900);
/// How long a node that stops waits for endpoints to take what is to be sent.
const LAST_SENDS: Duration = Duration::from_secs(15);
/// How often payers are judged. A guess: a ban a minute late costs a minute within the limit.
const JUDGE_EVERY: Duration = Duration::from_secs(60);
/// Payers seen within so many seconds have their balances read.
const ACTIVE: u64 = 86_400;

pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Now {
            mono: self.start.elapsed(),
            // A clock before 1970 makes every debt young, and nothing worse.
            unix: unix.map_or(0, |since| since.as_secs()),
        }
    }

    fn instant(&self, mono: Duration) -> tokio::time::Instant {
        let far = Duration::from_secs(3_600);
        let at = self.start + mono.min(self.start.elapsed() + far);
        at.into()
    }
}

pub(super) struct Paying {
    pub engine: Engine,
    pub signer: Arc<dyn Signer>,
    pub wallet: Address,
}

/// What a task of its own has brought.
enum Brought {
    Sent(B256, Result<(), SendError>),
    Seen(u64, Option<Box<View>>),
    Page(u64, LogAnswer),
    Funds(Vec<Read>, Option<Fees>),
}

pub(super) struct Parts {
    pub clock: Clock,
    pub provider: Arc<Provider>,
    pub journal: Arc<Mutex<Box<dyn Journal>>>,
    pub note: Arc<Mutex<Box<dyn NonceNote>>>,
    pub paying: Option<Paying>,
    pub scanner: Option<(Scanner, Address)>,
    pub receivables: Arc<Mutex<Receivables>>,
    pub inbox: Inbox,
    pub booking: Booking,
    pub beside: Option<Arc<dyn Beside>>,
    pub inbound: mpsc::Receiver<Command>,
    pub events: broadcast::Sender<MoneyEvent>,
    pub funds_every: Duration,
}

pub(super) struct Driver {
    parts: Parts,
    tasks: JoinSet<Brought>,
    /// Taken out of the books in memory and not written yet; goes before everything later.
    unwritten: Batch,
    write_at: Duration,
    judge_at: Duration,
    funds_at: Duration,
    reading_funds: bool,
    /// What the consuming wallet has, and when that was seen.
    purse: Option<(Funds, Duration)>,
    /// What a transfer costs.
    fee: Option<u128>,
    /// Transactions that are being given to endpoints.
    sending: usize,
    deserted: bool,
    stopping: bool,
    done: bool,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        let now = parts.clock.now().mono;
        Self {
            parts,
            tasks: JoinSet::new(),
            unwritten: Batch::default(),
            write_at: now + WRITE_EVERY,
            judge_at: now + JUDGE_EVERY,
            funds_at: now,
            reading_funds: false,
            purse: None,
            fee: None,
            sending: 0,
            deserted: false,
            stopping: false,
            done: false,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), DriverError> {
        loop {
            self.pay().await?;
            self.earn().await?;
            if self.done {
                // What else is under way only reads.
                let sent = tokio::time::timeout(LAST_SENDS, self.finish_sending());
                let _ = sent.await;
                return Ok(());
            }
            let wake = self.parts.clock.instant(self.wake_at());
            tokio::select! {
                command = self.parts.inbound.recv(), if !self.deserted => match command {
                    Some(command) => self.command(command),
                    None => {
                        // Every handle is gone: nobody can ask for anything any more.
                        self.deserted = true;
                        self.stop(false);
                    }
                },
                Some(brought) = self.tasks.join_next() => {
                    if let Ok(brought) = brought {
                        self.brought(brought).await?;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Waits until endpoints have what was to be sent before the end.
    async fn finish_sending(&mut self) {
        while self.sending > 0
            && let Some(brought) = self.tasks.join_next().await
        {
            let sent = matches!(brought, Ok(Brought::Sent(..)));
            self.sending -= usize::from(sent);
        }
    }

    fn wake_at(&self) -> Duration {
        let paying = self.parts.paying.as_ref();
        let engine = paying.map_or(Duration::MAX, |paying| paying.engine.poll_timeout());
        let scanner = self.parts.scanner.as_ref();
        let scanner = scanner.map_or(Duration::MAX, |(scanner, _)| scanner.poll_timeout());
        engine.min(scanner).min(self.write_at).min(self.judge_at)
    }

    /// Everything that the engine wants now.
    async fn pay(&mut self) -> Result<(), DriverError> {
        // First what the engine wants already: its commit must not take the accounts of circuits
        // along while the usage that they count is still to be booked.
        self.outputs().await?;
        let now = self.parts.clock.now();
        let due = now.mono >= self.write_at || self.stopping;
        let used = if due { self.take() } else { HashMap::new() };
        if let Some(paying) = &mut self.parts.paying {
            if due {
                for (payee, amount) in used {
                    if let Err(why) = paying.engine.used(now, payee, amount) {
                        tracing::error!(target: "masq::ledger", %why, "usage was not booked");
                    }
                }
                paying.engine.handle(now, Input::Flush);
            }
            paying.engine.handle(now, Input::Tick);
        }
        self.outputs().await?;
        // What the engine had nothing to write with.
        self.commit(Batch::default()).await
    }

    async fn outputs(&mut self) -> Result<(), DriverError> {
        loop {
            let paying = self.parts.paying.as_mut();
            let Some(output) = paying.and_then(|paying| paying.engine.poll_output()) else {
                return Ok(());
            };
            self.output(output).await?;
        }
    }

    /// Takes what was booked out of the books in memory, all at one moment; what is to be paid for
    /// goes to the engine.
    fn take(&mut self) -> HashMap<Payee, Wei> {
        let booking = self.parts.booking.clone();
        let _moment = lock(&booking);
        let batch = lock(&self.parts.receivables).flush();
        self.unwritten.append(batch);
        if let Some(beside) = &self.parts.beside {
            self.unwritten.append(beside.flush());
        }
        std::mem::take(&mut *lock(&self.parts.inbox))
    }

    fn input(&mut self, input: Input) {
        let now = self.parts.clock.now();
        if let Some(paying) = &mut self.parts.paying {
            paying.engine.handle(now, input);
        }
    }

    async fn output(&mut self, output: Output) -> Result<(), DriverError> {
        match output {
            Output::Commit { seq, batch } => {
                self.commit(batch).await?;
                self.input(Input::Committed(seq));
            }
            Output::NoteNonce(next) => {
                let note = self.parts.note.clone();
                let written = tokio::task::spawn_blocking(move || lock(&note).write(next));
                let written = written.await.map_err(|_| DriverError::BrokenOff)?;
                written.map_err(DriverError::Note)?;
                self.input(Input::Noted(next));
            }
            Output::Sign(request) => {
                let paying = self.parts.paying.as_ref();
                let signed = paying.and_then(|paying| paying.signer.sign(&request));
                let id = request.id;
                self.input(match signed {
                    Some((hash, raw)) => Input::Signed { id, hash, raw },
                    None => Input::SignFailed { id },
                });
            }
            Output::Send { hash, raw } => {
                let provider = self.parts.provider.clone();
                self.sending += 1;
                self.tasks.spawn(async move {
                    let result = provider.send(hash, &raw).await;
                    Brought::Sent(hash, result)
                });
            }
            Output::Ask(question) => {
                let provider = self.parts.provider.clone();
                let wallet = self.parts.paying.as_ref().map(|paying| paying.wallet);
                self.tasks.spawn(async move {
                    let view = match wallet {
                        Some(wallet) => provider.look(wallet, &question).await,
                        None => None,
                    };
                    Brought::Seen(question.id, view.map(Box::new))
                });
            }
            Output::Tell(event) => self.tell(MoneyEvent::Engine(event)),
            Output::Done => self.done = true,
        }
        Ok(())
    }

    /// Writes a batch; returns when it is durable.
    async fn commit(&mut self, later: Batch) -> Result<(), DriverError> {
        let mut batch = std::mem::take(&mut self.unwritten);
        batch.append(later);
        if batch.is_empty() {
            return Ok(());
        }
        let journal = self.parts.journal.clone();
        let written = tokio::task::spawn_blocking(move || lock(&journal).commit(&batch));
        Ok(written.await.map_err(|_| DriverError::BrokenOff)??)
    }

    fn tell(&self, event: MoneyEvent) {
        // Nobody may be listening.
        let _ = self.parts.events.send(event);
    }

    /// Everything about incoming money that is due now.
    async fn earn(&mut self) -> Result<(), DriverError> {
        let now = self.parts.clock.now();
        if now.mono >= self.write_at || self.stopping {
            self.write_at = now.mono + WRITE_EVERY;
            // A node that pays nobody has nothing else to wait for.
            self.done |= self.stopping && self.parts.paying.is_none();
        }
        if now.mono >= self.judge_at {
            self.judge_at = now.mono + JUDGE_EVERY;
            let verdicts = lock(&self.parts.receivables).judge(now.unix);
            if !verdicts.is_empty() {
                self.tell(MoneyEvent::Judged(verdicts));
            }
        }
        if let Some((scanner, wallet)) = &mut self.parts.scanner
            && let Some(question) = scanner.question(now.mono)
        {
            let (provider, wallet) = (self.parts.provider.clone(), *wallet);
            self.tasks.spawn(async move {
                let answer = provider.logs(wallet, &question).await;
                Brought::Page(question.id, answer)
            });
        }
        if !self.stopping {
            self.read_funds(now);
        }
        Ok(())
    }

    /// Reads the balances of all payers, and of the own wallet, when it is time, whoever uses the
    /// node at the moment.
    fn read_funds(&mut self, now: Now) {
        if self.reading_funds || now.mono < self.funds_at {
            return;
        }
        self.reading_funds = true;
        let half = self.parts.funds_every / 2;
        let more = half.mul_f64(rand::rng().random_range(0.0..1.0));
        self.funds_at = now.mono + self.parts.funds_every + more;
        let since = now.unix.saturating_sub(ACTIVE);
        let own = self.parts.paying.as_ref().map(|paying| paying.wallet);
        let mut wallets: Vec<Address> = own.into_iter().collect();
        if self.parts.scanner.is_some() {
            wallets.extend(lock(&self.parts.receivables).payers(since));
        }
        let provider = self.parts.provider.clone();
        self.tasks.spawn(async move {
            let fees = provider.fees().await;
            let funds = provider.funds(&wallets).await;
            Brought::Funds(funds, fees)
        });
    }

    async fn brought(&mut self, brought: Brought) -> Result<(), DriverError> {
        match brought {
            Brought::Sent(hash, result) => {
                self.sending = self.sending.saturating_sub(1);
                self.input(Input::Sent { hash, result });
            }
            Brought::Seen(id, view) => {
                if let Some(view) = &view {
                    let View { token, native, .. } = **view;
                    let now = self.parts.clock.now().mono;
                    self.purse = Some((Funds { token, native }, now));
                    self.fee = Some(view.fees.of_transfer());
                }
                self.input(Input::Answer { id, view });
            }
            Brought::Page(id, answer) => self.page(id, answer).await?,
            Brought::Funds(funds, fees) => {
                self.reading_funds = false;
                let own = self.parts.paying.as_ref().map(|paying| paying.wallet);
                let Now { mono, unix, .. } = self.parts.clock.now();
                let mut receivables = lock(&self.parts.receivables);
                if let Some(fees) = fees {
                    receivables.set_fee(fees.of_transfer());
                    self.fee = Some(fees.of_transfer());
                }
                for (payer, funds) in funds {
                    if Some(payer) == own {
                        self.purse = Some((funds, mono));
                    }
                    receivables.set_funds(unix, &payer, funds);
                }
            }
        }
        Ok(())
    }

    /// Books a page of transfers: credit and cursor in one commit.
    async fn page(&mut self, id: u64, answer: LogAnswer) -> Result<(), DriverError> {
        let now = self.parts.clock.now();
        let Some((scanner, _)) = &mut self.parts.scanner else {
            return Ok(());
        };
        let scanned = scanner.answer(now.mono, id, answer);
        let mut batch = lock(&self.parts.receivables).credit(now.unix, &scanned.changes);
        batch.append(scanned.batch);
        self.commit(batch).await?;
        if !scanned.changes.is_empty() {
            self.tell(MoneyEvent::Credited(scanned.changes));
        }
        if let Some((endpoint, why)) = scanned.distrust {
            self.tell(MoneyEvent::Distrusted(endpoint, why));
        }
        Ok(())
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Engine(input) => self.input(input),
            Command::Poke => {
                let now = self.parts.clock.now();
                if let Some((scanner, _)) = &mut self.parts.scanner {
                    scanner.poke(now.mono);
                }
            }
            Command::Books(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.books());
            }
            Command::History(most, answer) => {
                let journal = self.parts.journal.clone();
                // Commits wait for it; it reads one table, now and then.
                tokio::task::spawn_blocking(move || {
                    let history = history(lock(&journal).as_ref(), most);
                    let _ = answer.send(history);
                });
            }
            Command::Configure(config) => {
                if let Some(paying) = &mut self.parts.paying {
                    paying.engine.configure(*config);
                }
            }
            Command::Shutdown { settle } => self.stop(settle),
        }
    }

    fn books(&self) -> Books {
        let paying = self.parts.paying.as_ref();
        let engine = paying.map(|paying| &paying.engine);
        let scanner = self.parts.scanner.as_ref();
        let now = self.parts.clock.now().mono;
        Books {
            payables: engine.map_or(vec![], |e| e.payables().iter().cloned().collect()),
            asked: engine.map_or(vec![], |e| e.advances_asked().collect()),
            under_way: engine.map_or(vec![], |e| e.under_way().cloned().collect()),
            included: engine.map_or(vec![], |e| e.included().collect()),
            phase: engine.map(Engine::phase),
            paused: engine.is_some_and(Engine::is_paused),
            dry_run: engine.is_some_and(Engine::is_dry),
            purse: (self.purse).map(|(funds, at)| (funds, now.saturating_sub(at))),
            fee: self.fee,
            scanned: scanner.map(|(scanner, _)| scanner.cursor()),
        }
    }

    fn stop(&mut self, settle: bool) {
        self.stopping = true;
        self.input(Input::Shutdown { settle });
    }
}

/// The newest `most` payments that are final.
pub(super) fn history(journal: &dyn Journal, most: usize) -> Result<History, JournalError> {
    let mut newest = load::<Settled>(journal, Table::Payments)?;
    newest.sort_unstable_by_key(|payment| std::cmp::Reverse(payment.nonce));
    let older = newest.len().saturating_sub(most);
    newest.truncate(most);
    Ok(History { newest, older })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::engine::Outcome;
    use crate::ledger::MemoryJournal;

    #[test]
    fn the_newest_payments_are_read_and_the_rest_counted() {
        let mut journal = MemoryJournal::new();
        let mut batch = Batch::default();
        for nonce in [3, 300, 7, 1] {
            batch.put(&Settled {
                nonce,
                hash: B256::repeat_byte(1),
                at: 5,
                outcome: Outcome::Paid,
                legs: vec![],
            });
        }
        journal.commit(&batch).unwrap();
        let read = |most| {
            let History { newest, older } = history(&journal, most).unwrap();
            let nonces: Vec<u64> = newest.iter().map(|payment| payment.nonce).collect();
            (nonces, older)
        };
        assert_eq!(read(2), (vec![300, 7], 2));
        assert_eq!(read(9), (vec![300, 7, 3, 1], 0));
        assert_eq!(read(0), (vec![], 4));
    }
}
