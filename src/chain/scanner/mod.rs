//! Finds what was paid to the earning wallet: every transfer is credited exactly once.
//!
//! A pure machine: [`Scanner::question`] says what to ask, [`Scanner::answer`] takes what came and
//! returns what has changed. The caller books that ([`Receivables::credit`]) and writes both batches
//! **in one commit**, in the order in which they were made.
//!
//! * The **cursor** is the last block up to which everything is final and booked; its hash is
//!   compared with every page, so an endpoint on another fork or chain is noticed.
//! * Everything behind the cursor is looked through again in each round. What is there is
//!   *provisional* credit; what is no longer there is taken back. A page speaks for no block that
//!   its endpoint does not have.
//! * The cursor moves over blocks that are final, and with two or more endpoints only when two of
//!   them show the same transfers and the same block at its end.
//! * Where nothing was looked at before it begins a little before the newest final block: to look
//!   through years of blocks would take hours, in which no payment is seen, and who lost the books
//!   would give credit for all that was ever paid to the wallet and none of what it was paid for.
//!
//! [`Receivables::credit`]: crate::ledger::Receivables::credit

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256, b256};

use super::engine::{Distrust, Endpoint};
use crate::ledger::{Batch, CreditChange, Journal, JournalError, Row, Table, load, opaque_debug};

mod rows;
#[cfg(test)]
mod tests;

pub use rows::{Booked, Credit, Cursor, LogKey};

/// Hash of `Transfer(address,address,uint256)`.
pub const TRANSFER: B256 =
    b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
/// Most blocks asked for at once. From providers' pages: the common limit is 10,000.
pub const MAX_SPAN: u64 = 10_000;
/// Most logs taken from one page of several blocks. A guess, far over what one wallet gets in
/// [`MAX_SPAN`] blocks; with more the range is made smaller. A single block is taken with all that
/// it holds: anybody can fill one with transfers of nothing, and must not stop the cursor by it.
pub const MAX_LOGS: usize = 10_000;
/// How long an endpoint has for an answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(120);
/// How soon the next page of the same round, or a second opinion, is asked for.
const NEXT_PAGE_AFTER: Duration = Duration::from_millis(200);

/// Settings of the scanner.
#[derive(Clone)]
pub struct ScannerConfig {
    /// The chain.
    pub chain_id: u64,
    /// The token.
    pub token: Address,
    /// The earning wallet.
    pub wallet: Address,
    /// The first block worth looking at.
    pub from_block: u64,
    /// How many blocks before the newest final one to begin with, when nothing was looked at
    /// before: the node may have been without an endpoint since somebody paid it. `u64::MAX`: begin
    /// with `from_block`.
    pub look_back: u64,
    /// How many endpoints there are.
    pub endpoints: u8,
    /// How often to look. About two blocks.
    pub poll: Duration,
    /// Most blocks at once; at most [`MAX_SPAN`].
    pub max_span: u64,
}

/// What to ask an endpoint: logs of the token, `Transfer` to the wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuestion {
    /// For the answer.
    pub id: u64,
    /// First block.
    pub from: u64,
    /// Last block; less when the endpoint has not so many ([`LogPage::to`]).
    pub to: u64,
    /// Block whose hash is wanted besides.
    pub anchor: Option<u64>,
    /// Not this endpoint, when there is another one.
    pub avoid: Option<Endpoint>,
}

/// What an endpoint answers. **Everything comes from one endpoint, in the order of the fields.**
#[derive(Clone)]
pub struct LogPage {
    /// Who says it.
    pub endpoint: Endpoint,
    /// `eth_chainId`.
    pub chain_id: u64,
    /// Number of its newest final block.
    pub finalized: u64,
    /// Number of its newest block.
    pub head: u64,
    /// Hash of the anchor; `None` when it does not have it, or none was asked for.
    pub anchor: Option<B256>,
    /// Last block that was looked at: the smaller of the question's and `head`.
    pub to: u64,
    /// Hash of block `to`, before the logs were read.
    pub hash_before: Option<B256>,
    /// The logs.
    pub logs: Vec<RawLog>,
    /// Hash of block `to`, after the logs were read.
    pub hash_after: Option<B256>,
    /// Hash of the smaller of `to` and `finalized`.
    pub final_hash: Option<B256>,
}

/// A log as it came, unchecked.
#[derive(Clone)]
pub struct RawLog {
    /// The contract.
    pub address: Address,
    /// The topics.
    pub topics: Vec<B256>,
    /// The data.
    pub data: Vec<u8>,
    /// Block number.
    pub block: u64,
    /// Block hash.
    pub block_hash: B256,
    /// Transaction hash.
    pub tx: B256,
    /// Place in the block.
    pub index: u64,
    /// Whether the endpoint says that a reorg has removed it.
    pub removed: bool,
}

/// An answer.
pub enum LogAnswer {
    /// A page.
    Page(Box<LogPage>),
    /// The endpoint says that it is too much.
    TooLarge,
    /// Nothing came.
    Failed,
}

/// What has changed.
#[derive(Default)]
pub struct Scanned {
    /// For the books.
    pub changes: Vec<CreditChange>,
    /// The scanner's own rows, to be written with those of the books in one commit.
    pub batch: Batch,
    /// An endpoint that is not believed, and why.
    pub distrust: Option<(Endpoint, Distrust)>,
}

opaque_debug!(ScannerConfig, LogPage, RawLog, LogAnswer, Scanned, Scanner);

/// What one endpoint says is final, waiting for another to say the same.
struct Candidate {
    endpoint: Endpoint,
    upto: u64,
    hash: B256,
    credits: BTreeMap<LogKey, Credit>,
}

struct Asking {
    question: LogQuestion,
    until: Duration,
}

/// The machine. See the [module](self).
pub struct Scanner {
    config: ScannerConfig,
    cursor: Cursor,
    provisional: BTreeMap<LogKey, Credit>,
    candidate: Option<Candidate>,
    /// First block of the next page of this round.
    at: u64,
    span: u64,
    asking: Option<Asking>,
    ask_at: Duration,
    avoid: Option<Endpoint>,
    next_id: u64,
    /// While it is not settled where to begin: where each endpoint would.
    beginnings: Option<BTreeMap<Endpoint, u64>>,
}

impl Scanner {
    /// Reads how far it has come.
    ///
    /// # Errors
    /// [`JournalError`] when that can't be read or is damaged.
    pub fn recover(
        config: ScannerConfig,
        journal: &dyn Journal,
        now: Duration,
    ) -> Result<Self, JournalError> {
        let cursor = load::<Cursor>(journal, Table::Cursor)?.into_iter().next();
        let asks = cursor.is_none() && config.look_back < u64::MAX;
        let beginnings = asks.then(BTreeMap::new);
        let cursor = cursor.unwrap_or(Cursor {
            next: config.from_block,
            hash: None,
        });
        let provisional = load::<Credit>(journal, Table::Provisional)?;
        let span = config.max_span.clamp(1, MAX_SPAN);
        Ok(Self {
            config,
            at: cursor.next,
            cursor,
            provisional: provisional.into_iter().map(|c| (c.key, c)).collect(),
            candidate: None,
            span,
            asking: None,
            ask_at: now,
            avoid: None,
            next_id: 1,
            beginnings,
        })
    }

    /// The next block that is not booked for good.
    pub fn cursor(&self) -> u64 {
        self.cursor.next
    }

    /// Looks as soon as may be: somebody says that he has paid.
    pub fn poke(&mut self, now: Duration) {
        self.ask_at = self.ask_at.min(now);
    }

    /// When [`Scanner::question`] is worth calling again.
    pub fn poll_timeout(&self) -> Duration {
        self.asking.as_ref().map_or(self.ask_at, |a| a.until)
    }

    /// What to ask now.
    pub fn question(&mut self, now: Duration) -> Option<LogQuestion> {
        self.asking.take_if(|asking| now >= asking.until);
        if self.asking.is_some() || now < self.ask_at {
            return None;
        }
        let (from, to) = match (&self.candidate, &self.beginnings) {
            // Nobody has that block: only how far the endpoint has come is of interest.
            (_, Some(beginnings)) if beginnings.is_empty() => (u64::MAX, u64::MAX),
            // A second opinion, about exactly that.
            (Some(candidate), _) => (self.cursor.next, candidate.upto),
            (None, _) => (self.at, self.at.saturating_add(self.span - 1)),
        };
        self.next_id += 1;
        let question = LogQuestion {
            id: self.next_id,
            from,
            to,
            anchor: self.cursor.hash.and(self.cursor.next.checked_sub(1)),
            avoid: self.avoid,
        };
        let until = now + ASK_TIMEOUT;
        self.asking = Some(Asking { question, until });
        Some(question)
    }

    /// Takes an answer; those to questions that are not out are ignored.
    pub fn answer(&mut self, now: Duration, id: u64, answer: LogAnswer) -> Scanned {
        let mut scanned = Scanned::default();
        let Some(asking) = self.asking.take_if(|asking| asking.question.id == id) else {
            return scanned;
        };
        self.ask_at = now + self.config.poll;
        match answer {
            LogAnswer::Failed => self.candidate = None,
            LogAnswer::TooLarge => self.shrink(now),
            LogAnswer::Page(page)
                if page.logs.len() > MAX_LOGS && asking.question.to > asking.question.from =>
            {
                self.shrink(now);
            }
            LogAnswer::Page(page) => {
                self.avoid = Some(page.endpoint);
                if self.begin(&page, &mut scanned) {
                    self.ask_at = now + NEXT_PAGE_AFTER;
                    return scanned;
                }
                match self.weigh(&asking.question, &page) {
                    Ok(Some(credits)) => {
                        self.take(now, &asking.question, &page, credits, &mut scanned)
                    }
                    Ok(None) => self.round_is_over(),
                    Err(why) => {
                        self.candidate = None;
                        scanned.distrust = Some((page.endpoint, why));
                    }
                }
            }
        }
        scanned
    }

    /// Settles where to begin, as far as a page helps with that. Whether the beginning has moved, so
    /// that the page is about other blocks.
    ///
    /// With two or more endpoints it is settled when two have spoken, and the earlier one counts: one
    /// that is far ahead of the chain must not have payments passed over.
    fn begin(&mut self, page: &LogPage, scanned: &mut Scanned) -> bool {
        let Some(beginnings) = &mut self.beginnings else {
            return false;
        };
        if page.chain_id != self.config.chain_id || page.finalized > page.head {
            // It is told what is wrong with it when it is asked about blocks.
            return false;
        }
        let first = page.finalized.saturating_sub(self.config.look_back);
        let first = first.max(self.config.from_block);
        let nothing_yet = beginnings.is_empty();
        let of_this = beginnings.entry(page.endpoint).or_insert(first);
        *of_this = first.min(*of_this);
        let earliest = beginnings.values().min().copied().unwrap_or(first);
        let settled = beginnings.len() >= 2 || self.config.endpoints < 2;
        let moves = nothing_yet || earliest < self.cursor.next;
        if moves {
            self.cursor.next = earliest;
            self.round_is_over();
        }
        if settled {
            self.beginnings = None;
            scanned.batch.put(&self.cursor);
        }
        moves
    }

    fn shrink(&mut self, now: Duration) {
        self.candidate = None;
        if self.span > 1 {
            self.span /= 2;
            self.ask_at = now + NEXT_PAGE_AFTER;
        }
    }

    fn round_is_over(&mut self) {
        self.at = self.cursor.next;
        self.candidate = None;
    }

    /// Checks a page. Nothing when it has no block that was asked for.
    fn weigh(
        &self,
        question: &LogQuestion,
        page: &LogPage,
    ) -> Result<Option<BTreeMap<LogKey, Credit>>, Distrust> {
        if page.chain_id != self.config.chain_id {
            return Err(Distrust::WrongChain(page.chain_id));
        }
        if page.finalized > page.head || page.to > page.head || page.to > question.to {
            return Err(Distrust::Contradiction);
        }
        if question.anchor.is_some() {
            match page.anchor {
                None => return Err(Distrust::Behind),
                anchor if anchor == self.cursor.hash => {}
                Some(_) => return Err(Distrust::Contradiction),
            }
        }
        if page.to < question.from {
            return Ok(None);
        }
        let steady = page.hash_before.is_some() && page.hash_before == page.hash_after;
        if !steady {
            // A block came or went meanwhile: ask again, it is nobody's fault.
            return Ok(None);
        }
        let mut credits = BTreeMap::new();
        let mut blocks: BTreeMap<u64, B256> = BTreeMap::new();
        for log in &page.logs {
            let Some(credit) = self.parse(log, question.from, page.to) else {
                continue;
            };
            if *blocks.entry(log.block).or_insert(log.block_hash) != log.block_hash {
                return Err(Distrust::Contradiction);
            }
            credits.insert(credit.key, credit);
        }
        let of_end = blocks.get(&page.to).copied();
        if of_end.is_some_and(|hash| Some(hash) != page.hash_after) {
            return Err(Distrust::Contradiction);
        }
        Ok(Some(credits))
    }

    /// A transfer to the wallet in the range that was asked for; nothing for every other log.
    fn parse(&self, log: &RawLog, from: u64, to: u64) -> Option<Credit> {
        let [topic, payer, payee] = log.topics.as_slice() else {
            return None;
        };
        let ours = log.address == self.config.token
            && *topic == TRANSFER
            && *payee == self.config.wallet.into_word()
            && !log.removed
            && (from..=to).contains(&log.block);
        if !ours || payer[..12] != [0; 12] || log.data.len() != 32 {
            return None;
        }
        let amount = u128::try_from(U256::from_be_slice(&log.data)).ok()?;
        (amount > 0).then_some(Credit {
            key: LogKey {
                block: log.block_hash,
                tx: log.tx,
                index: log.index,
            },
            number: log.block,
            payer: Address::from_slice(&payer[12..]),
            amount,
        })
    }

    fn take(
        &mut self,
        now: Duration,
        question: &LogQuestion,
        page: &LogPage,
        credits: BTreeMap<LogKey, Credit>,
        scanned: &mut Scanned,
    ) {
        self.replace(question.from, page.to, &credits, scanned);
        let upto = page.to.min(page.finalized);
        let second = self.candidate.take();
        if question.from == self.cursor.next && upto >= question.from {
            let Some(hash) = page.final_hash else {
                return;
            };
            let now_final = credits.into_iter().filter(|(_, c)| c.number <= upto);
            let candidate = Candidate {
                endpoint: page.endpoint,
                upto,
                hash,
                credits: now_final.collect(),
            };
            let agrees = |other: &Candidate| {
                other.endpoint != candidate.endpoint
                    && (other.upto, other.hash) == (candidate.upto, candidate.hash)
                    && other.credits == candidate.credits
            };
            if self.config.endpoints < 2 || second.as_ref().is_some_and(agrees) {
                self.finish(candidate, scanned);
            } else if second
                .as_ref()
                .is_none_or(|other| other.endpoint != candidate.endpoint)
            {
                self.candidate = Some(candidate);
                // When they contradict each other, the next round is soon enough.
                if second.is_none() {
                    self.ask_at = now + NEXT_PAGE_AFTER;
                }
                return;
            }
            // Only one of them answers: nothing is settled before another does, and what came later
            // is looked at all the same.
        }
        self.span = (self.span + self.span / 4 + 1).min(self.config.max_span.clamp(1, MAX_SPAN));
        if page.to < page.head {
            self.at = page.to.saturating_add(1).max(self.cursor.next);
            self.ask_at = now + NEXT_PAGE_AFTER;
        } else {
            self.round_is_over();
        }
    }

    /// Makes the provisional credit of a range what a page shows there.
    fn replace(
        &mut self,
        from: u64,
        to: u64,
        credits: &BTreeMap<LogKey, Credit>,
        scanned: &mut Scanned,
    ) {
        let gone: Vec<LogKey> = self
            .provisional
            .values()
            .filter(|c| (from..=to).contains(&c.number) && credits.get(&c.key) != Some(c))
            .map(|c| c.key)
            .collect();
        for key in gone {
            self.take_back(&key, scanned);
        }
        for credit in credits.values() {
            if !self.provisional.contains_key(&credit.key) {
                self.see(credit, scanned);
            }
        }
    }

    fn see(&mut self, credit: &Credit, scanned: &mut Scanned) {
        self.provisional.insert(credit.key, credit.clone());
        scanned.changes.push(seen(credit));
        scanned.batch.put(&credit.clone());
    }

    fn take_back(&mut self, key: &LogKey, scanned: &mut Scanned) {
        if let Some(credit) = self.provisional.remove(key) {
            scanned.changes.push(CreditChange::Gone {
                payer: credit.payer,
                amount: credit.amount,
                transaction: credit.key.tx,
            });
            scanned.batch.remove(Table::Provisional, credit.key());
        }
    }

    /// Everything up to a block is final: books it and moves the cursor.
    fn finish(&mut self, candidate: Candidate, scanned: &mut Scanned) {
        let stale: BTreeSet<LogKey> = self
            .provisional
            .values()
            .filter(|c| c.number <= candidate.upto && candidate.credits.get(&c.key) != Some(c))
            .map(|c| c.key)
            .collect();
        for key in stale {
            self.take_back(&key, scanned);
        }
        for credit in candidate.credits.into_values() {
            if self.provisional.remove(&credit.key).is_none() {
                scanned.changes.push(seen(&credit));
            }
            scanned.changes.push(CreditChange::Final {
                payer: credit.payer,
                amount: credit.amount,
                transaction: credit.key.tx,
            });
            scanned.batch.remove(Table::Provisional, credit.key());
            scanned.batch.put(&Booked(credit));
        }
        self.cursor = Cursor {
            next: candidate.upto.saturating_add(1),
            hash: Some(candidate.hash),
        };
        scanned.batch.put(&self.cursor);
    }
}

fn seen(credit: &Credit) -> CreditChange {
    CreditChange::Seen {
        payer: credit.payer,
        amount: credit.amount,
        transaction: credit.key.tx,
    }
}
