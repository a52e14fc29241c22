//! What a client can ask for at most, and nonsense.

use alloy::eips::BlockId;
use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::transports::http::reqwest::{Client, StatusCode};
use masq_testnet::devchain::{
    DevChain, DevChainConfig, MAX_BATCH, MAX_BODY, MAX_MINE, MAX_POOL_PER_SENDER, MAX_SNAPSHOTS,
};
use serde_json::json;

use crate::reading::post;
use crate::support::{Chain, words};

const SOMEBODY: Address = Address::repeat_byte(0x51);

#[tokio::test]
async fn requests_are_bounded() {
    let chain = Chain::dev().await;
    let client = Client::builder().no_proxy().build().unwrap();
    let large = vec![b' '; MAX_BODY + 1];
    let answer = client.post(&chain.url).body(large).send().await;
    // It may also close the connection before everything was sent.
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    let answer = client.get(&chain.url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);

    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
    let batch = post(&chain.url, &json!(vec![call.clone(); MAX_BATCH])).await;
    assert_eq!(batch.as_array().unwrap().len(), MAX_BATCH);
    let batch = post(&chain.url, &json!(vec![call; MAX_BATCH + 1])).await;
    assert_eq!(batch["error"]["message"], "batch too large");
}

#[tokio::test]
async fn nonsense_is_answered() {
    let chain = Chain::dev().await;
    let code = async |body| post(&chain.url, &body).await["error"]["code"].clone();
    assert_eq!(code(json!([])).await, -32_600);
    assert_eq!(code(json!({})).await, -32_600);
    assert_eq!(code(json!("hello")).await, -32_600);
    let call =
        |params| json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": params });
    assert_eq!(code(call(json!({ "address": 1 }))).await, -32_602);
    assert_eq!(code(call(json!([]))).await, -32_602);
    assert_eq!(code(call(json!(["0x12"]))).await, -32_602);
    assert_eq!(code(call(json!([SOMEBODY, "0xffff"]))).await, -32_000);
    let list = json!({ "jsonrpc": "2.0", "id": [1], "method": "eth_chainId" });
    assert_eq!(code(list).await, -32_600);
    let overridden = json!({
        "jsonrpc": "2.0", "id": 1, "method": "eth_call",
        "params": [{ "to": SOMEBODY }, "latest", { (SOMEBODY.to_string()): { "balance": "0x1" } }]
    });
    assert_eq!(code(overridden).await, -32_602);
    let client = Client::builder().no_proxy().build().unwrap();
    let half = client.post(&chain.url).body("{\"jsonrpc\"").send().await;
    let half = half.unwrap().bytes().await.unwrap();
    assert!(half.windows(6).any(|w| w == b"-32700"));
    let notification = json!({ "jsonrpc": "2.0", "method": "eth_chainId" }).to_string();
    let silent = client.post(&chain.url).body(notification).send().await;
    assert!(silent.unwrap().bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_pool_is_bounded() {
    let chain = Chain::dev_with(DevChainConfig {
        pool: 3,
        ..DevChainConfig::on_demand()
    })
    .await;
    let payer = chain.account().await;
    for nonce in 0..3 {
        chain.send(&payer.pay(nonce, SOMEBODY, 1)).await.unwrap();
    }
    let full = words(chain.send(&payer.pay(3, SOMEBODY, 1)).await);
    assert_eq!(full, "txpool is full");
    chain.mine(1).await;
    chain.send(&payer.pay(3, SOMEBODY, 1)).await.unwrap();

    let chain = Chain::dev().await;
    let payer = chain.account().await;
    let mut nonces = 0_u64..;
    let refused = loop {
        let tx = payer.pay(nonces.next().unwrap(), SOMEBODY, 1);
        if let Err(error) = chain.send(&tx).await {
            break error;
        }
    };
    assert_eq!(nonces.start, MAX_POOL_PER_SENDER as u64 + 1);
    assert_eq!(words(Err::<(), _>(refused)), "account limit exceeded");
}

#[tokio::test]
async fn old_blocks_and_states_are_forgotten() {
    let chain = Chain::dev_with(DevChainConfig {
        blocks_kept: 20,
        states_kept: 10,
        ..DevChainConfig::on_demand()
    })
    .await;
    let payer = chain.account().await;
    let receipt = chain.include(&payer.pay(0, SOMEBODY, 1)).await;
    let number = receipt.block_number.unwrap();
    let balance = async |number| {
        let id = BlockId::number(number);
        chain.rpc.get_balance(SOMEBODY).block_id(id).await
    };
    chain.handle().mine(10);
    assert_eq!(balance(number).await.unwrap(), U256::from(1));
    chain.handle().mine(1);
    assert!(words(balance(number).await).starts_with("missing trie node"));
    chain.handle().mine(8);
    assert!(chain.receipt(receipt.transaction_hash).await.is_some());
    chain.handle().mine(1);
    assert!(chain.receipt(receipt.transaction_hash).await.is_none());
    let filter = Filter::new().select(number..=number + 1);
    let logs = chain.rpc.get_logs(&filter).await;
    assert_eq!(words(logs), "pruned history unavailable");
    let block = chain.rpc.get_block_by_number(number.into()).await;
    assert_eq!(words(block), "pruned history unavailable");
}

#[tokio::test]
async fn snapshots_and_mining_are_bounded() {
    let chain = Chain::dev().await;
    let handle = chain.handle();
    let first = handle.snapshot();
    let second = handle.snapshot();
    for _ in 0..MAX_SNAPSHOTS - 1 {
        let _ = handle.snapshot();
    }
    assert!(!handle.revert(first));
    assert!(handle.revert(second));
    let before = handle.block_number();
    let too_many: Result<serde_json::Value, _> = chain
        .rpc
        .raw_request("evm_mine".into(), json!([{ "blocks": MAX_MINE + 1 }]))
        .await;
    assert!(too_many.is_err());
    assert_eq!(handle.block_number(), before);
    chain.control("evm_mine", json!([{ "blocks": 3 }])).await;
    assert_eq!(handle.block_number(), before + 3);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused() {
    let refused = DevChain::start(DevChainConfig {
        blocks_kept: 1,
        ..DevChainConfig::on_demand()
    })
    .await
    .unwrap_err();
    assert!(refused.to_string().contains("blocks_kept"), "{refused}");
    let taken = DevChain::start(DevChainConfig::on_demand()).await.unwrap();
    let refused = DevChain::start(DevChainConfig {
        listen: taken.addr(),
        ..DevChainConfig::on_demand()
    })
    .await
    .unwrap_err();
    assert!(
        refused.to_string().contains("cannot listen on"),
        "{refused}"
    );
}
