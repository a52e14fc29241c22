//! The scanner and the receivables against a model chain with reorgs and endpoints that lag, lie
//! and limit.

use std::collections::BTreeMap;

use alloy_primitives::keccak256;
use proptest::prelude::*;

use super::*;
use crate::ledger::{Limits, MemoryJournal, Receivables, Thresholds, Wei};

const FINALITY: usize = 5;
const CHAIN_ID: u64 = 31_337;

fn token() -> Address {
    Address::repeat_byte(0x70)
}

fn earning() -> Address {
    Address::repeat_byte(0xee)
}

fn payer(n: u8) -> Address {
    Address::repeat_byte(n + 1)
}

#[derive(Clone)]
struct Block {
    hash: B256,
    logs: Vec<RawLog>,
    /// What was really paid in it.
    paid: Vec<(Address, Wei)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Honest,
    Lags(u8),
    Down,
    WrongChain,
    /// Gives at most so many blocks at once.
    Limits(u8),
    Lies(Lie),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    HidesLogs,
    InventsLogs,
    EverythingIsFinal,
    OtherFork,
    ChangesAmounts,
}

struct World {
    chain: Vec<Block>,
    salt: u64,
    modes: Vec<Mode>,
    turn: usize,
    journal: MemoryJournal,
    books: Receivables,
    scanner: Scanner,
    now: Duration,
}

fn config(endpoints: u8) -> ScannerConfig {
    ScannerConfig {
        chain_id: CHAIN_ID,
        token: token(),
        wallet: earning(),
        from_block: 1,
        look_back: u64::MAX,
        endpoints,
        poll: Duration::from_secs(4),
        max_span: 8,
    }
}

fn books(journal: &MemoryJournal) -> Receivables {
    let limits = Limits {
        first: 100,
        pool: 1_000,
        refill_per_day: 0,
        quota: 1_000,
        share: 4,
    };
    Receivables::load(journal, limits, Thresholds::default()).unwrap()
}

impl World {
    fn new(endpoints: u8) -> Self {
        let journal = MemoryJournal::new();
        let mut world = Self {
            chain: Vec::new(),
            salt: 0,
            modes: vec![Mode::Honest; endpoints.into()],
            turn: 0,
            books: books(&journal),
            scanner: Scanner::recover(config(endpoints), &journal, Duration::ZERO).unwrap(),
            journal,
            now: Duration::ZERO,
        };
        for _ in 0..3 {
            world.mine(&[]);
        }
        world
    }

    fn log(&self, from: Address, to: Address, amount: Wei, index: u64) -> RawLog {
        RawLog {
            address: token(),
            topics: vec![TRANSFER, from.into_word(), to.into_word()],
            data: U256::from(amount).to_be_bytes::<32>().to_vec(),
            block: self.chain.len() as u64 + 1,
            block_hash: B256::ZERO,
            tx: keccak256((self.salt, amount, index).0.to_be_bytes()),
            index,
            removed: false,
        }
    }

    fn mine(&mut self, payments: &[(u8, Wei)]) {
        self.salt += 1;
        let hash = keccak256(self.salt.to_be_bytes());
        let mut logs = Vec::new();
        for (index, (from, amount)) in payments.iter().enumerate() {
            logs.push(self.log(payer(*from), earning(), *amount, index as u64));
        }
        // What must not be credited: another token, another payee, another event, a removed log.
        let decoy = self.log(payer(0), earning(), 1_000_000, 50);
        let other = |change: fn(&mut RawLog)| {
            let mut log = decoy.clone();
            change(&mut log);
            log
        };
        logs.push(other(|log| log.address = Address::ZERO));
        logs.push(other(|log| log.topics[2] = Address::ZERO.into_word()));
        logs.push(other(|log| log.topics[0] = B256::ZERO));
        logs.push(other(|log| log.topics.truncate(2)));
        logs.push(other(|log| log.removed = true));
        logs.push(other(|log| log.data = vec![1; 31]));
        logs.push(other(|log| log.data = vec![0xff; 32]));
        for log in &mut logs {
            log.block_hash = hash;
        }
        let paid = payments.iter().filter(|(_, amount)| *amount > 0);
        let paid = paid.map(|(from, amount)| (payer(*from), *amount)).collect();
        self.chain.push(Block { hash, logs, paid });
    }

    fn reorg(&mut self, depth: usize) {
        let depth = depth.min(FINALITY).min(self.chain.len());
        self.chain.truncate(self.chain.len() - depth);
    }

    fn hash(&self, number: u64, head: u64) -> Option<B256> {
        let known = number >= 1 && number <= head;
        known.then(|| self.chain[number as usize - 1].hash)
    }

    fn page(&mut self, question: &LogQuestion) -> LogAnswer {
        // In turn, those that are down left out, and the one to avoid only when there is no other.
        let count = self.modes.len();
        self.turn += 1;
        let turn = self.turn;
        let mut order: Vec<usize> = (0..count).map(|n| (turn + n) % count).collect();
        order.retain(|at| self.modes[*at] != Mode::Down);
        order.sort_by_key(|at| question.avoid == Some(*at as u8));
        let Some(at) = order.first().copied() else {
            return LogAnswer::Failed;
        };
        let (mode, height) = (self.modes[at], self.chain.len());
        let lag = if let Mode::Lags(lag) = mode {
            lag.into()
        } else {
            0
        };
        let head = height.saturating_sub(lag) as u64;
        let to = question.to.min(head);
        if let Mode::Limits(limit) = mode
            && to + 1 - question.from.min(to + 1) > limit.into()
        {
            return LogAnswer::TooLarge;
        }
        let finalized = head.saturating_sub(FINALITY as u64);
        let blocks = question.from.min(to + 1)..to + 1;
        let logs = blocks.flat_map(|n| self.chain[n as usize - 1].logs.clone());
        let mut page = LogPage {
            endpoint: at as u8,
            chain_id: CHAIN_ID,
            finalized,
            head,
            anchor: question.anchor.and_then(|n| self.hash(n, head)),
            to,
            hash_before: self.hash(to, head),
            logs: logs.collect(),
            hash_after: self.hash(to, head),
            final_hash: self.hash(to.min(finalized), head),
        };
        match mode {
            Mode::WrongChain => page.chain_id = 1,
            Mode::Lies(Lie::HidesLogs) => page.logs.clear(),
            Mode::Lies(Lie::InventsLogs) if to >= question.from => {
                let mut log = self.log(payer(3), earning(), 77, 9);
                log.block = question.from;
                log.block_hash = self.chain[question.from as usize - 1].hash;
                page.logs.push(log);
            }
            Mode::Lies(Lie::EverythingIsFinal) => {
                page.finalized = head;
                page.final_hash = page.hash_after;
            }
            Mode::Lies(Lie::OtherFork) => {
                let fork = Some(B256::repeat_byte(0xff));
                (page.hash_before, page.hash_after, page.final_hash) = (fork, fork, fork);
            }
            Mode::Lies(Lie::ChangesAmounts) => {
                let good = |log: &&mut RawLog| log.data.len() == 32 && log.data[0] == 0;
                for log in page.logs.iter_mut().filter(good) {
                    log.data[31] ^= 1;
                }
            }
            _ => {}
        }
        LogAnswer::Page(Box::new(page))
    }

    /// One question and its answer; the commit is lost when the process dies before it.
    fn round(&mut self, dies: bool) {
        self.now += Duration::from_secs(5);
        let Some(question) = self.scanner.question(self.now) else {
            return;
        };
        let answer = self.page(&question);
        let scanned = self.scanner.answer(self.now, question.id, answer);
        let mut batch = self.books.credit(self.now.as_secs(), &scanned.changes);
        batch.append(scanned.batch);
        if dies {
            self.crash();
        } else {
            self.journal.commit(&batch).unwrap();
        }
        self.check();
    }

    fn crash(&mut self) {
        let endpoints = self.modes.len() as u8;
        self.books = books(&self.journal);
        self.scanner = Scanner::recover(config(endpoints), &self.journal, self.now).unwrap();
    }

    /// What was really paid up to a block, by payer.
    fn truth(&self, below: u64) -> BTreeMap<Address, Wei> {
        let mut sums = BTreeMap::new();
        let blocks = &self.chain[..below as usize - 1];
        for (payer, amount) in blocks.iter().flat_map(|block| &block.paid) {
            *sums.entry(*payer).or_default() += *amount;
        }
        sums
    }

    /// What is booked for good is what is in the chain below the cursor, which is final.
    fn check(&self) {
        let cursor = self.scanner.cursor();
        let height = self.chain.len();
        let past_final = cursor as usize > height.saturating_sub(FINALITY) + 1;
        assert!(
            cursor == 1 || !past_final || height < FINALITY,
            "cursor {cursor} at {height}"
        );
        let booked = self.books.iter().filter(|row| row.paid > 0);
        let booked: BTreeMap<Address, Wei> = booked.map(|row| (row.payer, row.paid)).collect();
        assert_eq!(booked, self.truth(cursor));
        let on_disk = books(&self.journal);
        let on_disk: Wei = on_disk.iter().map(|row| row.credited()).sum();
        let here: Wei = self.books.iter().map(|row| row.credited()).sum();
        assert_eq!(on_disk, here);
        let provisional: Wei = self.books.iter().map(|row| row.provisional).sum();
        let open: Wei = self.scanner.provisional.values().map(|c| c.amount).sum();
        assert_eq!(provisional, open);
    }

    fn calm_down(&mut self, liar: Option<usize>) {
        for (at, mode) in self.modes.iter_mut().enumerate() {
            if liar != Some(at) {
                *mode = Mode::Honest;
            }
        }
        for _ in 0..FINALITY + 1 {
            self.mine(&[]);
        }
        let all_final = (self.chain.len() - FINALITY + 1) as u64;
        for _ in 0..400 {
            self.round(false);
            if self.scanner.cursor() == all_final {
                break;
            }
        }
        assert_eq!(self.scanner.cursor(), all_final);
        self.check();
    }
}

#[test]
fn a_payment_counts_at_one_block_and_stays_when_it_is_final() {
    let mut world = World::new(1);
    world.mine(&[(1, 500)]);
    world.round(false);
    let row = world.books.get(&payer(1)).unwrap();
    assert_eq!((row.provisional, row.paid), (500, 0));
    for _ in 0..FINALITY {
        world.mine(&[]);
    }
    world.round(false);
    let row = world.books.get(&payer(1)).unwrap();
    assert_eq!((row.provisional, row.paid), (0, 500));
}

#[test]
fn a_reorg_takes_it_back_and_the_same_payment_in_another_block_counts_once() {
    let mut world = World::new(1);
    world.mine(&[(1, 500)]);
    world.round(false);
    world.reorg(1);
    world.mine(&[]);
    world.round(false);
    assert_eq!(world.books.get(&payer(1)).unwrap().credited(), 0);
    world.mine(&[(1, 500)]);
    world.calm_down(None);
    assert_eq!(world.books.get(&payer(1)).unwrap().paid, 500);
}

#[test]
fn ranges_shrink_when_they_are_too_large_and_grow_again() {
    let mut world = World::new(1);
    for n in 0..60 {
        world.mine(&[(1, n + 1)]);
    }
    world.modes[0] = Mode::Limits(2);
    for _ in 0..200 {
        world.round(false);
    }
    assert!(world.scanner.span <= 4);
    world.calm_down(None);
    for _ in 0..9 {
        world.round(false);
    }
    assert_eq!(world.scanner.span, 8);
    assert_eq!(world.books.get(&payer(1)).unwrap().paid, 60 * 61 / 2);
}

/// Like `World::new`, after a long time in which nobody looked: the first payer paid in its midst,
/// the second lately.
fn late(endpoints: u8, look_back: u64) -> World {
    let mut world = World::new(endpoints);
    for n in 0..100 {
        world.mine(if n == 50 { &[(1, 7)] } else { &[] });
    }
    world.mine(&[(2, 9)]);
    let config = ScannerConfig {
        look_back,
        ..config(endpoints)
    };
    world.scanner = Scanner::recover(config, &world.journal, world.now).unwrap();
    world
}

/// A question and its answer, without a look at what is below the cursor.
fn look(world: &mut World) {
    world.now += Duration::from_secs(5);
    let question = world.scanner.question(world.now).unwrap();
    let answer = world.page(&question);
    let scanned = world.scanner.answer(world.now, question.id, answer);
    let mut batch = world.books.credit(world.now.as_secs(), &scanned.changes);
    batch.append(scanned.batch);
    world.journal.commit(&batch).unwrap();
}

fn credited(world: &World, n: u8) -> Wei {
    world.books.get(&payer(n)).map_or(0, |row| row.credited())
}

#[test]
fn what_was_never_looked_at_begins_a_little_before_the_final_blocks() {
    for endpoints in [1, 2] {
        let mut world = late(endpoints, 20);
        let first = world.chain.len() as u64 - FINALITY as u64 - 20;
        for _ in 0..endpoints {
            look(&mut world);
        }
        assert_eq!(world.scanner.cursor(), first);
        for _ in 0..30 {
            look(&mut world);
        }
        assert_eq!((credited(&world, 1), credited(&world, 2)), (0, 9));
        // It is on disk: a restart goes on where it was.
        let before = world.scanner.cursor();
        assert!(before > first);
        world.mine(&[]);
        world.crash();
        assert_eq!(world.scanner.cursor(), before);
    }
}

#[test]
fn an_endpoint_that_is_ahead_of_the_chain_has_no_payment_passed_over() {
    let mut world = late(2, 5);
    let honest = world.chain.len() as u64 - FINALITY as u64 - 5;
    world.now += Duration::from_secs(5);
    let question = world.scanner.question(world.now).unwrap();
    let LogAnswer::Page(mut page) = world.page(&question) else {
        panic!("a page");
    };
    (page.head, page.finalized) = (1 << 40, 1 << 40);
    let liar = page.endpoint;
    let scanned = world
        .scanner
        .answer(world.now, question.id, LogAnswer::Page(page));
    assert!(scanned.batch.is_empty(), "not settled yet");
    let mut page = world
        .scanner
        .question(world.now + Duration::from_secs(5))
        .unwrap();
    page.avoid = Some(liar);
    world.now += Duration::from_secs(5);
    let answer = world.page(&page);
    world.scanner.answer(world.now, page.id, answer);
    assert_eq!(world.scanner.cursor(), honest);
}

#[test]
fn while_one_of_two_endpoints_is_down_what_is_paid_is_seen_all_the_same() {
    let mut world = late(2, 5);
    world.modes[1] = Mode::Down;
    for _ in 0..20 {
        look(&mut world);
    }
    assert_eq!(credited(&world, 2), 9, "provisionally");
    world.crash();
    world.modes[1] = Mode::Honest;
}

#[test]
fn an_endpoint_on_another_chain_or_fork_moves_nothing() {
    let mut world = World::new(1);
    for _ in 0..12 {
        world.mine(&[(1, 5)]);
        world.round(false);
    }
    let before = world.scanner.cursor();
    world.modes[0] = Mode::WrongChain;
    world.mine(&[(1, 5)]);
    world.round(false);
    assert_eq!(world.scanner.cursor(), before);
    world.modes[0] = Mode::Honest;
    let mut wrong = world
        .scanner
        .question(world.now + Duration::from_secs(9))
        .unwrap();
    let LogAnswer::Page(mut page) = world.page(&wrong) else {
        panic!("a page");
    };
    page.anchor = Some(B256::ZERO);
    wrong.id = world.scanner.next_id;
    let scanned = world
        .scanner
        .answer(world.now, wrong.id, LogAnswer::Page(page));
    assert_eq!(scanned.distrust, Some((0, Distrust::Contradiction)));
    assert!(scanned.changes.is_empty() && scanned.batch.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Mine(Vec<(u8, u16)>),
    Reorg(u8),
    Round(bool),
    Endpoint(u8, Mode),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![
        4 => Just(Mode::Honest),
        3 => (1..9_u8).prop_map(Mode::Lags),
        1 => Just(Mode::Down),
        1 => Just(Mode::WrongChain),
        2 => (1..6_u8).prop_map(Mode::Limits),
    ];
    prop_oneof![
        6 => prop::collection::vec((0..4_u8, 0..500_u16), 0..4).prop_map(Step::Mine),
        2 => (1..8_u8).prop_map(Step::Reorg),
        8 => prop::bool::weighted(0.15).prop_map(Step::Round),
        3 => (any::<u8>(), mode).prop_map(|(at, mode)| Step::Endpoint(at, mode)),
        1 => Just(Step::Crash),
    ]
}

fn run(endpoints: u8, liar: Option<(usize, Lie)>, steps: Vec<Step>) {
    let mut world = World::new(endpoints);
    if let Some((at, lie)) = liar {
        world.modes[at] = Mode::Lies(lie);
    }
    let liar = liar.map(|(at, _)| at);
    for step in steps {
        match step {
            Step::Mine(payments) => {
                let payments: Vec<_> = payments.iter().map(|(p, n)| (*p, Wei::from(*n))).collect();
                world.mine(&payments);
            }
            // A reorg ends as high as it began, or the next blocks make it so.
            Step::Reorg(depth) => {
                let before = world.chain.len();
                world.reorg(depth.into());
                while world.chain.len() < before {
                    world.mine(&[(1, 3)]);
                }
            }
            Step::Round(dies) => world.round(dies),
            Step::Endpoint(at, mode) => {
                let at = usize::from(at) % world.modes.len();
                if liar != Some(at) {
                    world.modes[at] = mode;
                }
            }
            Step::Crash => world.crash(),
        }
    }
    world.calm_down(liar);
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("MASQ_PROPTEST_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(500);
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn credits_are_the_final_transfers(steps in prop::collection::vec(step(), 1..80)) {
        run(1, None, steps);
    }

    #[test]
    fn credits_are_the_final_transfers_whatever_one_of_three_endpoints_says(
        at in 0..3_usize,
        lie in prop_oneof![
            Just(Lie::HidesLogs), Just(Lie::InventsLogs),
            Just(Lie::EverythingIsFinal), Just(Lie::OtherFork), Just(Lie::ChangesAmounts),
        ],
        steps in prop::collection::vec(step(), 1..80),
    ) {
        run(3, Some((at, lie)), steps);
    }
}
