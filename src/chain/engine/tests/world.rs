//! A chain, endpoints of differing honesty, a journal, a note, and the engine between them. After
//! every step the invariants are looked at.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};

use super::super::intent::Meta;
use super::super::io::*;
use super::chain::{Chain, Tx};
use super::*;
use crate::ledger::{Journal, MemoryJournal, Payable, Row, Table, load};

/// How an endpoint behaves at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Honest,
    Lags(u8),
    Down,
    WrongChain,
    /// Only one endpoint in the world may ever lie.
    Lies(Lie),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Everything that is asked for has failed, finally.
    Failed,
    /// Everything that is asked for is paid, finally.
    Paid,
    /// Other transactions took all places.
    Foreign,
    /// There are more transactions of the wallet.
    Ahead,
    /// Nothing of the wallet is known.
    Forgets,
    /// There is any amount of money.
    Rich,
}

/// Something that a driver does while the engine goes on.
pub(super) enum Job {
    /// The oldest commit that is not durable becomes so.
    Commit,
    Send(B256, Bytes),
    Ask(Question),
    Deliver(Input),
}

pub(super) struct World {
    pub chain: Chain,
    pub modes: Vec<Mode>,
    pub journal: MemoryJournal,
    pub noted: Option<u64>,
    pub engine: Engine,
    pub config: EngineConfig,
    pub jobs: VecDeque<Job>,
    /// What is to be written, in order; lost at a crash.
    pub writes: VecDeque<(u64, Batch)>,
    pub events: Vec<Event>,
    pub now: Now,
    pub used: BTreeMap<Payee, Wei>,
    pub sends: usize,
    pub done: bool,
    /// Variants written beyond the first of each payment.
    pub resigned: usize,
    /// What every payment moved or allowed, by nonce.
    values: BTreeMap<u64, Wei>,
    /// Of eight answers so many are lost, and of eight requests so many.
    pub storm: u64,
    dice: u64,
    turn: usize,
}

impl World {
    pub(super) fn new(config: EngineConfig) -> Self {
        let now = Now {
            mono: Duration::ZERO,
            unix: 1_700_000_000,
        };
        let journal = MemoryJournal::new();
        Self {
            chain: Chain::new(),
            modes: vec![Mode::Honest; config.endpoints.into()],
            engine: Engine::recover(config.clone(), &journal, None, now).unwrap(),
            journal,
            noted: None,
            config,
            jobs: VecDeque::new(),
            writes: VecDeque::new(),
            events: Vec::new(),
            now,
            used: BTreeMap::new(),
            sends: 0,
            done: false,
            resigned: 0,
            values: BTreeMap::new(),
            storm: 0,
            dice: 1,
            turn: 0,
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        self.engine.handle(self.now, input);
    }

    pub(super) fn use_up(&mut self, payee: Payee, amount: Wei) {
        self.engine.used(self.now, payee, amount).unwrap();
        if amount > 0 {
            *self.used.entry(payee).or_default() += amount;
        }
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now.mono += Duration::from_secs(seconds);
        self.now.unix += seconds;
        self.input(Input::Tick);
    }

    /// Does one thing that the engine wants. Returns whether there was one.
    pub(super) fn output(&mut self) -> bool {
        let Some(output) = self.engine.poll_output() else {
            return false;
        };
        match output {
            Output::Commit { seq, batch } => {
                self.writes.push_back((seq, batch));
                self.jobs.push_back(Job::Commit);
            }
            Output::NoteNonce(next) => {
                self.noted = Some(next);
                self.jobs.push_back(Job::Deliver(Input::Noted(next)));
            }
            Output::Sign(request) => {
                let (hash, raw) = Tx::sign(&request);
                let id = request.id;
                self.jobs
                    .push_back(Job::Deliver(Input::Signed { id, hash, raw }));
            }
            Output::Send { hash, raw } => {
                self.check_send(&hash, &raw);
                self.sends += 1;
                self.jobs.push_back(Job::Send(hash, raw));
            }
            Output::Ask(question) => self.jobs.push_back(Job::Ask(question)),
            Output::Tell(event) => self.events.push(event),
            Output::Done => self.done = true,
        }
        true
    }

    /// Does one job. `lost`: the answer never comes; `dropped`: it has no effect either.
    pub(super) fn job(&mut self, at: usize, lost: bool, dropped: bool) -> bool {
        // What is written and signed here is answered in order; the rest in any order.
        let at = at % self.jobs.len().max(1);
        let Some(job) = self.jobs.remove(at) else {
            return false;
        };
        match job {
            Job::Commit => self.write(),
            Job::Deliver(input) => self.input(input),
            Job::Send(hash, raw) => {
                let result = if dropped {
                    Err(SendError::Unknown)
                } else {
                    self.chain.take(&raw)
                };
                let result = if lost {
                    Err(SendError::Unknown)
                } else {
                    result
                };
                self.input(Input::Sent { hash, result });
            }
            Job::Ask(question) => {
                let view = (!lost).then(|| self.view(&question)).flatten();
                let view = view.map(Box::new);
                let id = question.id;
                self.jobs
                    .push_back(Job::Deliver(Input::Answer { id, view }));
            }
        }
        true
    }

    fn write(&mut self) {
        if let Some((seq, batch)) = self.writes.pop_front() {
            let before = self.intents();
            self.journal.commit(&batch).unwrap();
            self.resigned += self.check_variants(&before);
            self.jobs.push_back(Job::Deliver(Input::Committed(seq)));
        }
    }

    fn view(&mut self, question: &Question) -> Option<View> {
        // In turn, those that are down left out, and the one to avoid only when there is no other.
        let count = self.modes.len();
        self.turn += 1;
        let turn = self.turn;
        let mut order: Vec<usize> = (0..count).map(|n| (turn + n) % count).collect();
        order.retain(|at| self.modes[*at] != Mode::Down);
        order.sort_by_key(|at| question.avoid == Some(*at as u8));
        let endpoint = order.first().copied()?;
        let honest = self.chain.view(endpoint as u8, &question.hashes, 0);
        match self.modes[endpoint] {
            Mode::Honest => Some(honest),
            Mode::Lags(lag) => Some(
                self.chain
                    .view(endpoint as u8, &question.hashes, lag.into()),
            ),
            Mode::Down => None,
            Mode::WrongChain => Some(View {
                chain_id: 1,
                nonces: Nonces {
                    finalized: Some(99),
                    latest: 99,
                    pending: 99,
                },
                receipts: vec![],
                ..honest
            }),
            Mode::Lies(lie) => Some(self.lie(lie, honest, question)),
        }
    }

    fn lie(&self, lie: Lie, mut view: View, question: &Question) -> View {
        let all = self.intents().keys().next_back().map_or(0, |last| last + 1);
        let nonce = view.nonces.pending.max(all);
        let used = Nonces {
            finalized: Some(nonce),
            latest: nonce,
            pending: nonce,
        };
        match lie {
            Lie::Failed | Lie::Paid => {
                view.nonces = used;
                view.receipts.clear();
                for intent in self.intents().values() {
                    let hash = intent.variants[0].hash;
                    let legs = intent.legs.iter();
                    let moved = legs.map(|leg| (leg.payee.wallet, leg.amount()));
                    if question.hashes.contains(&hash) {
                        view.receipts.push(Receipt {
                            hash,
                            block: 1,
                            block_hash: B256::ZERO,
                            success: lie == Lie::Paid,
                            transfers: moved.collect(),
                        });
                    }
                }
            }
            Lie::Foreign => {
                view.nonces = used;
                view.receipts.clear();
            }
            Lie::Ahead => view.nonces.pending = nonce + 3,
            Lie::Forgets => {
                view.receipts.clear();
                view.nonces.finalized = Some(0);
                view.nonces.latest = 0;
                view.nonces.pending = 0;
            }
            Lie::Rich => (view.token, view.native) = (u128::MAX, u128::MAX),
        }
        view
    }

    /// The process ends here and now, and starts again.
    pub(super) fn crash(&mut self) {
        self.jobs.retain(|job| matches!(job, Job::Send(..)));
        self.writes.clear();
        self.engine =
            Engine::recover(self.config.clone(), &self.journal, self.noted, self.now).unwrap();
        for (payee, used) in &mut self.used {
            let row = self.engine.payables().get(payee);
            *used = row.map_or(0, |row| row.accrued);
        }
        self.used.retain(|_, used| *used > 0);
    }

    fn throw(&mut self) -> bool {
        // Knuth's numbers; good enough for weather.
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005);
        self.dice = self.dice.wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 60) % 8 < self.storm
    }

    /// Everything that is possible without time passing and blocks being mined.
    pub(super) fn settle_down(&mut self) {
        for _ in 0..10_000 {
            if !self.output() {
                let (lost, dropped) = (self.throw(), self.throw());
                if !self.job(0, lost, dropped) {
                    return;
                }
            }
        }
        panic!("the engine never rests");
    }

    /// Good weather for so many blocks.
    pub(super) fn blocks(&mut self, count: usize) {
        for _ in 0..count {
            self.unchecked_blocks(1);
            self.check();
        }
    }

    /// The same where something else uses the wallet, so that the books can't be right.
    pub(super) fn unchecked_blocks(&mut self, count: usize) {
        for _ in 0..count {
            self.settle_down();
            self.chain.mine();
            self.wait(2);
        }
        self.settle_down();
    }

    pub(super) fn intents(&self) -> BTreeMap<u64, Intent> {
        let intents = load::<Intent>(&self.journal, Table::Intents).unwrap();
        intents.into_iter().map(|i| (i.nonce, i)).collect()
    }

    /// Rule 1: what is sent is written and noted.
    fn check_send(&self, hash: &B256, raw: &Bytes) {
        let intents = self.intents();
        let tx = Tx::decode(raw);
        let intent = intents.get(&tx.nonce).expect("sent before it was written");
        let written = intent
            .variants
            .iter()
            .any(|v| v.hash == *hash && v.raw == *raw);
        assert!(written, "sent before this variant was written");
        assert!(
            self.noted > Some(tx.nonce),
            "sent before the nonce was noted"
        );
    }

    /// Rules 3 and 8: variants of one payment are one payment, dearer each time, within the caps.
    fn check_variants(&mut self, before: &BTreeMap<u64, Intent>) -> usize {
        let mut more = 0;
        let intents = self.intents();
        let values = intents
            .iter()
            .map(|(nonce, intent)| (*nonce, intent.value()));
        self.values.extend(values);
        for (nonce, intent) in &intents {
            // No more than four are under way, so no more than these ever wait behind it.
            let behind = *nonce..*nonce + self.config.max_in_flight as u64;
            let held_up: Wei = self.values.range(behind).map(|(_, value)| value).sum();
            let txs: Vec<Tx> = intent.variants.iter().map(|v| Tx::decode(&v.raw)).collect();
            for (tx, variant) in txs.iter().zip(&intent.variants) {
                assert_eq!(tx.nonce, *nonce);
                assert!(variant.cancels || tx.data == txs[0].data, "another payment");
                assert!(tx.max_fee <= GAS_CAP && tx.tip <= tx.max_fee && tx.tip >= 5);
                let fee = u128::from(tx.gas) * tx.max_fee;
                let value: Wei = match tx.hash == intent.variants[0].hash {
                    true => intent.value(),
                    false => held_up,
                };
                assert!(fee * 20 <= value, "fee over 5 %");
            }
            for pair in txs.windows(2) {
                assert!(pair[1].max_fee * 8 >= pair[0].max_fee * 9);
                assert!(pair[1].tip * 8 >= pair[0].tip * 9);
            }
            if let Some(old) = before.get(nonce) {
                let kept = &intent.variants[..old.variants.len()];
                assert!(old.legs == intent.legs && old.variants == kept);
                more += intent.variants.len() - old.variants.len();
            }
        }
        more
    }

    /// The invariants, on what is durable.
    pub(super) fn check(&self) {
        let rows = load::<Payable>(&self.journal, Table::Payables).unwrap();
        let chain = self.chain.state(self.chain.height());
        let at_final = self.chain.state(self.chain.final_height());
        let mut covered: BTreeMap<Address, Wei> = BTreeMap::new();
        let mut paid: BTreeMap<Address, Wei> = BTreeMap::new();
        for row in &rows {
            assert_eq!(
                row.due() + row.reserved + row.paid,
                row.accrued + row.ahead(),
                "owed + reserved + paid = accrued (+ what is ahead of it)"
            );
            assert!(
                row.ahead() <= row.advanced,
                "paid more than owed and asked for"
            );
            *covered.entry(row.payee.wallet).or_default() += row.paid + row.reserved;
            *paid.entry(row.payee.wallet).or_default() += row.paid;
        }
        for (wallet, moved) in &chain.moved {
            let covered = covered.get(wallet).copied().unwrap_or(0);
            assert!(
                *moved <= covered,
                "{moved} on chain, {covered} in the books"
            );
        }
        for (wallet, paid) in &paid {
            let moved = at_final.moved.get(wallet).copied().unwrap_or(0);
            assert!(*paid <= moved, "a debt was dropped: {paid} > {moved}");
        }
        let intents = self.intents();
        for row in &rows {
            let legs = intents.values().flat_map(|intent| &intent.legs);
            let legs = legs.filter(|leg| leg.payee == row.payee);
            let reserved: Wei = legs.map(Leg::amount).sum();
            assert_eq!(reserved, row.reserved, "reserved = under way");
        }
        let meta = load::<Meta>(&self.journal, Table::Engine).unwrap();
        let next = meta.first().and_then(|meta| meta.next).unwrap_or(0);
        assert!(chain.nonce <= next && intents.keys().all(|nonce| *nonce < next));
        assert!(
            self.noted.unwrap_or(0) <= next,
            "noted before it was written"
        );
    }

    pub(super) fn row(&self, payee: &Payee) -> Payable {
        self.engine.payables().get(payee).unwrap().clone()
    }

    pub(super) fn saw(&self, found: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(found)
    }

    /// What the journal holds of a payee, decoded again.
    pub(super) fn on_disk(&self, payee: &Payee) -> Option<Payable> {
        let rows = load::<Payable>(&self.journal, Table::Payables).unwrap();
        let row = rows.into_iter().find(|row| row.payee == *payee);
        row.inspect(|row| assert!(Payable::decode(&row.encode()).unwrap() == *row))
    }
}
