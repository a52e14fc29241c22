//! Endpoints that do things wrong, as a client meets them.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, U256};
use alloy::providers::Provider;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolCall;
use masq_testnet::devchain::deploy::TestToken;
use masq_testnet::devchain::{
    DevChainConfig, Failure, Fault, FaultRule, Faults, LogLie, Outage, RangeRefusal,
};
use serde_json::{Value, json};

use crate::support::{Chain, words};

const SOMEBODY: Address = Address::repeat_byte(0x51);
const SEND: &str = "eth_sendRawTransaction";

impl Chain {
    fn faults(&self, faults: Faults) {
        self.handle().set_faults(faults).unwrap();
    }

    fn fault(&self, method: &str, fault: Fault) {
        self.faults(Faults::with(FaultRule::once(method, fault)));
    }
}

#[tokio::test]
async fn a_call_can_be_done_and_then_fail() {
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    let after = [
        Fault::FailAfter(Failure::default()),
        Fault::CloseAfter,
        Fault::HttpAfter(504),
        Fault::Garbage,
    ];
    for (nonce, fault) in (0..).zip(after) {
        chain.fault(SEND, fault);
        let tx = payer.pay(nonce, SOMEBODY, 1);
        assert!(chain.send(&tx).await.is_err());
        assert_eq!(words(chain.send(&tx).await), "already known");
        chain.mine(1).await;
        assert!(chain.receipt(*tx.tx_hash()).await.unwrap().status());
    }
    assert_eq!(chain.balance(SOMEBODY).await, U256::from(4));
}

#[tokio::test]
async fn a_call_can_fail_without_being_done() {
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    let tx = payer.pay(0, SOMEBODY, 1);
    let failure = Failure {
        code: -32_005,
        message: "daily request count exceeded".to_owned(),
    };
    for fault in [
        Fault::Fail(failure),
        Fault::Close,
        Fault::Http(429),
        Fault::Answer(json!(tx.tx_hash())),
    ] {
        let lies = matches!(fault, Fault::Answer(_));
        chain.fault(SEND, fault);
        assert_eq!(chain.send(&tx).await.is_ok(), lies);
        chain.mine(1).await;
        assert!(chain.receipt(*tx.tx_hash()).await.is_none());
    }
    assert!(chain.include(&tx).await.status());
}

#[tokio::test]
async fn an_answer_can_be_late() {
    let chain = Chain::dev().await;
    for (fault, done) in [
        (Fault::Delay { ms: 60_000 }, 0),
        (Fault::DelayAfter { ms: 60_000 }, 1),
    ] {
        let payer = chain.account().await;
        chain.fault(SEND, fault);
        let tx = payer.pay(0, SOMEBODY, 1);
        let late = tokio::time::timeout(Duration::from_millis(200), chain.send(&tx)).await;
        assert!(late.is_err());
        let status = chain.control("txpool_status", json!([])).await;
        assert_eq!(status["pending"], format!("{done:#x}"));
    }
}

#[tokio::test]
async fn an_outage_ends_when_it_is_told_to() {
    let chain = Chain::dev().await;
    for outage in [Outage::Close, Outage::Http(503)] {
        let set = json!([{ "outage": outage }]);
        chain.control("dev_setFaults", set).await;
        assert!(chain.rpc.get_block_number().await.is_err());
        assert!(chain.rpc.get_chain_id().await.is_err());
        // The chain goes on meanwhile.
        let head = chain.handle().block_number();
        chain.mine(3).await;
        chain.control("dev_setFaults", json!([{}])).await;
        assert_eq!(chain.rpc.get_block_number().await.unwrap(), head + 3);
    }
}

#[tokio::test]
async fn an_endpoint_can_be_behind() {
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    chain.mine(5).await;
    let receipt = chain.include(&payer.pay(0, SOMEBODY, 1)).await;
    let number = receipt.block_number.unwrap();
    chain.faults(Faults {
        lag: 3,
        ..Faults::default()
    });
    assert_eq!(chain.rpc.get_block_number().await.unwrap(), number - 3);
    let latest = chain.rpc.get_block(BlockId::latest()).await.unwrap();
    assert_eq!(latest.unwrap().header.number, number - 3);
    assert!(chain.receipt(receipt.transaction_hash).await.is_none());
    // It was sent there, so it is known there.
    let known = chain
        .rpc
        .get_transaction_by_hash(receipt.transaction_hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(known.block_hash, None);
    assert_eq!(chain.nonce(&payer).await, 0);
    assert_eq!(chain.balance(SOMEBODY).await, U256::ZERO);
    let finalized = chain.rpc.get_block_by_number(BlockNumberOrTag::Finalized);
    assert_eq!(
        finalized.await.unwrap().unwrap().header.number,
        (number - 3).saturating_sub(8)
    );
    let unseen = chain.rpc.get_block_by_number(number.into()).await.unwrap();
    assert!(unseen.is_none());
    chain.mine(3).await;
    assert!(chain.receipt(receipt.transaction_hash).await.is_some());
}

#[tokio::test]
async fn an_endpoint_can_be_on_another_chain() {
    let chain = Chain::dev().await;
    chain.faults(Faults {
        chain_id: Some(8_453),
        ..Faults::default()
    });
    assert_eq!(chain.rpc.get_chain_id().await.unwrap(), 8_453);
    assert_eq!(chain.rpc.get_net_version().await.unwrap(), 8_453);
}

#[tokio::test]
async fn an_endpoint_can_lie_about_balances() {
    let chain = Chain::dev().await;
    let payer = chain.account().await;
    chain.faults(Faults {
        balances: BTreeMap::from([(payer.address(), U256::from(1))]),
        token_balances: BTreeMap::from([(payer.address(), U256::from(2))]),
        ..Faults::default()
    });
    let token = TestToken::new(chain.contracts().token, &chain.rpc);
    let tokens = token.balanceOf(payer.address()).call().await.unwrap();
    assert_eq!(chain.balance(payer.address()).await, U256::from(1));
    assert_eq!(tokens, U256::from(2));
    assert!(chain.handle().balance(payer.address()) > U256::from(1));
}

/// Three blocks with a payment of tokens in each, and the numbers of first and last.
async fn three_payments(chain: &Chain) -> (u64, u64) {
    let payer = chain.account().await;
    let mut numbers = Vec::new();
    for nonce in 0..3 {
        let transfer = TestToken::transferCall {
            to: SOMEBODY,
            value: U256::from(nonce + 1),
        };
        let tx = payer.call(nonce, chain.contracts().token, transfer.abi_encode());
        numbers.extend(chain.include(&tx).await.block_number);
    }
    (numbers[0], numbers[2])
}

#[tokio::test]
async fn an_endpoint_can_lie_about_logs() {
    let chain = Chain::dev().await;
    let (first, last) = three_payments(&chain).await;
    let middle = Filter::new()
        .address(chain.contracts().token)
        .topic2(SOMEBODY.into_word())
        .select(first + 1..=first + 1);
    let look = async |lie, filter: &Filter| {
        chain.faults(Faults {
            logs: lie,
            ..Faults::default()
        });
        chain.rpc.get_logs(filter).await.unwrap()
    };
    assert_eq!(look(None, &middle).await.len(), 1);
    assert_eq!(look(Some(LogLie::Empty), &middle).await.len(), 0);
    assert_eq!(look(Some(LogLie::Twice), &middle).await.len(), 2);
    let beyond = look(Some(LogLie::Beyond { blocks: 1 }), &middle).await;
    let numbers: Vec<_> = beyond.iter().filter_map(|log| log.block_number).collect();
    assert_eq!(numbers, [first, first + 1, last]);
    let removed = look(Some(LogLie::Removed), &middle).await;
    assert!(removed.iter().all(|log| log.removed));
    let all = middle.clone().select(first..=last);
    assert_eq!(look(None, &all).await.len(), 3);
    let clipped = look(Some(LogLie::Clip { blocks: 2 }), &all).await;
    assert_eq!(clipped.len(), 2);
    let nobody = all.topic2(Address::ZERO.into_word());
    assert_eq!(look(None, &nobody).await.len(), 0);
    assert_eq!(look(Some(LogLie::Unfiltered), &nobody).await.len(), 3);
}

#[tokio::test]
async fn a_range_of_logs_is_bounded_in_blocks_and_in_logs() {
    let chain = Chain::dev_with(DevChainConfig {
        log_range: 3,
        log_results: 2,
        range_refusal: RangeRefusal::Infura,
        ..DevChainConfig::on_demand()
    })
    .await;
    let (first, last) = three_payments(&chain).await;
    let look =
        async |from: u64, to: u64| chain.rpc.get_logs(&Filter::new().select(from..=to)).await;
    let too_many = look(first, last).await.unwrap_err();
    let answer = too_many.as_error_resp().unwrap();
    assert_eq!(answer.code, -32_005);
    assert!(
        answer
            .message
            .starts_with("query returned more than 2 results")
    );
    assert_eq!(look(first, first + 1).await.unwrap().len(), 2);
    let wide = words(look(first - 1, last).await);
    assert_eq!(wide, "range 4 exceeds limit of 3");
    chain.faults(Faults {
        log_range: Some(1),
        ..Faults::default()
    });
    assert!(look(first, first + 1).await.is_err());
    assert_eq!(look(first, first).await.unwrap().len(), 1);
    // What is beyond the head is left out without a word.
    chain.faults(Faults::default());
    assert_eq!(look(last, last + 1_000).await.unwrap().len(), 1);
    assert_eq!(look(last + 1, last + 2).await.unwrap().len(), 0);
}

#[tokio::test]
async fn faults_are_for_the_calls_they_name() {
    let chain = Chain::dev().await;
    let faults = json!([{
        "rules": [
            { "method": "eth_getBalance", "paramsContain": SOMEBODY, "fault": { "fail": {} }, "skip": 1, "times": 1 },
            { "method": "eth_gasPrice", "fault": { "answer": "0x7" } }
        ]
    }]);
    chain.control("dev_setFaults", faults).await;
    let balance = async |of| chain.rpc.get_balance(of).await;
    assert!(balance(SOMEBODY).await.is_ok());
    assert!(balance(Address::ZERO).await.is_ok());
    assert_eq!(words(balance(SOMEBODY).await), "request timed out");
    assert!(balance(SOMEBODY).await.is_ok());
    assert_eq!(chain.rpc.get_gas_price().await.unwrap(), 7);
    let left = chain.control("dev_getFaults", json!([])).await;
    assert_eq!(left["rules"][0]["times"], 0);
    // The truth is there all the same, in this process.
    let price = chain.handle().read("eth_gasPrice", json!([])).unwrap();
    assert_ne!(price, json!("0x7"));
}

#[tokio::test]
async fn faults_that_make_no_sense_are_refused_and_change_nothing() {
    let chain = Chain::dev().await;
    for bad in [
        json!([{ "lagg": 1 }]),
        json!([{ "outage": { "http": 200 } }]),
        json!([{ "rules": [{ "method": "eth_call", "fault": "explode" }] }]),
    ] {
        let answer: Result<Value, _> = chain.rpc.raw_request("dev_setFaults".into(), bad).await;
        let error = answer.unwrap_err();
        assert_eq!(error.as_error_resp().unwrap().code, -32_602);
    }
    assert_eq!(chain.handle().faults(), Faults::default());
}
