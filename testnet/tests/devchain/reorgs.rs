//! What becomes of transactions when blocks are taken back.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use masq_testnet::devchain::{DevChainConfig, Fate};
use serde_json::json;

use crate::on_both_chains;
use crate::support::{Chain, words};

const SOMEBODY: Address = Address::repeat_byte(0x51);

on_both_chains!(
    a_reorganisation_takes_a_transaction_out_and_it_comes_back,
    a_snapshot_is_gone_back_to,
    blocks_become_final,
);

async fn a_reorganisation_takes_a_transaction_out_and_it_comes_back(chain: Chain) {
    let payer = chain.account().await;
    let tx = payer.pay(0, SOMEBODY, 9);
    let receipt = chain.include(&tx).await;
    chain.mine(2).await;
    let (number, hash) = (receipt.block_number.unwrap(), receipt.block_hash.unwrap());
    let head = chain.rpc.get_block_number().await.unwrap();

    chain.reorg(3).await;
    assert_eq!(chain.rpc.get_block_number().await.unwrap(), head);
    assert!(chain.receipt(*tx.tx_hash()).await.is_none());
    assert_eq!(chain.nonce(&payer).await, 0);
    assert_eq!(chain.balance(SOMEBODY).await, U256::ZERO);
    let now = chain.rpc.get_block_by_number(number.into()).await.unwrap();
    assert_ne!(now.unwrap().header.hash, hash);

    // Whoever wants it to be paid sends the same bytes again; that it is known already is success.
    let again = chain.send(&tx).await;
    if !chain.is_anvil() {
        assert_eq!(words(again), "already known");
    }
    chain.mine(1).await;
    let back = chain.receipt(*tx.tx_hash()).await.unwrap();
    assert!(back.status());
    assert_eq!(back.block_number, Some(head + 1));
    assert_ne!(back.block_hash, Some(hash));
    assert_eq!(chain.balance(SOMEBODY).await, U256::from(9));
    assert_eq!(chain.nonce(&payer).await, 1);
}

async fn a_snapshot_is_gone_back_to(chain: Chain) {
    let payer = chain.account().await;
    let head = chain.rpc.get_block_number().await.unwrap();
    let snapshot = chain.control("evm_snapshot", json!([])).await;
    let receipt = chain.include(&payer.pay(0, SOMEBODY, 9)).await;
    let reverted = chain.control("evm_revert", json!([snapshot])).await;
    assert_eq!(reverted, json!(true));
    assert_eq!(chain.rpc.get_block_number().await.unwrap(), head);
    assert!(chain.receipt(receipt.transaction_hash).await.is_none());
    assert_eq!(chain.nonce(&payer).await, 0);
    let again = chain.control("evm_revert", json!([snapshot])).await;
    assert_eq!(again, json!(false));
    chain.include(&payer.pay(0, SOMEBODY, 8)).await;
    assert_eq!(chain.balance(SOMEBODY).await, U256::from(8));
}

async fn blocks_become_final(chain: Chain) {
    let payer = chain.account().await;
    chain.mine(10).await;
    let included = chain.include(&payer.pay(0, SOMEBODY, 9)).await;
    let number = included.block_number.unwrap();
    let tagged = async |tag: BlockNumberOrTag| {
        let block = chain.rpc.get_block_by_number(tag).await.unwrap().unwrap();
        block.header.number
    };
    let finality = DevChainConfig::default().finality;
    assert_eq!(tagged(BlockNumberOrTag::Latest).await, number);
    assert_eq!(tagged(BlockNumberOrTag::Earliest).await, 0);
    assert_eq!(tagged(BlockNumberOrTag::Finalized).await, number - finality);
    let safe = tagged(BlockNumberOrTag::Safe).await;
    assert!(number - finality < safe && safe < number);

    // What was, can be asked for, at each block.
    let balance_at = async |id: BlockId| {
        let balance = chain.rpc.get_balance(SOMEBODY).block_id(id).await;
        balance.unwrap()
    };
    assert_eq!(balance_at(BlockId::finalized()).await, U256::ZERO);
    assert_eq!(balance_at(BlockId::number(number - 1)).await, U256::ZERO);
    assert_eq!(balance_at(BlockId::number(number)).await, U256::from(9));
    chain.mine(finality).await;
    assert_eq!(balance_at(BlockId::finalized()).await, U256::from(9));
    assert_eq!(tagged(BlockNumberOrTag::Finalized).await, number);
}

#[tokio::test]
async fn a_transaction_can_be_in_another_block_at_once_or_be_lost() {
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    let before = chain.include(&payer.pay(0, SOMEBODY, 9)).await;
    let done = chain.handle().reorg(1, Fate::Remine).unwrap();
    let after = chain.receipt(before.transaction_hash).await.unwrap();
    assert_eq!(after.block_number, before.block_number);
    assert_ne!(after.block_hash, before.block_hash);
    assert_eq!(done.removed, [before.block_hash.unwrap()]);
    assert_eq!(done.added, [after.block_hash.unwrap()]);
    assert_eq!(done.transactions, [before.transaction_hash]);

    chain.handle().reorg(1, Fate::Drop).unwrap();
    chain.mine(1).await;
    assert!(chain.receipt(before.transaction_hash).await.is_none());
    let lost = chain.rpc.get_transaction_by_hash(before.transaction_hash);
    assert!(lost.await.unwrap().is_none());
    assert_eq!(chain.nonce(&payer).await, 0);
}

#[tokio::test]
async fn what_is_final_stays() {
    let chain = Chain::dev().await;
    let head = chain.handle().mine(20);
    let finality = DevChainConfig::default().finality;
    let too_deep = chain.handle().reorg(finality + 1, Fate::Keep);
    assert_eq!(
        too_deep.unwrap_err().message,
        "a reorganisation of 9 blocks is not possible: 1 to 8 are not final"
    );
    assert!(chain.handle().reorg(0, Fate::Keep).is_err());
    let final_block = BlockId::number(head - finality);
    let hash = async || chain.rpc.get_block(final_block).await.unwrap().unwrap();
    let before = hash().await.header.hash;
    chain.handle().reorg(finality, Fate::Keep).unwrap();
    assert_eq!(hash().await.header.hash, before);
}

#[tokio::test]
async fn money_from_nowhere_survives_reorganisations_and_not_snapshots() {
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    chain.include(&payer.pay(0, SOMEBODY, 1)).await;
    let snapshot = chain.handle().snapshot();
    let params = json!([SOMEBODY, "0x64"]);
    assert_eq!(chain.control("dev_fund", params).await, json!("0x65"));
    chain.reorg(1).await;
    assert_eq!(chain.balance(SOMEBODY).await, U256::from(100));
    chain.mine(1).await;
    assert_eq!(chain.balance(SOMEBODY).await, U256::from(101));
    assert!(chain.handle().revert(snapshot));
    assert_eq!(chain.balance(SOMEBODY).await, U256::from(1));
}
