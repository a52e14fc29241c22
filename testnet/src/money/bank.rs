//! The money of one testnet: its chain with the contracts, and what each node got.

use alloy::primitives::Address;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::chain::{Chain, ChainOptions, RunningChain};
use super::terms::{COIN, TOKENS, Terms};
use super::wallets;
use crate::devchain::FAUCET_KEY;
use crate::devchain::deploy::{Contracts, Faucet, Grant};
use crate::error::TestnetError;
use crate::plan::Plan;

/// Wallets that are made at a time: each takes a core for a second and 256 MB.
const AT_ONCE: usize = 2;

/// What later commands have to know of a testnet's money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneyState {
    /// `dev` or `anvil`.
    pub chain: String,
    /// The chain's endpoint.
    pub rpc: String,
    /// The token.
    pub token: Address,
    /// The disperse contract.
    pub disperse: Address,
    /// Block that the token was made in.
    pub since: u64,
}

impl MoneyState {
    /// Gives a wallet what the nodes of the testnet began with.
    ///
    /// # Errors
    /// When the chain does not answer or include it.
    pub async fn fund(&self, to: Address) -> Result<(), TestnetError> {
        let contracts = Contracts {
            token: self.token,
            disperse: self.disperse,
            since: self.since,
        };
        let faucet = Faucet::at(&self.rpc, &FAUCET_KEY, contracts).await?;
        Ok(faucet.give(&[grant(to)]).await?)
    }
}

fn grant(to: Address) -> Grant {
    Grant {
        to,
        wei: COIN,
        tokens: TOKENS,
    }
}

/// A chain, its contracts, and a faucet.
#[derive(Debug)]
pub struct Bank {
    kind: &'static str,
    chain: RunningChain,
    faucet: Faucet,
}

impl Bank {
    /// Starts the chain and makes the contracts; nothing where there is to be no money.
    ///
    /// # Errors
    /// When the chain does not start, or a contract cannot be made.
    pub async fn open(kind: &Chain) -> Result<Option<Self>, TestnetError> {
        let options = ChainOptions::default();
        let chain = match kind {
            Chain::None => return Ok(None),
            Chain::Dev => RunningChain::dev(&options).await?,
            Chain::Anvil(program) => RunningChain::anvil(program.clone(), &options).await?,
        };
        let faucet = chain.deploy().await?;
        Ok(Some(Self {
            kind: kind.as_str(),
            chain,
            faucet,
        }))
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &RunningChain {
        &self.chain
    }

    /// Resolves when the chain ends by itself.
    pub async fn ended(&mut self) -> TestnetError {
        self.chain.ended().await
    }

    /// Where the contracts are.
    #[must_use]
    pub fn contracts(&self) -> Contracts {
        self.faucet.contracts()
    }

    /// The terms that its nodes do business on.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms::new(self.chain.url(), self.contracts().token)
    }

    /// What later commands have to know.
    #[must_use]
    pub fn state(&self) -> MoneyState {
        let contracts = self.contracts();
        MoneyState {
            chain: self.kind.to_owned(),
            rpc: self.chain.url(),
            token: contracts.token,
            disperse: contracts.disperse,
            since: contracts.since,
        }
    }

    /// Makes the wallets of all nodes of a plan, fills them, and puts the terms into the nodes'
    /// settings; the files of the plan have to be written after that.
    ///
    /// # Errors
    /// When a wallet cannot be made or filled.
    pub async fn equip(&self, plan: &mut Plan, terms: &Terms) -> Result<(), TestnetError> {
        let nodes = plan.nodes.iter().enumerate();
        let jobs: Vec<_> = nodes.map(|(index, node)| (index, node.clone())).collect();
        let made: Vec<_> = stream::iter(jobs)
            .map(|(index, node)| async move {
                let make = move || {
                    // The mesh may have been given up meanwhile, and its folder with it.
                    if node.home.parent().is_some_and(|mesh| !mesh.is_dir()) {
                        return Err(TestnetError::Interrupted);
                    }
                    wallets::make(&node.name, &node.data_dir(), node.role)
                };
                let made = tokio::task::spawn_blocking(make);
                let wallets = made.await.map_err(|error| {
                    TestnetError::Options(format!("a wallet could not be made: {error}"))
                })??;
                Ok::<_, TestnetError>((index, wallets))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let mut grants = Vec::new();
        for (index, wallets) in made {
            grants.push(grant(wallets.consuming));
            let node = &mut plan.nodes[index];
            node.wallets = Some(wallets);
            node.settings.extend(terms.settings(&node.data_dir()));
        }
        self.faucet.give(&grants).await?;
        Ok(())
    }

    /// Ends the chain.
    pub async fn stop(self) {
        self.chain.stop().await;
    }
}
