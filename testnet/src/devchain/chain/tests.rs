//! Properties that hold whatever happens to the chain, in random order.

use std::collections::{BTreeMap, BTreeSet};

use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{TxKind, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use proptest::prelude::*;

use super::*;
use crate::devchain::config::ETHER;

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Send {
        who: usize,
        ahead: u64,
        fee: u128,
        wei: u128,
    },
    Resend,
    DropOne,
    Mine(u64),
    Reorg(u64, Fate),
    Snapshot,
    Revert,
    BaseFee(u64),
    Fund(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![Just(Fate::Keep), Just(Fate::Remine), Just(Fate::Drop)];
    prop_oneof![
        6 => (0..3_usize, 0..3_u64, 1..40_u128, 0..1_000_u128).prop_map(|(who, ahead, fee, wei)| {
            Step::Send { who, ahead, fee: fee * 100_000_000, wei: wei * ETHER / 1_000 }
        }),
        1 => Just(Step::Resend),
        1 => Just(Step::DropOne),
        4 => (1..4_u64).prop_map(Step::Mine),
        3 => (1..6_u64, fate).prop_map(|(depth, fate)| Step::Reorg(depth, fate)),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Revert),
        1 => (0..3_000_000_000_u64).prop_map(Step::BaseFee),
        1 => (1..1_000_u64).prop_map(Step::Fund),
    ]
}

struct World {
    chain: Chain,
    keys: Vec<PrivateKeySigner>,
    sent: Vec<Vec<u8>>,
    snapshots: Vec<u64>,
}

const SHOP: Address = Address::repeat_byte(0x51);

impl World {
    fn new() -> Self {
        let keys: Vec<_> = (0..3)
            .map(|n: u8| PrivateKeySigner::from_bytes(&keccak256([n])).unwrap())
            .collect();
        let genesis = keys
            .iter()
            .map(|key| (key.address(), U256::from(ETHER)))
            .collect();
        let config = DevChainConfig {
            genesis,
            ..DevChainConfig::on_demand()
        };
        Self {
            chain: Chain::new(config, 0),
            keys,
            sent: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    fn signed(&self, who: usize, ahead: u64, fee: u128, wei: u128) -> Vec<u8> {
        let key = &self.keys[who];
        let tx = TxEip1559 {
            chain_id: self.chain.config.chain_id,
            nonce: self.chain.view().nonce(key.address()) + ahead,
            gas_limit: 21_000,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: fee / 2,
            to: TxKind::Call(SHOP),
            value: U256::from(wei),
            ..TxEip1559::default()
        };
        let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Send {
                who,
                ahead,
                fee,
                wei,
            } => {
                let raw = self.signed(who, ahead, fee, wei);
                let _ = self.chain.submit(&raw);
                self.sent.push(raw);
            }
            Step::Resend => {
                if let Some(raw) = self.sent.first() {
                    let _ = self.chain.submit(raw);
                }
            }
            Step::DropOne => {
                if let Some(raw) = self.sent.last() {
                    self.chain.drop_transaction(keccak256(raw));
                }
            }
            Step::Mine(count) => {
                self.chain.mine(count, 0);
            }
            Step::Reorg(depth, fate) => {
                let _ = self.chain.reorg(depth, fate, 0);
            }
            Step::Snapshot => self.snapshots.push(self.chain.snapshot()),
            Step::Revert => {
                if let Some(id) = self.snapshots.pop() {
                    assert!(self.chain.revert(id));
                }
            }
            Step::BaseFee(wei) => self.chain.set_next_base_fee(wei),
            Step::Fund(wei) => self.chain.fund(SHOP, U256::from(wei)).unwrap(),
        }
    }

    /// Follows the blocks from the first to the newest and compares the state after each.
    fn check(&self, funded: U256) {
        let chain = &self.chain;
        let head = chain.head().header.number;
        let mut balances: BTreeMap<Address, U256> = chain.config.genesis.iter().copied().collect();
        balances.insert(SHOP, funded);
        let mut nonces: BTreeMap<Address, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut parent = B256::ZERO;
        for number in 0..=head {
            let block = chain.blocks().get(number).unwrap();
            assert_eq!(block.header.parent_hash, parent);
            assert_eq!(block.header.hash_slow(), block.hash);
            parent = block.hash;
            for (index, tx) in block.txs.iter().enumerate() {
                assert!(seen.insert(tx.hash()), "twice on the chain");
                assert!(!chain.pool().contains(tx.hash()), "mined, and waits");
                let (at, place) = chain.blocks().tx(tx.hash()).unwrap();
                assert_eq!((at.hash, place), (block.hash, index));
                let sender = tx.tx.signer();
                let nonce = nonces.entry(sender).or_default();
                assert_eq!(tx.tx.nonce(), *nonce);
                *nonce += 1;
                let base_fee = u128::from(block.base_fee());
                let tip = block.tip(tx);
                assert!(tx.tx.max_fee_per_gas() >= base_fee);
                let paid = U256::from((base_fee + tip) * u128::from(tx.gas_used));
                *balances.get_mut(&sender).unwrap() -= paid + tx.tx.value();
                *balances.entry(SHOP).or_default() += tx.tx.value();
                let earned = U256::from(tip * u128::from(tx.gas_used));
                *balances.entry(BENEFICIARY).or_default() += earned;
            }
            let view = chain.view_at(number).unwrap();
            for (address, balance) in &balances {
                assert_eq!(view.balance(*address), *balance, "at {number} of {head}");
                let nonce = nonces.get(address).copied().unwrap_or_default();
                assert_eq!(view.nonce(*address), nonce);
            }
        }
        // Nothing waits that the chain is past.
        for key in &self.keys {
            let next = nonces.get(&key.address()).copied().unwrap_or_default();
            assert!(chain.pool().next_nonce(key.address(), next) >= next);
            assert_eq!(
                chain.pool().next_nonce(key.address(), 0),
                if next == 0 {
                    chain.pool().next_nonce(key.address(), next)
                } else {
                    0
                }
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn books_of_the_chain_add_up(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut funded = vec![U256::ZERO];
        for step in steps {
            match &step {
                Step::Fund(wei) => *funded.last_mut().unwrap() += U256::from(*wei),
                Step::Snapshot => funded.push(*funded.last().unwrap()),
                // What was given since the snapshot is gone with it.
                Step::Revert if !world.snapshots.is_empty() => {
                    funded.pop();
                }
                _ => {}
            }
            world.take(step);
        }
        world.check(*funded.last().unwrap());
    }
}

#[test]
fn the_least_of_a_replacement_is_exactly_ten_per_cent() {
    let mut world = World::new();
    let raw = |world: &World, fee| world.signed(0, 0, fee, 1);
    let first = raw(&world, 1_000_000_000);
    world.chain.submit(&first).unwrap();
    let refused = raw(&world, 1_099_999_999);
    let refused = world.chain.submit(&refused).unwrap_err();
    assert_eq!(refused, RpcError::underpriced_replacement());
    let enough = raw(&world, 1_100_000_000);
    world.chain.submit(&enough).unwrap();
    assert_eq!(world.chain.pool().len(), 1);
}
