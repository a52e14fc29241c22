//! A chain that a test runs on: the development chain, or anvil where `MASQ_ANVIL` names it.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::types::TransactionReceipt;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::{RpcError, TransportErrorKind};
use masq_testnet::devchain::deploy::{Contracts, Faucet, Grant, provider};
use masq_testnet::devchain::{
    Anvil, AnvilConfig, CHAIN_ID, DevChain, DevChainConfig, ETHER, FAUCET_KEY, Handle,
};
use serde_json::{Value, json};

/// One gwei, in wei.
pub(crate) const GWEI: u128 = 1_000_000_000;
/// What every account of a test begins with, in wei.
pub(crate) const PURSE: u128 = 10 * ETHER;

pub(crate) type Failed = RpcError<TransportErrorKind>;

/// Makes of each function two tests: one on the development chain, one on anvil.
#[macro_export]
macro_rules! on_both_chains {
    ($($name:ident),* $(,)?) => {
        mod on_the_development_chain {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::Chain::dev().await).await;
            })*
        }
        mod on_anvil {
            $(#[tokio::test]
            async fn $name() {
                if let Some(chain) = $crate::support::Chain::anvil().await {
                    super::$name(chain).await;
                }
            })*
        }
    };
}

enum Backend {
    Dev(DevChain),
    Anvil(#[expect(dead_code, reason = "dropping it ends it")] Anvil),
}

/// A chain with the contracts, that mines on demand only.
pub(crate) struct Chain {
    backend: Backend,
    pub(crate) url: String,
    pub(crate) rpc: RootProvider,
    pub(crate) faucet: Faucet,
    accounts: AtomicU64,
}

impl Chain {
    pub(crate) async fn dev() -> Self {
        Self::dev_with(DevChainConfig::on_demand()).await
    }

    pub(crate) async fn dev_with(config: DevChainConfig) -> Self {
        let chain = DevChain::start(config).await.unwrap();
        let url = chain.url();
        Self::over(Backend::Dev(chain), url).await
    }

    /// Anvil; `None`, and a line that no test runner hides, where there is none.
    pub(crate) async fn anvil() -> Option<Self> {
        let Some(program) = std::env::var_os("MASQ_ANVIL") else {
            let _ = writeln!(
                std::io::stderr(),
                "!!! SKIPPED on anvil: MASQ_ANVIL does not name the program"
            );
            return None;
        };
        let anvil = Anvil::start(&AnvilConfig::on_demand(program.into()))
            .await
            .unwrap();
        let url = anvil.url();
        Some(Self::over(Backend::Anvil(anvil), url).await)
    }

    async fn over(backend: Backend, url: String) -> Self {
        let faucet = Faucet::deploy(&url, &FAUCET_KEY).await.unwrap();
        Self {
            backend,
            rpc: provider(&url).unwrap(),
            faucet,
            url,
            accounts: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_anvil(&self) -> bool {
        matches!(self.backend, Backend::Anvil(_))
    }

    /// The controls in this process; only the development chain has them.
    pub(crate) fn handle(&self) -> Handle {
        match &self.backend {
            Backend::Dev(chain) => chain.handle(),
            Backend::Anvil(_) => panic!("anvil has no handle"),
        }
    }

    pub(crate) fn contracts(&self) -> Contracts {
        self.faucet.contracts()
    }

    /// A fresh account with [`PURSE`] and a thousand tokens.
    pub(crate) async fn account(&self) -> Account {
        let account = self.poor_account();
        let grant = Grant {
            to: account.address(),
            wei: PURSE,
            tokens: 1_000 * ETHER,
        };
        self.faucet.give(&[grant]).await.unwrap();
        account
    }

    /// A fresh account with nothing. The same in every run.
    pub(crate) fn poor_account(&self) -> Account {
        let n = self.accounts.fetch_add(1, Ordering::Relaxed);
        let key = keccak256(format!("account {n} of a test"));
        Account(PrivateKeySigner::from_bytes(&key).unwrap())
    }

    pub(crate) async fn control(&self, method: &'static str, params: Value) -> Value {
        self.rpc.raw_request(method.into(), params).await.unwrap()
    }

    pub(crate) async fn mine(&self, blocks: u64) {
        for _ in 0..blocks {
            self.control("evm_mine", json!([])).await;
        }
    }

    /// Replaces blocks by empty ones. What becomes of their transactions differs: they wait again
    /// on the development chain, and anvil forgets them.
    pub(crate) async fn reorg(&self, depth: u64) {
        let method = match self.backend {
            Backend::Dev(_) => "dev_reorg",
            Backend::Anvil(_) => "anvil_reorg",
        };
        let second = if self.is_anvil() {
            json!([])
        } else {
            json!({ "transactions": "keep" })
        };
        self.control(method, json!([depth, second])).await;
    }

    pub(crate) async fn drop_transaction(&self, hash: B256) {
        let method = match self.backend {
            Backend::Dev(_) => "dev_dropTransaction",
            Backend::Anvil(_) => "anvil_dropTransaction",
        };
        self.control(method, json!([hash])).await;
    }

    pub(crate) async fn set_next_base_fee(&self, wei: u128) {
        let method = match self.backend {
            Backend::Dev(_) => "evm_setNextBlockBaseFeePerGas",
            Backend::Anvil(_) => "anvil_setNextBlockBaseFeePerGas",
        };
        self.control(method, json!([format!("{wei:#x}")])).await;
    }

    pub(crate) async fn send(&self, tx: &TxEnvelope) -> Result<B256, Failed> {
        let sent = self.rpc.send_raw_transaction(&tx.encoded_2718()).await?;
        Ok(*sent.tx_hash())
    }

    /// Sends, mines one block, and takes the receipt.
    pub(crate) async fn include(&self, tx: &TxEnvelope) -> TransactionReceipt {
        let hash = self.send(tx).await.unwrap();
        self.mine(1).await;
        self.receipt(hash).await.expect("included")
    }

    pub(crate) async fn receipt(&self, hash: B256) -> Option<TransactionReceipt> {
        self.rpc.get_transaction_receipt(hash).await.unwrap()
    }

    pub(crate) async fn nonce(&self, account: &Account) -> u64 {
        let address = account.address();
        self.rpc.get_transaction_count(address).await.unwrap()
    }

    pub(crate) async fn balance(&self, address: Address) -> U256 {
        self.rpc.get_balance(address).await.unwrap()
    }
}

/// Somebody with a key.
pub(crate) struct Account(pub(crate) PrivateKeySigner);

impl Account {
    pub(crate) fn address(&self) -> Address {
        self.0.address()
    }

    pub(crate) fn sign(&self, tx: TxEip1559) -> TxEnvelope {
        let signature = self.0.sign_hash_sync(&tx.signature_hash()).unwrap();
        tx.into_signed(signature).into()
    }

    /// A payment of ether, signed.
    pub(crate) fn pay(&self, nonce: u64, to: Address, wei: u128) -> TxEnvelope {
        self.sign(TxEip1559 {
            nonce,
            to: TxKind::Call(to),
            value: U256::from(wei),
            ..transaction()
        })
    }

    /// A call of a contract, signed.
    pub(crate) fn call(&self, nonce: u64, to: Address, input: Vec<u8>) -> TxEnvelope {
        self.sign(TxEip1559 {
            nonce,
            to: TxKind::Call(to),
            input: Bytes::from(input),
            gas_limit: 500_000,
            ..transaction()
        })
    }
}

/// A transaction with fees that are enough.
pub(crate) fn transaction() -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        gas_limit: 21_000,
        max_fee_per_gas: 10 * GWEI,
        max_priority_fee_per_gas: GWEI,
        ..TxEip1559::default()
    }
}

/// What the chain said no with.
pub(crate) fn words<T: std::fmt::Debug>(result: Result<T, Failed>) -> String {
    let error = result.expect_err("refused");
    match error.as_error_resp() {
        Some(answer) => answer.message.to_string(),
        None => panic!("no answer: {error}"),
    }
}
