//! Accounts, code and storage of the chain; what a block changed in them, so that it can be
//! undone; and views of the state as it was earlier or would be later.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use alloy::primitives::{Address, B256, KECCAK256_EMPTY, Keccak256, U256};
use revm::database_interface::{Database, DatabaseCommit, DatabaseRef};
use revm::primitives::AddressMap;
use revm::state::{Account, AccountInfo, Bytecode};

use super::blocks::Blocks;

/// An account without its storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) balance: U256,
    pub(super) nonce: u64,
    pub(super) code_hash: B256,
}

impl Info {
    const EMPTY: Self = Self {
        balance: U256::ZERO,
        nonce: 0,
        code_hash: KECCAK256_EMPTY,
    };
}

/// The state after the newest block.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    infos: HashMap<Address, Info>,
    slots: HashMap<(Address, U256), U256>,
    codes: HashMap<B256, Bytecode>,
}

/// Values of some places of the state: after a block where it says what the block did, before it
/// where it says how to undo that.
#[derive(Debug, Clone, Default)]
pub(super) struct Diff {
    /// `None`: there is no such account.
    infos: BTreeMap<Address, Option<Info>>,
    slots: BTreeMap<(Address, U256), U256>,
    /// Code that is new. It is found by its hash and never removed.
    codes: BTreeMap<B256, Bytecode>,
}

impl State {
    /// Sets everything to what `diff` says and returns what undoes it. Places that do not change
    /// are left out.
    pub(super) fn apply(&mut self, diff: Diff) -> Diff {
        let mut undo = Diff::default();
        for (address, info) in diff.infos {
            let before = match info {
                Some(info) => self.infos.insert(address, info),
                None => self.infos.remove(&address),
            };
            if before != info {
                undo.infos.insert(address, before);
            }
        }
        for (place, value) in diff.slots {
            let before = if value.is_zero() {
                self.slots.remove(&place)
            } else {
                self.slots.insert(place, value)
            }
            .unwrap_or_default();
            if before != value {
                undo.slots.insert(place, before);
            }
        }
        self.codes.extend(diff.codes);
        undo
    }

    /// Adds to a balance outside of any block; see [`Diff::credit`]. `None` when the sum is too
    /// large, and nothing changes.
    pub(super) fn credit(&mut self, address: Address, wei: U256) -> Option<()> {
        let info = self.infos.get(&address).copied().unwrap_or(Info::EMPTY);
        let balance = info.balance.checked_add(wei)?;
        self.infos.insert(address, Info { balance, ..info });
        Some(())
    }
}

impl Diff {
    /// Adds to a balance in the past, where this diff remembers one, so that the account looks as
    /// if it had had the money since the first block. `None` when the sum is too large.
    pub(super) fn credit(&mut self, address: Address, wei: U256) -> Option<()> {
        if let Some(before) = self.infos.get_mut(&address) {
            let info = before.unwrap_or(Info::EMPTY);
            let balance = info.balance.checked_add(wei)?;
            *before = Some(Info { balance, ..info });
        }
        Some(())
    }

    /// Sets a balance; for the first block.
    pub(super) fn set_balance(&mut self, address: Address, balance: U256) {
        let info = Info {
            balance,
            ..Info::EMPTY
        };
        self.infos.insert(address, Some(info));
    }

    /// A hash over `parent` and everything in here: it stands where other chains have the root of
    /// a tree over the state, and like it differs wherever two histories do. Nothing can be proved
    /// with it.
    pub(super) fn commitment(&self, parent: B256) -> B256 {
        let mut hash = Keccak256::new();
        hash.update(parent);
        for (address, info) in &self.infos {
            hash.update(address);
            if let Some(info) = info {
                hash.update(info.balance.to_be_bytes::<32>());
                hash.update(info.nonce.to_be_bytes());
                hash.update(info.code_hash);
            }
        }
        for ((address, slot), value) in &self.slots {
            hash.update(address);
            hash.update(slot.to_be_bytes::<32>());
            hash.update(value.to_be_bytes::<32>());
        }
        hash.finalize()
    }
}

/// The state as it is, was or would be: the first layer that knows a place decides, and the state
/// where none does. Layers that lead into the past go from the oldest undone block to the newest.
#[derive(Debug)]
pub(super) struct View<'a> {
    state: &'a State,
    layers: Vec<&'a Diff>,
    blocks: &'a Blocks,
}

impl<'a> View<'a> {
    pub(super) fn new(state: &'a State, layers: Vec<&'a Diff>, blocks: &'a Blocks) -> Self {
        Self {
            state,
            layers,
            blocks,
        }
    }

    pub(super) fn info(&self, address: Address) -> Option<Info> {
        self.layers
            .iter()
            .find_map(|layer| layer.infos.get(&address).copied())
            .unwrap_or_else(|| self.state.infos.get(&address).copied())
    }

    pub(super) fn balance(&self, address: Address) -> U256 {
        self.info(address).unwrap_or(Info::EMPTY).balance
    }

    pub(super) fn nonce(&self, address: Address) -> u64 {
        self.info(address).unwrap_or(Info::EMPTY).nonce
    }

    pub(super) fn slot(&self, address: Address, slot: U256) -> U256 {
        let place = (address, slot);
        self.layers
            .iter()
            .find_map(|layer| layer.slots.get(&place).copied())
            .or_else(|| self.state.slots.get(&place).copied())
            .unwrap_or_default()
    }

    pub(super) fn code(&self, hash: B256) -> Bytecode {
        self.layers
            .iter()
            .find_map(|layer| layer.codes.get(&hash))
            .or_else(|| self.state.codes.get(&hash))
            .cloned()
            .unwrap_or_default()
    }
}

impl DatabaseRef for View<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.info(address).map(|info| AccountInfo {
            balance: info.balance,
            nonce: info.nonce,
            code_hash: info.code_hash,
            // Looked up by its hash when it is wanted.
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.code(code_hash))
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, Infallible> {
        Ok(self.slot(address, index))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.blocks.get(number).map(|b| b.hash).unwrap_or_default())
    }
}

/// A view that transactions are carried out on, one after the other, without touching the state.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    view: View<'a>,
    /// What the transactions did so far.
    pub(super) diff: Diff,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(view: View<'a>) -> Self {
        Self {
            view,
            diff: Diff::default(),
        }
    }

    pub(super) fn info(&self, address: Address) -> Option<Info> {
        match self.diff.infos.get(&address) {
            Some(info) => *info,
            None => self.view.info(address),
        }
    }

    pub(super) fn nonce(&self, address: Address) -> u64 {
        self.info(address).unwrap_or(Info::EMPTY).nonce
    }

    pub(super) fn into_diff(self) -> Diff {
        self.diff
    }
}

impl Database for Overlay<'_> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        match self.diff.infos.get(&address) {
            Some(info) => Ok(info.map(|info| AccountInfo {
                balance: info.balance,
                nonce: info.nonce,
                code_hash: info.code_hash,
                code: None,
                ..AccountInfo::default()
            })),
            None => self.view.basic_ref(address),
        }
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Infallible> {
        match self.diff.codes.get(&code_hash) {
            Some(code) => Ok(code.clone()),
            None => self.view.code_by_hash_ref(code_hash),
        }
    }

    fn storage(&mut self, address: Address, index: U256) -> Result<U256, Infallible> {
        match self.diff.slots.get(&(address, index)) {
            Some(value) => Ok(*value),
            None => self.view.storage_ref(address, index),
        }
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        self.view.block_hash_ref(number)
    }
}

impl DatabaseCommit for Overlay<'_> {
    fn commit(&mut self, changes: AddressMap<Account>) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            // Since Cancun only an account made in the same transaction destroys itself, and since
            // EIP-161 an empty one does not exist. Neither leaves storage behind.
            if account.is_selfdestructed() || account.is_empty() {
                self.diff.infos.insert(address, None);
                continue;
            }
            let info = account.info;
            if let Some(code) = info.code
                && !code.is_empty()
            {
                self.diff.codes.entry(info.code_hash).or_insert(code);
            }
            self.diff.infos.insert(
                address,
                Some(Info {
                    balance: info.balance,
                    nonce: info.nonce,
                    code_hash: info.code_hash,
                }),
            );
            for (slot, value) in account.storage {
                if value.is_changed() {
                    self.diff
                        .slots
                        .insert((address, slot), value.present_value());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Address = Address::repeat_byte(0xaa);
    const B: Address = Address::repeat_byte(0xbb);

    fn diff(balances: &[(Address, u64)], slots: &[(Address, u64, u64)]) -> Diff {
        let mut diff = Diff::default();
        for (address, balance) in balances {
            diff.set_balance(*address, U256::from(*balance));
        }
        for (address, slot, value) in slots {
            let place = (*address, U256::from(*slot));
            diff.slots.insert(place, U256::from(*value));
        }
        diff
    }

    #[test]
    fn what_is_undone_never_was() {
        let mut state = State::default();
        let blocks = Blocks::default();
        state.apply(diff(&[(A, 5)], &[(A, 1, 7)]));
        let undo_1 = state.apply(diff(&[(A, 3), (B, 2)], &[(A, 1, 0), (B, 4, 9)]));
        let undo_2 = state.apply(diff(&[(B, 1)], &[(A, 1, 8)]));

        let look = |layers| {
            let view = View::new(&state, layers, &blocks);
            (
                view.balance(A),
                view.balance(B),
                view.slot(A, U256::from(1)),
                view.slot(B, U256::from(4)),
            )
        };
        let of = |a, b, c, d| (U256::from(a), U256::from(b), U256::from(c), U256::from(d));
        assert_eq!(look(vec![]), of(3, 1, 8, 9));
        assert_eq!(look(vec![&undo_2]), of(3, 2, 0, 9));
        assert_eq!(look(vec![&undo_1, &undo_2]), of(5, 0, 7, 0));

        state.apply(undo_2);
        state.apply(undo_1);
        let view = View::new(&state, vec![], &blocks);
        assert_eq!(view.balance(A), U256::from(5));
        assert_eq!(view.info(B), None);
        assert_eq!(view.slot(A, U256::from(1)), U256::from(7));
        assert_eq!(view.slot(B, U256::from(4)), U256::ZERO);
    }

    #[test]
    fn a_credit_reaches_the_past_where_it_is_remembered() {
        let mut state = State::default();
        let blocks = Blocks::default();
        let mut undo = state.apply(diff(&[(A, 5)], &[]));
        state.credit(A, U256::from(10)).unwrap();
        undo.credit(A, U256::from(10)).unwrap();
        assert_eq!(
            View::new(&state, vec![], &blocks).balance(A),
            U256::from(15)
        );
        state.apply(undo);
        assert_eq!(
            View::new(&state, vec![], &blocks).balance(A),
            U256::from(10)
        );
        assert_eq!(state.credit(A, U256::MAX), None);
    }

    #[test]
    fn the_commitment_differs_where_the_changes_do() {
        let one = diff(&[(A, 5)], &[]).commitment(B256::ZERO);
        assert_eq!(one, diff(&[(A, 5)], &[]).commitment(B256::ZERO));
        assert_ne!(one, diff(&[(A, 6)], &[]).commitment(B256::ZERO));
        assert_ne!(one, diff(&[(A, 5)], &[(A, 0, 1)]).commitment(B256::ZERO));
        assert_ne!(one, diff(&[(A, 5)], &[]).commitment(B256::repeat_byte(1)));
    }
}
