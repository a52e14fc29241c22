//! A model of a chain: one account that sends, a token, blocks, a pool, reorgs.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

use super::super::io::*;
use super::*;
use crate::ledger::{Reader, Writer};

/// Blocks on top of a block that make it final.
pub(super) const FINALITY: usize = 6;

/// A transaction of the account, as the model reads it from the signed bytes.
#[derive(Clone, Debug)]
pub(super) struct Tx {
    pub hash: B256,
    pub nonce: u64,
    pub to: Address,
    pub data: Bytes,
    pub gas: u64,
    pub max_fee: u128,
    pub tip: u128,
}

impl Tx {
    /// "Signs": the model's signature is that nobody else makes transactions.
    pub(super) fn sign(request: &TxRequest) -> (B256, Bytes) {
        let mut out = Writer::new();
        out.u64(request.chain_id).u64(request.nonce);
        out.raw(request.to.as_slice()).blob(&request.data);
        out.u64(request.gas).u128(request.max_fee).u128(request.tip);
        let raw = Bytes::from(out.into_bytes());
        (keccak256(&raw), raw)
    }

    pub(super) fn decode(raw: &Bytes) -> Self {
        let mut from = Reader::new(raw);
        assert_eq!(from.u64(), Ok(CHAIN_ID));
        Self {
            hash: keccak256(raw),
            nonce: from.u64().unwrap(),
            to: Address::new(from.array().unwrap()),
            data: Bytes::copy_from_slice(from.blob().unwrap()),
            gas: from.u64().unwrap(),
            max_fee: from.u128().unwrap(),
            tip: from.u128().unwrap(),
        }
    }

    fn word(&self, at: usize) -> U256 {
        U256::from_be_slice(&self.data[at..at + 32])
    }

    fn address(&self, at: usize) -> Address {
        Address::from_slice(&self.data[at + 12..at + 32])
    }

    /// What it moves.
    fn transfers(&self) -> Vec<(Address, Wei)> {
        let number = |at| Wei::try_from(self.word(at)).unwrap();
        if self.to == token() && self.data[..4] == abi::transfer(token(), 0)[..4] {
            return vec![(self.address(4), number(36))];
        }
        if self.to != disperse() {
            return vec![];
        }
        let (to, amounts) = (4 + number(36) as usize, 4 + number(68) as usize);
        let items = 1..=number(to) as usize;
        items
            .map(|n| (self.address(to + 32 * n), number(amounts + 32 * n)))
            .collect()
    }

    fn approves(&self) -> Option<Wei> {
        let is = self.to == token() && self.data[..4] == abi::approve(token(), 0)[..4];
        is.then(|| Wei::try_from(self.word(36)).unwrap())
    }
}

#[derive(Clone)]
pub(super) struct Mined {
    pub tx: Tx,
    pub success: bool,
    pub moved: bool,
}

#[derive(Clone)]
pub(super) struct Block {
    pub hash: B256,
    pub txs: Vec<Mined>,
}

/// What follows from the blocks up to some height.
#[derive(Clone, Default)]
pub(super) struct State {
    pub nonce: u64,
    pub moved: BTreeMap<Address, Wei>,
    pub allowance: Wei,
    pub spent: u128,
}

impl State {
    fn apply(&mut self, tx: &Tx, success: bool) {
        self.nonce += 1;
        self.spent += u128::from(tx.gas) * tx.max_fee.min(1_000);
        if success {
            for (to, amount) in tx.transfers() {
                *self.moved.entry(to).or_default() += amount;
                if tx.to == disperse() {
                    self.allowance -= amount;
                }
            }
            self.allowance = tx.approves().unwrap_or(self.allowance);
        }
    }

    pub(super) fn moved_in_all(&self) -> Wei {
        self.moved.values().sum()
    }
}

pub(super) struct Chain {
    pub blocks: Vec<Block>,
    pub pool: BTreeMap<u64, Tx>,
    pub base_fee: u128,
    pub tokens: Wei,
    pub coins: u128,
    /// The token refuses transfers.
    pub token_stops: bool,
    /// The token says that it has moved what it has not.
    pub token_lies: bool,
    /// Transfers are said to go to this contract, whoever was to have them.
    pub astray: Option<Address>,
    /// Endpoints know the state of older blocks.
    pub keeps_state: bool,
    salt: u64,
    /// The state after each block.
    states: Vec<State>,
}

impl Chain {
    pub(super) fn new() -> Self {
        let mut chain = Self {
            blocks: Vec::new(),
            pool: BTreeMap::new(),
            base_fee: BASE_FEE,
            tokens: TOKEN,
            coins: TOKEN,
            token_stops: false,
            token_lies: false,
            astray: None,
            keeps_state: true,
            salt: 0,
            states: vec![State::default()],
        };
        for _ in 0..FINALITY + 2 {
            chain.mine();
        }
        chain
    }

    pub(super) fn state(&self, height: usize) -> &State {
        &self.states[height]
    }

    pub(super) fn height(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn final_height(&self) -> usize {
        self.height().saturating_sub(FINALITY)
    }

    pub(super) fn mine(&mut self) {
        self.salt += 1;
        let mut state = self.state(self.height()).clone();
        let mut txs = Vec::new();
        self.pool.retain(|nonce, _| *nonce >= state.nonce);
        while let Some(tx) = self.pool.remove(&state.nonce) {
            if tx.max_fee < self.base_fee {
                self.pool.insert(tx.nonce, tx);
                break;
            }
            let moves: Wei = tx.transfers().iter().map(|(_, amount)| amount).sum();
            let covered = state.moved_in_all() + moves <= self.tokens;
            let allowed = tx.to != disperse() || moves <= state.allowance;
            let success = covered && allowed && !(self.token_stops && moves > 0);
            let moved = success && !self.token_lies;
            state.apply(&tx, moved);
            txs.push(Mined { tx, success, moved });
        }
        let hash = keccak256(self.salt.to_be_bytes());
        self.blocks.push(Block { hash, txs });
        self.states.push(state);
    }

    /// Replaces up to `depth` blocks that are not final by empty ones; what was in them is in the
    /// pool again, unless it is `lost`.
    pub(super) fn reorg(&mut self, depth: usize, lost: bool) {
        let depth = depth.min(self.height() - self.final_height());
        let gone = self.blocks.split_off(self.height() - depth);
        self.states.truncate(self.blocks.len() + 1);
        if !lost {
            for mined in gone.into_iter().flat_map(|block| block.txs) {
                self.pool.insert(mined.tx.nonce, mined.tx);
            }
        }
        let (pool, fee) = (std::mem::take(&mut self.pool), self.base_fee);
        for _ in 0..depth {
            self.mine();
        }
        (self.pool, self.base_fee) = (pool, fee);
    }

    /// What a node does with bytes that come in.
    pub(super) fn take(&mut self, raw: &Bytes) -> Result<(), SendError> {
        let tx = Tx::decode(raw);
        if tx.nonce < self.state(self.height()).nonce {
            return Err(SendError::NonceTooLow);
        }
        if let Some(old) = self.pool.get(&tx.nonce) {
            let more = |new: u128, old: u128| new * 10 >= old * 11;
            if old.hash != tx.hash && !(more(tx.max_fee, old.max_fee) && more(tx.tip, old.tip)) {
                return Err(SendError::Underpriced);
            }
        }
        self.pool.insert(tx.nonce, tx);
        Ok(())
    }

    /// What an honest endpoint shows that is `lag` blocks behind.
    pub(super) fn view(&self, endpoint: Endpoint, hashes: &[B256], lag: usize) -> View {
        let height = self.height().saturating_sub(lag).max(1);
        let finalized = height.saturating_sub(FINALITY).max(1);
        let (state, at_final) = (self.state(height), self.state(finalized));
        let mut pending = state.nonce;
        while lag == 0 && self.pool.contains_key(&pending) {
            pending += 1;
        }
        let mut receipts = Vec::new();
        for (at, block) in self.blocks[..height].iter().enumerate() {
            for Mined { tx, success, moved } in &block.txs {
                if hashes.contains(&tx.hash) {
                    let mut transfers = if *moved { tx.transfers() } else { vec![] };
                    for (to, _) in &mut transfers {
                        *to = self.astray.unwrap_or(*to);
                    }
                    receipts.push(Receipt {
                        hash: tx.hash,
                        block: at as u64 + 1,
                        block_hash: block.hash,
                        success: *success,
                        transfers,
                    });
                }
            }
        }
        View {
            endpoint,
            chain_id: CHAIN_ID,
            head: height as u64,
            finalized: finalized as u64,
            nonces: Nonces {
                finalized: self.keeps_state.then_some(at_final.nonce),
                latest: state.nonce,
                pending,
            },
            token: self.tokens - state.moved_in_all(),
            native: self.coins.saturating_sub(state.spent),
            allowance: state.allowance,
            fees: Fees {
                base: self.base_fee,
                tip: 1,
                data: 0,
            },
            receipts,
        }
    }
}
