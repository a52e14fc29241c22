//! How transactions get into the pool and into blocks, and why not.

use alloy::consensus::{SignableTransaction, TxEip1559, TxEip7702, TxEnvelope};
use alloy::eips::BlockId;
use alloy::primitives::{Address, TxKind, U256};
use alloy::providers::Provider;
use alloy::signers::SignerSync;
use masq_testnet::devchain::{DevChainConfig, Fate};
use serde_json::json;

use crate::on_both_chains;
use crate::support::{Account, Chain, GWEI, PURSE, transaction, words};

const SOMEBODY: Address = Address::repeat_byte(0x51);

on_both_chains!(
    a_payment_arrives_and_costs_what_the_receipt_says,
    a_replacement_has_to_pay_more,
    the_same_bytes_twice_are_already_known,
    a_used_nonce_is_too_low,
    who_has_too_little_is_told_so,
    a_transaction_for_another_chain_is_refused,
    too_little_gas_is_refused,
    a_gap_of_nonces_is_waited_for,
    a_dropped_transaction_can_be_sent_again,
    who_pays_more_is_first,
);

async fn a_payment_arrives_and_costs_what_the_receipt_says(chain: Chain) {
    let payer = chain.account().await;
    chain.set_next_base_fee(2 * GWEI).await;
    let receipt = chain.include(&payer.pay(0, SOMEBODY, 5)).await;
    assert!(receipt.status());
    assert_eq!(receipt.gas_used, 21_000);
    assert_eq!(receipt.effective_gas_price, 3 * GWEI);
    assert_eq!(
        (receipt.from, receipt.to),
        (payer.address(), Some(SOMEBODY))
    );
    assert_eq!(chain.balance(SOMEBODY).await, U256::from(5));
    assert_eq!(
        chain.balance(payer.address()).await,
        U256::from(PURSE - 5 - 21_000 * 3 * GWEI)
    );
    assert_eq!(chain.nonce(&payer).await, 1);

    let tx = chain
        .rpc
        .get_transaction_by_hash(receipt.transaction_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(tx.block_hash, receipt.block_hash);
    assert_eq!(tx.inner.signer(), payer.address());
}

fn with_fees(payer: &Account, fee: u128, tip: u128) -> TxEnvelope {
    payer.sign(TxEip1559 {
        to: TxKind::Call(SOMEBODY),
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        ..transaction()
    })
}

async fn a_replacement_has_to_pay_more(chain: Chain) {
    let payer = chain.account().await;
    let first = chain
        .send(&with_fees(&payer, 10_000_000_000, 1_000_000_000))
        .await
        .unwrap();
    // Anvil is content with less than ten per cent.
    if !chain.is_anvil() {
        for (fee, tip) in [
            (10_900_000_000, 1_090_000_000),
            (11_250_000_000, 1_090_000_000),
            (10_900_000_000, 1_125_000_000),
            (10_999_999_999, 1_100_000_000),
        ] {
            let refused = chain.send(&with_fees(&payer, fee, tip)).await;
            assert_eq!(words(refused), "replacement transaction underpriced");
        }
    }
    let cheaper = chain
        .send(&with_fees(&payer, 9_000_000_000, 900_000_000))
        .await;
    assert!(words(cheaper).contains("underpriced"));

    let second = chain
        .send(&with_fees(&payer, 11_250_000_000, 1_125_000_000))
        .await
        .unwrap();
    let gone = chain.rpc.get_transaction_by_hash(first).await.unwrap();
    assert!(gone.is_none());
    chain.mine(1).await;
    assert!(chain.receipt(first).await.is_none());
    assert!(chain.receipt(second).await.unwrap().status());
    assert_eq!(chain.nonce(&payer).await, 1);
}

async fn the_same_bytes_twice_are_already_known(chain: Chain) {
    let payer = chain.account().await;
    let tx = payer.pay(0, SOMEBODY, 1);
    chain.send(&tx).await.unwrap();
    let again = words(chain.send(&tx).await);
    let expected = if chain.is_anvil() {
        "transaction already imported"
    } else {
        "already known"
    };
    assert_eq!(again, expected);
    chain.mine(1).await;
    assert_eq!(chain.nonce(&payer).await, 1);
}

async fn a_used_nonce_is_too_low(chain: Chain) {
    let payer = chain.account().await;
    let tx = payer.pay(0, SOMEBODY, 1);
    chain.include(&tx).await;
    let same = words(chain.send(&tx).await);
    let other = words(chain.send(&payer.pay(0, SOMEBODY, 2)).await);
    assert!(same.contains("nonce too low"), "{same}");
    assert!(other.contains("nonce too low"), "{other}");
    if !chain.is_anvil() {
        assert_eq!(other, "nonce too low: next nonce 1, tx nonce 0");
    }
}

async fn who_has_too_little_is_told_so(chain: Chain) {
    let poor = chain.poor_account();
    let refused = words(chain.send(&poor.pay(0, SOMEBODY, 1)).await).to_lowercase();
    assert!(refused.contains("insufficient funds"), "{refused}");
    let rich = chain.account().await;
    let all = words(chain.send(&rich.pay(0, SOMEBODY, PURSE)).await).to_lowercase();
    assert!(all.contains("insufficient funds"), "{all}");
    if !chain.is_anvil() {
        // What waits counts, too.
        chain
            .send(&rich.pay(0, SOMEBODY, PURSE * 6 / 10))
            .await
            .unwrap();
        let second = words(chain.send(&rich.pay(1, SOMEBODY, PURSE * 6 / 10)).await);
        assert!(second.contains("queued cost"), "{second}");
    }
}

async fn a_transaction_for_another_chain_is_refused(chain: Chain) {
    let payer = chain.account().await;
    let tx = payer.sign(TxEip1559 {
        chain_id: 1,
        to: TxKind::Call(SOMEBODY),
        ..transaction()
    });
    let refused = words(chain.send(&tx).await).to_lowercase();
    assert!(refused.contains("chain id"), "{refused}");
}

async fn too_little_gas_is_refused(chain: Chain) {
    let payer = chain.account().await;
    let tx = payer.sign(TxEip1559 {
        to: TxKind::Call(SOMEBODY),
        gas_limit: 20_999,
        ..transaction()
    });
    let refused = words(chain.send(&tx).await);
    assert!(refused.contains("intrinsic gas too low"), "{refused}");
}

async fn a_gap_of_nonces_is_waited_for(chain: Chain) {
    let payer = chain.account().await;
    let later = chain.send(&payer.pay(1, SOMEBODY, 2)).await.unwrap();
    chain.mine(1).await;
    assert!(chain.receipt(later).await.is_none());
    let pending = |id: BlockId| {
        chain
            .rpc
            .get_transaction_count(payer.address())
            .block_id(id)
    };
    assert_eq!(pending(BlockId::pending()).await.unwrap(), 0);
    let first = chain.send(&payer.pay(0, SOMEBODY, 1)).await.unwrap();
    assert_eq!(pending(BlockId::pending()).await.unwrap(), 2);
    assert_eq!(pending(BlockId::latest()).await.unwrap(), 0);
    chain.mine(1).await;
    let (first, later) = (
        chain.receipt(first).await.unwrap(),
        chain.receipt(later).await.unwrap(),
    );
    assert_eq!(first.block_hash, later.block_hash);
    assert_eq!(
        (first.transaction_index, later.transaction_index),
        (Some(0), Some(1))
    );
}

async fn a_dropped_transaction_can_be_sent_again(chain: Chain) {
    let payer = chain.account().await;
    let tx = payer.pay(0, SOMEBODY, 1);
    let hash = chain.send(&tx).await.unwrap();
    chain.drop_transaction(hash).await;
    let gone = chain.rpc.get_transaction_by_hash(hash).await.unwrap();
    assert!(gone.is_none());
    chain.mine(1).await;
    assert!(chain.receipt(hash).await.is_none());
    let receipt = chain.include(&tx).await;
    assert_eq!(receipt.transaction_hash, hash);
}

async fn who_pays_more_is_first(chain: Chain) {
    let (slow, fast) = (chain.account().await, chain.account().await);
    let slow = chain
        .send(&with_fees(&slow, 10 * GWEI, GWEI))
        .await
        .unwrap();
    let fast = chain
        .send(&with_fees(&fast, 11 * GWEI, 2 * GWEI))
        .await
        .unwrap();
    chain.mine(1).await;
    let index = async |hash| chain.receipt(hash).await.unwrap().transaction_index;
    assert_eq!((index(fast).await, index(slow).await), (Some(0), Some(1)));
}

#[tokio::test]
async fn a_fee_below_the_base_fee_waits_until_that_falls() {
    // Anvil refuses it at once.
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    chain.set_next_base_fee(20 * GWEI).await;
    let hash = chain.send(&payer.pay(0, SOMEBODY, 1)).await.unwrap();
    chain.mine(1).await;
    assert!(chain.receipt(hash).await.is_none());
    // 20 gwei, falling by an eighth a block, are under 10 after six; the tip needs less room then.
    chain.mine(6).await;
    let receipt = chain.receipt(hash).await.unwrap();
    assert!(receipt.effective_gas_price <= 10 * GWEI);
    // Less than the whole tip was left for whoever made the block.
    assert!(receipt.effective_gas_price > 9 * GWEI);
}

#[tokio::test]
async fn a_pool_can_want_a_tip() {
    let chain = Chain::dev_with(DevChainConfig {
        min_tip: 25 * GWEI,
        suggested_tip: 30 * GWEI,
        ..DevChainConfig::on_demand()
    })
    .await;
    let payer = chain.account().await;
    let refused = words(chain.send(&payer.pay(0, SOMEBODY, 1)).await);
    assert_eq!(
        refused,
        "transaction underpriced: gas tip cap 1000000000, minimum needed 25000000000"
    );
    let suggested = chain.rpc.get_max_priority_fee_per_gas().await.unwrap();
    assert_eq!(suggested, 30 * GWEI);
}

#[tokio::test]
async fn what_can_no_longer_be_paid_is_dropped() {
    let chain = Chain::dev().await;
    let (rich, poor) = (chain.account().await, chain.poor_account());
    chain.include(&rich.pay(0, poor.address(), PURSE / 2)).await;
    let spent = poor.pay(0, SOMEBODY, PURSE / 4);
    let hash = chain.send(&spent).await.unwrap();
    // A reorganisation takes back what the poor one was given.
    chain.handle().reorg(1, Fate::Drop).unwrap();
    chain.mine(1).await;
    assert!(chain.receipt(hash).await.is_none());
    let known = chain.rpc.get_transaction_by_hash(hash).await.unwrap();
    assert!(known.is_none());
    let refused = words(chain.send(&spent).await);
    assert!(refused.contains("insufficient funds"), "{refused}");
}

#[tokio::test]
async fn kinds_that_settlement_does_not_use_are_refused() {
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    let tx = TxEip7702 {
        chain_id: transaction().chain_id,
        gas_limit: 100_000,
        max_fee_per_gas: 10 * GWEI,
        ..TxEip7702::default()
    };
    let signature = payer.0.sign_hash_sync(&tx.signature_hash()).unwrap();
    let tx: TxEnvelope = tx.into_signed(signature).into();
    assert_eq!(
        words(chain.send(&tx).await),
        "transaction type not supported"
    );
    let nonsense = chain.rpc.send_raw_transaction(&[0x02, 0xff, 0x00]).await;
    assert!(words(nonsense.map(|_| ())).starts_with("rlp: "));
    let status = chain.control("txpool_status", json!([])).await;
    assert_eq!(status, json!({ "pending": "0x0", "queued": "0x0" }));
}

#[tokio::test]
async fn anvil_differs_where_the_page_says_so() {
    let Some(chain) = Chain::anvil().await else {
        return;
    };
    // Less than ten per cent replaces.
    let payer = chain.account().await;
    chain
        .send(&with_fees(&payer, 10 * GWEI, GWEI))
        .await
        .unwrap();
    let little_more = with_fees(&payer, 10_600_000_000, 1_060_000_000);
    chain.send(&little_more).await.unwrap();
    // What waits does not count against the balance.
    let payer = chain.account().await;
    for nonce in 0..2 {
        let tx = payer.pay(nonce, SOMEBODY, PURSE * 6 / 10);
        chain.send(&tx).await.unwrap();
    }
    // More gas than EIP-7825 allows a transaction.
    let payer = chain.account().await;
    let greedy = payer.sign(TxEip1559 {
        to: TxKind::Call(SOMEBODY),
        gas_limit: 20_000_000,
        ..transaction()
    });
    chain.send(&greedy).await.unwrap();
    // A fee below the base fee is refused.
    let payer = chain.account().await;
    chain.set_next_base_fee(20 * GWEI).await;
    let refused = words(chain.send(&payer.pay(0, SOMEBODY, 1)).await);
    assert!(refused.contains("base fee"), "{refused}");
}

#[tokio::test]
async fn a_transaction_gets_no_more_gas_than_the_rules_allow() {
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    let greedy = payer.sign(TxEip1559 {
        to: TxKind::Call(SOMEBODY),
        gas_limit: 16_777_217,
        ..transaction()
    });
    assert_eq!(
        words(chain.send(&greedy).await),
        "transaction gas limit too high (cap: 16777216, tx: 16777217)"
    );
}
