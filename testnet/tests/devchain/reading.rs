//! What can be asked of a chain, through alloy's own types and its own way of filling in fees.

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::EthereumWallet;
use alloy::primitives::{Address, U256};
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::{BlockTransactionsKind, TransactionRequest};
use masq_testnet::devchain::deploy::TestToken;
use masq_testnet::devchain::{CHAIN_ID, DevChain, DevChainConfig, Fate};
use serde_json::{Value, json};

use crate::on_both_chains;
use crate::support::{Chain, GWEI};

const SOMEBODY: Address = Address::repeat_byte(0x51);

on_both_chains!(
    a_chain_says_who_it_is,
    a_client_fills_in_everything_by_itself,
    an_estimate_is_enough_and_not_much_more,
    fees_have_a_history,
    a_full_block_makes_the_next_dearer,
    blocks_come_with_hashes_or_whole_transactions,
    the_block_to_come_has_what_waits,
    a_batch_is_answered_in_order,
);

async fn a_chain_says_who_it_is(chain: Chain) {
    assert_eq!(chain.rpc.get_chain_id().await.unwrap(), CHAIN_ID);
    assert_eq!(chain.rpc.get_net_version().await.unwrap(), CHAIN_ID);
    let version = chain.rpc.get_client_version().await.unwrap();
    let expected = if chain.is_anvil() {
        "anvil/"
    } else {
        "masq-devchain/"
    };
    assert!(version.starts_with(expected), "{version}");
    let syncing = chain.control("eth_syncing", json!([])).await;
    assert_eq!(syncing, json!(false));
    let missing: Result<Value, _> = chain.rpc.raw_request("eth_mining2".into(), ()).await;
    let missing = missing.unwrap_err();
    assert_eq!(missing.as_error_resp().unwrap().code, -32_601);
}

async fn a_client_fills_in_everything_by_itself(chain: Chain) {
    let payer = chain.account().await;
    let rpc = ProviderBuilder::new()
        .wallet(EthereumWallet::from(payer.0.clone()))
        .connect_http(chain.url.parse().unwrap());
    let token = TestToken::new(chain.contracts().token, &rpc);
    let sent = token
        .transfer(SOMEBODY, U256::from(3))
        .send()
        .await
        .unwrap();
    let hash = *sent.tx_hash();
    chain.mine(1).await;
    let receipt = chain.receipt(hash).await.unwrap();
    assert!(receipt.status());
    assert_eq!(
        token.balanceOf(SOMEBODY).call().await.unwrap(),
        U256::from(3)
    );
}

async fn an_estimate_is_enough_and_not_much_more(chain: Chain) {
    let payer = chain.account().await;
    let plain = TransactionRequest::default()
        .from(payer.address())
        .to(SOMEBODY)
        .value(U256::from(1));
    assert_eq!(chain.rpc.estimate_gas(plain).await.unwrap(), 21_000);
    let token = TestToken::new(chain.contracts().token, &chain.rpc);
    let transfer = token
        .transfer(SOMEBODY, U256::from(3))
        .from(payer.address());
    let estimate = transfer.estimate_gas().await.unwrap();
    let tx = payer.call(0, chain.contracts().token, transfer.calldata().to_vec());
    let used = chain.include(&tx).await.gas_used;
    assert!(
        used <= estimate && estimate <= used + used / 50,
        "{estimate} against {used}"
    );
    // What SETTLEMENT counts on for a payment to somebody who has nothing yet.
    assert!((48_000..54_000).contains(&used), "{used}");
}

async fn fees_have_a_history(chain: Chain) {
    let payer = chain.account().await;
    chain.set_next_base_fee(2 * GWEI).await;
    chain.include(&payer.pay(0, SOMEBODY, 1)).await;
    let history = chain
        .rpc
        .get_fee_history(2, BlockNumberOrTag::Latest, &[50.0])
        .await
        .unwrap();
    let head = chain.rpc.get_block_number().await.unwrap();
    assert_eq!(history.oldest_block, head - 1);
    assert_eq!(history.base_fee_per_gas.len(), 3);
    assert_eq!(history.base_fee_per_gas[1], 2 * GWEI);
    assert!(history.base_fee_per_gas[2] < 2 * GWEI);
    assert_eq!(history.reward.unwrap()[1], [GWEI]);
    assert!((history.gas_used_ratio[1] - 0.0007).abs() < 1e-6);
    let fees = chain.rpc.estimate_eip1559_fees().await.unwrap();
    assert!(fees.max_fee_per_gas > 2 * GWEI);
    assert!(chain.rpc.get_gas_price().await.unwrap() > GWEI);
}

async fn a_full_block_makes_the_next_dearer(chain: Chain) {
    let payer = chain.account().await;
    chain.set_next_base_fee(GWEI).await;
    // Data costs gas: 40 a byte of it, at least.
    let data = vec![1_u8; 100_000];
    for nonce in 0..5 {
        let tx = payer.sign(alloy::consensus::TxEip1559 {
            nonce,
            to: alloy::primitives::TxKind::Call(SOMEBODY),
            input: data.clone().into(),
            gas_limit: 4_100_000,
            ..crate::support::transaction()
        });
        chain.send(&tx).await.unwrap();
    }
    chain.mine(1).await;
    let base_fee = async || {
        let block = chain.rpc.get_block(BlockId::latest()).await.unwrap();
        let header = block.unwrap().header;
        (header.gas_used, header.base_fee_per_gas.unwrap())
    };
    let (used, at_first) = base_fee().await;
    assert!(used > 20_000_000, "{used}");
    assert_eq!(u128::from(at_first), GWEI);
    chain.mine(1).await;
    let (_, then) = base_fee().await;
    // By EIP-1559: an eighth of how far the block was above its target.
    let above = u128::from(used - 15_000_000) * GWEI / 15_000_000 / 8;
    assert_eq!(u128::from(then), GWEI + above);
}

async fn blocks_come_with_hashes_or_whole_transactions(chain: Chain) {
    let payer = chain.account().await;
    let receipt = chain.include(&payer.pay(0, SOMEBODY, 1)).await;
    let hash = receipt.block_hash.unwrap();
    let block = chain.rpc.get_block_by_hash(hash).await.unwrap().unwrap();
    assert_eq!(
        block.transactions.as_hashes().unwrap(),
        [receipt.transaction_hash]
    );
    let full = chain
        .rpc
        .get_block(BlockId::hash(hash))
        .kind(BlockTransactionsKind::Full)
        .await
        .unwrap()
        .unwrap();
    let [tx] = full.transactions.as_transactions().unwrap() else {
        panic!("{full:?}")
    };
    assert_eq!(*tx.inner.tx_hash(), receipt.transaction_hash);
    // The header is what its hash says, and the tree of transactions is in it.
    assert_eq!(full.header.inner.hash_slow(), hash);
    let envelopes = [tx.inner.inner()];
    assert_eq!(
        alloy::consensus::proofs::calculate_transaction_root(&envelopes),
        full.header.transactions_root
    );
    let parent = chain.rpc.get_block_by_hash(full.header.parent_hash).await;
    assert_eq!(
        parent.unwrap().unwrap().header.number,
        full.header.number - 1
    );
    let receipts = chain.rpc.get_block_receipts(BlockId::hash(hash)).await;
    assert_eq!(receipts.unwrap().unwrap(), [receipt]);
}

async fn the_block_to_come_has_what_waits(chain: Chain) {
    let payer = chain.account().await;
    let hash = chain.send(&payer.pay(0, SOMEBODY, 5)).await.unwrap();
    let pending = chain
        .rpc
        .get_block_by_number(BlockNumberOrTag::Pending)
        .await
        .unwrap()
        .unwrap();
    let head = chain.rpc.get_block_number().await.unwrap();
    assert_eq!(pending.header.number, head + 1);
    assert_eq!(pending.transactions.hashes().collect::<Vec<_>>(), [hash]);
    let balance = |id| chain.rpc.get_balance(SOMEBODY).block_id(id);
    assert_eq!(balance(BlockId::pending()).await.unwrap(), U256::from(5));
    assert_eq!(balance(BlockId::latest()).await.unwrap(), U256::ZERO);
    let tx = chain.rpc.get_transaction_by_hash(hash).await.unwrap();
    assert_eq!(tx.unwrap().block_hash, None);
    assert!(chain.receipt(hash).await.is_none());
}

async fn a_batch_is_answered_in_order(chain: Chain) {
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "eth_chainId", "params": [] },
        { "jsonrpc": "2.0", "id": 2, "method": "eth_nothing" },
        { "jsonrpc": "2.0", "id": 3, "method": "eth_getBalance", "params": [SOMEBODY, "latest"] },
    ]);
    let answers = post(&chain.url, &batch).await;
    let answers = answers.as_array().unwrap();
    assert_eq!(answers[0]["id"], "a");
    assert_eq!(answers[0]["result"], "0x7a69");
    assert_eq!(answers[1]["error"]["code"], -32_601);
    assert_eq!(
        (&answers[2]["id"], &answers[2]["result"]),
        (&json!(3), &json!("0x0"))
    );
}

/// Sends JSON as it is, and takes the answer.
pub(crate) async fn post(url: &str, body: &Value) -> Value {
    let client = alloy::transports::http::reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap();
    let answer = client
        .post(url)
        .body(body.to_string())
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_run_on_demand_is_the_same_every_time() {
    let run = async || {
        let chain = Chain::dev().await;
        let payer = chain.account().await;
        chain.include(&payer.pay(0, SOMEBODY, 1)).await;
        chain.handle().increase_time(3_600);
        chain.handle().mine(3);
        chain.handle().reorg(2, Fate::Keep).unwrap();
        chain.handle().head_hash()
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test]
async fn time_can_be_moved() {
    for config in [
        DevChainConfig::on_demand(),
        DevChainConfig {
            block_time: std::time::Duration::ZERO,
            ..DevChainConfig::default()
        },
    ] {
        let chain = Chain::dev_with(config).await;
        let time = async || {
            chain.mine(1).await;
            let block = chain.rpc.get_block(BlockId::latest()).await.unwrap();
            block.unwrap().header.timestamp
        };
        let before = time().await;
        chain.control("evm_increaseTime", json!([3_600])).await;
        // Blocks on demand run ahead of the machine's clock by a second each.
        let jumped = time().await - before;
        assert!((3_550..3_700).contains(&jumped), "{jumped}");
        let then = time().await - before;
        assert!((jumped + 1..jumped + 100).contains(&then), "{then}");
    }
}

#[tokio::test]
async fn blocks_come_by_themselves() {
    let chain = DevChain::start(DevChainConfig {
        block_time: std::time::Duration::from_millis(10),
        ..DevChainConfig::default()
    })
    .await
    .unwrap();
    let handle = chain.handle();
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while handle.block_number() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("three blocks within ten seconds");
    let url = chain.url();
    chain.stop().await;
    let head = handle.block_number();
    assert_eq!(handle.block_number(), head);
    let gone = masq_testnet::devchain::deploy::provider(&url).unwrap();
    assert!(gone.get_block_number().await.is_err());
}
