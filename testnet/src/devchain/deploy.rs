//! The contracts of `testnet/contracts/` on any chain, and a faucet: signed transactions over
//! JSON-RPC, as anyone would send them.

use std::future::Future;
use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use alloy::rpc::types::TransactionReceipt;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use alloy::transports::http::reqwest;
use serde::Deserialize;

use super::error::DevChainError;
pub use super::interfaces::{Disperse, Permit, TestToken};

/// What was compiled from `testnet/contracts/TestToken.sol`.
const TOKEN: &str = include_str!("../../contracts/TestToken.json");
/// What was compiled from `testnet/contracts/Disperse.sol`.
const DISPERSE: &str = include_str!("../../contracts/Disperse.json");

/// One answer of the chain may take this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A transaction may take this long into a block, where blocks come by themselves.
const BLOCK_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks for a receipt.
const POLL: Duration = Duration::from_millis(50);
/// Most transactions sent before their receipts are waited for: fewer than fit into a pool or a
/// block.
const AT_ONCE: usize = 100;
/// Gas of a plain transfer of ether.
const GAS_TRANSFER: u64 = 21_000;
/// Gas that minting to a fresh account takes (about 70,000), and room.
const GAS_MINT: u64 = 150_000;
/// Gas that each of the two contracts takes to make (about 900,000), and room.
const GAS_DEPLOY: u64 = 3_000_000;

/// Where the contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contracts {
    /// The token.
    pub token: Address,
    /// The disperse contract.
    pub disperse: Address,
    /// Block that the token was made in: there are no transfers before it.
    pub since: u64,
}

/// What a faucet gives to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The account.
    pub to: Address,
    /// Ether, in wei.
    pub wei: u128,
    /// Tokens, in the smallest unit.
    pub tokens: u128,
}

#[derive(Deserialize)]
struct Artifact {
    bytecode: Bytes,
}

fn bytecode(name: &'static str, artifact: &str) -> Result<Bytes, DevChainError> {
    serde_json::from_str::<Artifact>(artifact)
        .map(|artifact| artifact.bytecode)
        .map_err(|error| DevChainError::Contract {
            name,
            reason: error.to_string(),
        })
}

/// A client of a chain on this machine: no proxy is asked, whatever the environment says.
///
/// # Errors
/// When `url` is not one.
pub fn provider(url: &str) -> Result<RootProvider, DevChainError> {
    let what = "cannot use the chain";
    let url = url
        .parse()
        .map_err(|error| failed(what)(format!("{url} is not a URL: {error}")))?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER_WITHIN)
        .build()
        .map_err(|error| failed(what)(error.to_string()))?;
    Ok(ProviderBuilder::new()
        .disable_recommended_fillers()
        .connect_reqwest(client, url))
}

fn failed(what: &'static str) -> impl Fn(String) -> DevChainError {
    move |reason| DevChainError::Chain { what, reason }
}

/// An account that makes the contracts, and then gives out ether and tokens. Nobody else may use
/// its key meanwhile: it counts its own nonces.
pub struct Faucet {
    provider: RootProvider,
    signer: PrivateKeySigner,
    chain_id: u64,
    contracts: Contracts,
}

impl std::fmt::Debug for Faucet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither key nor address.
        f.debug_struct("Faucet")
            .field("chain_id", &self.chain_id)
            .field("contracts", &self.contracts)
            .finish_non_exhaustive()
    }
}

/// A transaction that is yet to get its nonce and its fees.
struct Wanted {
    to: TxKind,
    value: U256,
    input: Bytes,
    gas: u64,
}

impl Faucet {
    /// Makes both contracts with the account of `key`, which needs ether. On a chain that makes
    /// no blocks by itself this makes them.
    ///
    /// # Errors
    /// When the chain cannot be reached, refuses a transaction or does not include it in time, and
    /// when making a contract fails. Transactions that were sent before stay sent.
    pub async fn deploy(url: &str, key: &B256) -> Result<Self, DevChainError> {
        let what = "cannot deploy the contracts";
        let signer = PrivateKeySigner::from_bytes(key)
            .map_err(|_| failed(what)("the faucet's key is not a key".to_owned()))?;
        let provider = provider(url)?;
        let chain_id = ask(what, provider.get_chain_id()).await?;
        let mut faucet = Self {
            provider,
            signer,
            chain_id,
            contracts: Contracts {
                token: Address::ZERO,
                disperse: Address::ZERO,
                since: 0,
            },
        };
        let make = |input| Wanted {
            to: TxKind::Create,
            value: U256::ZERO,
            input,
            gas: GAS_DEPLOY,
        };
        let wanted = [
            make(bytecode("TestToken", TOKEN)?),
            make(bytecode("Disperse", DISPERSE)?),
        ];
        let receipts = faucet.send(what, &wanted).await?;
        let made = |index: usize| {
            let receipt: Option<&TransactionReceipt> = receipts.get(index);
            receipt
                .and_then(|receipt| receipt.contract_address)
                .ok_or_else(|| failed(what)("the receipt names no contract".to_owned()))
        };
        faucet.contracts = Contracts {
            token: made(0)?,
            disperse: made(1)?,
            since: receipts
                .first()
                .and_then(|receipt| receipt.block_number)
                .unwrap_or_default(),
        };
        Ok(faucet)
    }

    /// The faucet of a chain on which its contracts are already.
    ///
    /// # Errors
    /// When the chain cannot be reached, or `key` is not one.
    pub async fn at(url: &str, key: &B256, contracts: Contracts) -> Result<Self, DevChainError> {
        let what = "cannot use the faucet";
        let signer = PrivateKeySigner::from_bytes(key)
            .map_err(|_| failed(what)("the faucet's key is not a key".to_owned()))?;
        let provider = provider(url)?;
        let chain_id = ask(what, provider.get_chain_id()).await?;
        Ok(Self {
            provider,
            signer,
            chain_id,
            contracts,
        })
    }

    /// Where the contracts are.
    #[must_use]
    pub fn contracts(&self) -> Contracts {
        self.contracts
    }

    /// The chain's id, as it says.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The account that gives.
    #[must_use]
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// Gives ether and mints tokens, and waits until all of it is in blocks.
    ///
    /// # Errors
    /// As [`Faucet::deploy`]. Some of the accounts may have got theirs then.
    pub async fn give(&self, grants: &[Grant]) -> Result<(), DevChainError> {
        let mut wanted = Vec::new();
        for grant in grants {
            if grant.wei > 0 {
                wanted.push(Wanted {
                    to: TxKind::Call(grant.to),
                    value: U256::from(grant.wei),
                    input: Bytes::new(),
                    gas: GAS_TRANSFER,
                });
            }
            if grant.tokens > 0 {
                let call = TestToken::mintCall {
                    to: grant.to,
                    value: U256::from(grant.tokens),
                };
                wanted.push(Wanted {
                    to: TxKind::Call(self.contracts.token),
                    value: U256::ZERO,
                    input: call.abi_encode().into(),
                    gas: GAS_MINT,
                });
            }
        }
        for some in wanted.chunks(AT_ONCE) {
            self.send("cannot give out tokens", some).await?;
        }
        Ok(())
    }

    /// Sends transactions one after the other and waits for all receipts.
    async fn send(
        &self,
        what: &'static str,
        wanted: &[Wanted],
    ) -> Result<Vec<TransactionReceipt>, DevChainError> {
        let pending = self
            .provider
            .get_transaction_count(self.signer.address())
            .pending();
        let first = ask(what, pending).await?;
        let fees = ask(what, self.provider.estimate_eip1559_fees()).await?;
        // On a chain without traffic alloy offers one wei, and some chains want more.
        let least = ask(what, self.provider.get_max_priority_fee_per_gas()).await?;
        let tip = fees.max_priority_fee_per_gas.max(least);
        let max_fee_per_gas = fees.max_fee_per_gas.saturating_add(tip);
        let mut hashes = Vec::new();
        for (nonce, wanted) in (first..).zip(wanted) {
            let tx = TxEip1559 {
                chain_id: self.chain_id,
                nonce,
                gas_limit: wanted.gas,
                max_fee_per_gas,
                max_priority_fee_per_gas: tip,
                to: wanted.to,
                value: wanted.value,
                input: wanted.input.clone(),
                ..TxEip1559::default()
            };
            let raw = sign(&self.signer, tx).map_err(failed(what))?.encoded_2718();
            let sent = ask(what, self.provider.send_raw_transaction(&raw)).await?;
            hashes.push(*sent.tx_hash());
        }
        // Where blocks come by themselves one more does no harm.
        let mine = self
            .provider
            .raw_request::<_, serde_json::Value>("evm_mine".into(), ());
        ask(what, mine).await?;
        let mut receipts = Vec::new();
        for hash in hashes {
            let receipt = tokio::time::timeout(BLOCK_WITHIN, self.receipt(what, hash))
                .await
                .map_err(|_| failed(what)("the transaction is in no block yet".to_owned()))??;
            if !receipt.status() {
                return Err(DevChainError::Reverted { what });
            }
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    async fn receipt(
        &self,
        what: &'static str,
        hash: B256,
    ) -> Result<TransactionReceipt, DevChainError> {
        loop {
            if let Some(receipt) = ask(what, self.provider.get_transaction_receipt(hash)).await? {
                return Ok(receipt);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn ask<T, E: std::fmt::Display>(
    what: &'static str,
    question: impl IntoFuture<Output = Result<T, E>, IntoFuture: Future>,
) -> Result<T, DevChainError> {
    question
        .into_future()
        .await
        .map_err(|error| failed(what)(error.to_string()))
}

/// Signs a transaction.
fn sign(signer: &PrivateKeySigner, tx: TxEip1559) -> Result<TxEnvelope, String> {
    let signature = signer
        .sign_hash_sync(&tx.signature_hash())
        .map_err(|error| error.to_string())?;
    Ok(tx.into_signed(signature).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_contracts_can_be_read() {
        assert!(bytecode("TestToken", TOKEN).unwrap().len() > 1000);
        assert!(bytecode("Disperse", DISPERSE).unwrap().len() > 500);
        assert!(bytecode("Nothing", "{}").is_err());
    }

    #[test]
    fn the_interfaces_are_those_of_the_contracts() {
        // Selectors as the compiler knows them are in the ABI only by name and types; these are
        // computed from it by hand.
        let has = |artifact: &str, name: &str, inputs: &[&str]| {
            let artifact: serde_json::Value = serde_json::from_str(artifact).unwrap();
            artifact["abi"].as_array().unwrap().iter().any(|entry| {
                let types: Vec<_> = entry["inputs"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|input| input["type"].as_str().unwrap())
                    .collect();
                entry["name"] == name && types == inputs
            })
        };
        assert!(has(TOKEN, "mint", &["address", "uint256"]));
        assert!(has(TOKEN, "Transfer", &["address", "address", "uint256"]));
        assert!(has(
            DISPERSE,
            "disperseToken",
            &["address", "address[]", "uint256[]"]
        ));
        assert_eq!(
            Disperse::disperseTokenCall::SIGNATURE,
            "disperseToken(address,address[],uint256[])"
        );
    }

    #[test]
    fn a_faucet_shows_no_key() {
        let faucet = Faucet {
            provider: provider("http://127.0.0.1:1").unwrap(),
            signer: PrivateKeySigner::from_bytes(&super::super::FAUCET_KEY).unwrap(),
            chain_id: 1,
            contracts: Contracts {
                token: Address::ZERO,
                disperse: Address::ZERO,
                since: 0,
            },
        };
        let text = format!("{faucet:?}").to_lowercase();
        assert!(!text.contains("ac0974") && !text.contains("f39f"));
    }
}
