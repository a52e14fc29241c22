//! The contracts: tokens are made, paid, paid to many, and nobody pays twice.

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::signers::SignerSync;
use alloy::sol_types::{SolCall, SolEvent, SolStruct, eip712_domain};
use masq_testnet::devchain::deploy::{Disperse, Grant, Permit, TestToken};
use masq_testnet::devchain::{CHAIN_ID, ETHER};

use crate::on_both_chains;
use crate::support::{Account, Chain, PURSE};

const HOPS: [Address; 3] = [
    Address::repeat_byte(0xa1),
    Address::repeat_byte(0xa2),
    Address::repeat_byte(0xa3),
];

on_both_chains!(
    the_token_is_what_it_says,
    a_transfer_is_seen_by_whoever_looks_for_it,
    a_transfer_of_too_much_fails_and_uses_its_nonce,
    only_the_faucet_mints,
    one_transaction_pays_many,
    one_transaction_pays_many_with_a_permit,
    a_dispersal_pays_all_or_nobody,
    the_faucet_gives_to_many,
);

impl Chain {
    fn token(&self) -> TestToken::TestTokenInstance<&alloy::providers::RootProvider> {
        TestToken::new(self.contracts().token, &self.rpc)
    }

    async fn tokens(&self, of: Address) -> U256 {
        self.token().balanceOf(of).call().await.unwrap()
    }
}

fn transfer(to: Address, value: u128) -> Vec<u8> {
    let value = U256::from(value);
    TestToken::transferCall { to, value }.abi_encode()
}

async fn the_token_is_what_it_says(chain: Chain) {
    let token = chain.token();
    assert_eq!(token.symbol().call().await.unwrap(), "tMASQ");
    assert_eq!(token.name().call().await.unwrap(), "MASQ test token");
    assert_eq!(token.decimals().call().await.unwrap(), 18);
    let account = chain.account().await;
    assert_eq!(
        chain.tokens(account.address()).await,
        U256::from(1_000 * ETHER)
    );
    assert_eq!(
        token.totalSupply().call().await.unwrap(),
        U256::from(1_000 * ETHER)
    );
    let code = chain.rpc.get_code_at(chain.contracts().token).await;
    assert!(code.unwrap().len() > 1_000);
    let nothing = chain.rpc.get_code_at(HOPS[0]).await.unwrap();
    assert!(nothing.is_empty());
}

async fn a_transfer_is_seen_by_whoever_looks_for_it(chain: Chain) {
    let payer = chain.account().await;
    let token = chain.contracts().token;
    let receipt = chain
        .include(&payer.call(0, token, transfer(HOPS[0], 7)))
        .await;
    assert!(receipt.status());
    assert_eq!(chain.tokens(HOPS[0]).await, U256::from(7));
    let [log] = receipt.logs() else {
        panic!("{receipt:?}")
    };
    let paid = TestToken::Transfer::decode_log(&log.inner).unwrap();
    assert_eq!(
        (paid.from, paid.to, paid.value),
        (payer.address(), HOPS[0], U256::from(7))
    );

    let block = receipt.block_number.unwrap();
    let to = |hop: Address| {
        Filter::new()
            .address(token)
            .event_signature(TestToken::Transfer::SIGNATURE_HASH)
            .topic2(hop.into_word())
            .from_block(chain.contracts().since)
            .to_block(block)
    };
    let found = chain.rpc.get_logs(&to(HOPS[0])).await.unwrap();
    assert_eq!(found, receipt.logs());
    assert!(!found[0].removed);
    assert!(chain.rpc.get_logs(&to(HOPS[1])).await.unwrap().is_empty());
    let by_hash = to(HOPS[0]).at_block_hash(receipt.block_hash.unwrap());
    assert_eq!(chain.rpc.get_logs(&by_hash).await.unwrap(), found);
    let before = to(HOPS[0]).to_block(block - 1);
    assert!(chain.rpc.get_logs(&before).await.unwrap().is_empty());
}

async fn a_transfer_of_too_much_fails_and_uses_its_nonce(chain: Chain) {
    let payer = chain.account().await;
    let token = chain.contracts().token;
    let input = transfer(HOPS[0], 1_001 * ETHER);
    let request = TransactionRequest::default()
        .from(payer.address())
        .to(token)
        .input(input.clone().into());
    // Asked beforehand it says so, with the contract's own reason.
    for answer in [
        chain.rpc.call(request.clone()).await.map(|_| ()),
        chain.rpc.estimate_gas(request).await.map(|_| ()),
    ] {
        let error = answer.unwrap_err();
        let answer = error.as_error_resp().unwrap();
        assert_eq!(answer.code, 3);
        assert!(answer.message.starts_with("execution reverted"));
        let data = answer.as_revert_data().unwrap();
        assert_eq!(data.len(), 4 + 3 * 32);
    }
    let receipt = chain.include(&payer.call(0, token, input)).await;
    assert!(!receipt.status());
    assert!(receipt.logs().is_empty());
    assert!(receipt.gas_used > 21_000);
    assert_eq!(chain.nonce(&payer).await, 1);
    assert_eq!(chain.tokens(HOPS[0]).await, U256::ZERO);
    let cost = u128::from(receipt.gas_used) * receipt.effective_gas_price;
    assert_eq!(
        chain.balance(payer.address()).await,
        U256::from(PURSE - cost)
    );
}

async fn only_the_faucet_mints(chain: Chain) {
    let thief = chain.account().await;
    let mint = TestToken::mintCall {
        to: thief.address(),
        value: U256::from(1),
    };
    let receipt = chain
        .include(&thief.call(0, chain.contracts().token, mint.abi_encode()))
        .await;
    assert!(!receipt.status());
}

fn disperse(chain: &Chain, amounts: &[u128]) -> Vec<u8> {
    Disperse::disperseTokenCall {
        token: chain.contracts().token,
        to: HOPS.to_vec(),
        amounts: amounts.iter().map(|amount| U256::from(*amount)).collect(),
    }
    .abi_encode()
}

async fn allow(chain: &Chain, payer: &Account, nonce: u64, value: u128) {
    let approve = TestToken::approveCall {
        spender: chain.contracts().disperse,
        value: U256::from(value),
    };
    let tx = payer.call(nonce, chain.contracts().token, approve.abi_encode());
    assert!(chain.include(&tx).await.status());
}

/// The payer, payee and amount of each transfer that a receipt tells of.
fn payments(receipt: &alloy::rpc::types::TransactionReceipt) -> Vec<(Address, Address, u64)> {
    receipt
        .logs()
        .iter()
        .filter_map(|log| TestToken::Transfer::decode_log(&log.inner).ok())
        .map(|paid| (paid.from, paid.to, paid.value.to()))
        .collect()
}

async fn one_transaction_pays_many(chain: Chain) {
    let payer = chain.account().await;
    allow(&chain, &payer, 0, 6).await;
    let tx = payer.call(1, chain.contracts().disperse, disperse(&chain, &[1, 2, 3]));
    let receipt = chain.include(&tx).await;
    let from = payer.address();
    assert_eq!(
        payments(&receipt),
        [(from, HOPS[0], 1), (from, HOPS[1], 2), (from, HOPS[2], 3)]
    );
    let indices: BTreeSet<_> = receipt.logs().iter().map(|log| log.log_index).collect();
    assert_eq!(indices, BTreeSet::from([Some(0), Some(1), Some(2)]));
    assert_eq!(chain.tokens(HOPS[2]).await, U256::from(3));
}

async fn one_transaction_pays_many_with_a_permit(chain: Chain) {
    let payer = chain.account().await;
    let contracts = chain.contracts();
    let domain = eip712_domain! {
        name: "MASQ test token",
        version: "1",
        chain_id: CHAIN_ID,
        verifying_contract: contracts.token,
    };
    let permit = Permit {
        owner: payer.address(),
        spender: contracts.disperse,
        value: U256::from(6),
        nonce: U256::ZERO,
        deadline: U256::MAX,
    };
    let signature = payer
        .0
        .sign_hash_sync(&permit.eip712_signing_hash(&domain))
        .unwrap();
    let pay = |amounts: [u64; 3]| {
        Disperse::disperseTokenWithPermitCall {
            token: contracts.token,
            to: HOPS.to_vec(),
            amounts: amounts.map(U256::from).to_vec(),
            value: permit.value,
            deadline: permit.deadline,
            v: 27 + u8::from(signature.v()),
            r: B256::from(signature.r()),
            s: B256::from(signature.s()),
        }
        .abi_encode()
    };
    let receipt = chain
        .include(&payer.call(0, contracts.disperse, pay([1, 2, 3])))
        .await;
    assert!(receipt.status());
    assert_eq!(payments(&receipt).len(), 3);
    assert!(
        payments(&receipt)
            .iter()
            .all(|paid| paid.0 == payer.address())
    );
    // A permit is good once.
    let again = chain
        .include(&payer.call(1, contracts.disperse, pay([1, 2, 3])))
        .await;
    assert!(!again.status());
}

async fn a_dispersal_pays_all_or_nobody(chain: Chain) {
    let payer = chain.account().await;
    allow(&chain, &payer, 0, 5).await;
    for (nonce, amounts) in [(1, &[1, 2, 3][..]), (2, &[1, 2])] {
        let input = disperse(&chain, amounts);
        let receipt = chain
            .include(&payer.call(nonce, chain.contracts().disperse, input))
            .await;
        assert!(!receipt.status());
        assert_eq!(chain.tokens(HOPS[0]).await, U256::ZERO);
    }
    // What is not a token takes nothing and pays nobody.
    let no_token = Disperse::disperseTokenCall {
        token: HOPS[0],
        to: HOPS.to_vec(),
        amounts: vec![U256::from(1); 3],
    };
    let receipt = chain
        .include(&payer.call(3, chain.contracts().disperse, no_token.abi_encode()))
        .await;
    assert!(!receipt.status());
}

async fn the_faucet_gives_to_many(chain: Chain) {
    let grants: Vec<_> = (0..120_u8)
        .map(|n| Grant {
            to: Address::repeat_byte(n.max(1)),
            wei: 1 + u128::from(n),
            tokens: u128::from(n),
        })
        .collect();
    chain.faucet.give(&grants).await.unwrap();
    let last = Address::repeat_byte(119);
    assert_eq!(chain.balance(last).await, U256::from(120));
    assert_eq!(chain.tokens(last).await, U256::from(119));
}
