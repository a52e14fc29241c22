//! From the configuration to books that run.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use masq_settlement::state::{Config as MachineConfig, Found, Machine};
use masq_settlement::{Domain, NodeKey, SIGNATURE_LEN, Settlement, SignError, Signer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::restore::{self, Transfers};
use super::{Accounts, Billing, Inner, TermsOf, map};
use crate::chain::ChainFacts;
use crate::chain::driver::{DriverError, FileNote, Money, Setup};
use crate::chain::engine::{EngineConfig, TxRequest};
use crate::chain::provider::{
    EndpointError, Fault, Provider, ProviderConfig, Signer as PaymentSigner,
};
use crate::chain::scanner::{MAX_SPAN, ScannerConfig};
use crate::entry::Isolation;
use crate::ledger::fit::{self, Misfit};
use crate::ledger::{
    Journal, JournalError, PrepayBudget, Receivables, Thresholds, Tokens, opaque_debug,
};
use crate::wallet::ConsumingWallet;

/// How long before its first look at the chain a node may have been paid: it may have served without
/// an endpoint before. Guess: a day.
const LOOK_BACK: Duration = Duration::from_secs(86_400);

/// What the money of a node is started with.
pub(crate) struct StartMoney {
    /// The node's key.
    pub(crate) node: [u8; 32],
    /// Facts of the chain.
    pub(crate) facts: ChainFacts,
    /// The token.
    pub(crate) token: Address,
    /// Addresses of endpoints, with their keys; secret.
    pub(crate) urls: Vec<String>,
    /// The HTTP proxy through which endpoints are asked, if any.
    pub(crate) proxy: Option<String>,
    /// By what the flows of that proxy's user are told from others.
    pub(crate) rpc_isolation: Option<Isolation>,
    /// The consuming wallet: at nodes that originate.
    pub(crate) consuming: Option<ConsumingWallet>,
    /// The earning wallet: at nodes that serve.
    pub(crate) earning: Option<Address>,
    /// What may be advanced without asking.
    pub(crate) budget: PrepayBudget,
    /// What this node asks for and gives on trust, and the rest for those who ask.
    pub(crate) terms: TermsOf,
    /// How often balances of payers are read.
    pub(crate) funds_every: Duration,
    /// How payments are made; chain, token and wallet are filled in.
    pub(crate) engine: EngineConfig,
    /// The books on disk.
    pub(crate) journal: Box<dyn Journal>,
    /// The note outside of them.
    pub(crate) note: FileNote,
}

opaque_debug!(StartMoney);

/// Why the money of a node can't start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MoneyError {
    /// An endpoint's address is none.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// An endpoint answers, and is not what it should be.
    #[error("endpoint {0} of the setting: {1}")]
    Fault(usize, Fault),
    /// Limits, thresholds, rates and fees don't fit together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The books.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl From<JournalError> for MoneyError {
    fn from(error: JournalError) -> Self {
        Self::Driver(error.into())
    }
}

/// A handle to the money, and the task that writes it, which must not end before the node does.
pub(crate) type Started = (Billing, JoinHandle<Result<(), DriverError>>);

/// Starts the money of a node. An endpoint that can't be reached is waited for later.
///
/// # Errors
/// [`MoneyError`]; nothing is left running then.
pub(crate) async fn start(start: StartMoney) -> Result<Started, MoneyError> {
    let provider = Arc::new(Provider::new(ProviderConfig {
        facts: start.facts,
        token: start.token,
        urls: start.urls,
        proxy: start.proxy.clone(),
        disperse: start.engine.disperse,
    })?);
    // Through the mesh nobody can be asked before the node has joined.
    if start.proxy.is_none() {
        look_at(&provider).await?;
        let fee = match provider.fees().await {
            Some(fees) => fees.of_transfer(),
            None => 0,
        };
        let terms = fit::Terms {
            thresholds: &start.engine.thresholds,
            limits: start.earning.is_some().then_some(&start.terms.limits),
            prepay: start.consuming.is_some().then_some(&start.budget),
            payee_day_cap: start.engine.payee_day_cap,
            rates: &start.terms.rates,
            fee,
            token_price: start.engine.token_price,
        };
        let fit = fit::check(&terms)?;
        tracing::info!(target: "masq::ledger", least = %Tokens(fit.least), "limits, thresholds, rates and fees fit together; from that debt on a payment is worth its fee");
    }

    let thresholds: Thresholds = start.engine.thresholds;
    let receivables = Receivables::load(start.journal.as_ref(), start.terms.limits, thresholds)?;
    let transfers = Transfers::load(start.journal.as_ref())?;
    let domain = Domain::new(start.facts.id, start.token);
    let me = NodeKey(start.node);
    let signer = start.consuming.clone().map(Wallet);
    let signer: Option<Arc<dyn Signer>> = signer.map(|wallet| Arc::new(wallet) as _);
    let config = MachineConfig::new(
        domain,
        me,
        start.terms.limits.first,
        map::rates(&start.terms.rates),
    );
    let mut machine = Machine::new(config, signer.clone());
    let clock = masq_settlement::shared::system_clock();
    restore::accounts(
        &mut machine,
        clock(),
        start.journal.as_ref(),
        &receivables,
        &transfers,
    )?;
    let settlement = Settlement::new(machine, clock);
    let seen = transfers.provisional.into_iter();
    let seen = seen.map(|(key, amount)| (key, Found::Provisional(amount)));
    let seen: HashMap<_, _> = seen.take(super::telling::MAX_SEEN).collect();

    let mut engine = start.engine;
    (engine.chain_id, engine.token) = (start.facts.id, start.token);
    let token_price = engine.token_price;
    let scanner = start.earning.map(|wallet| ScannerConfig {
        chain_id: start.facts.id,
        token: start.token,
        wallet,
        from_block: start.facts.from_block,
        look_back: LOOK_BACK.as_secs() / start.facts.block.as_secs().max(1),
        endpoints: provider.endpoints(),
        poll: engine.poll,
        max_span: MAX_SPAN,
    });
    let paying = start.consuming.map(|wallet| {
        let signer: Arc<dyn PaymentSigner> = Arc::new(Wallet(wallet));
        (engine, signer)
    });
    let (money, task) = Money::spawn(Setup {
        provider: Arc::clone(&provider),
        journal: start.journal,
        note: Box::new(start.note),
        paying,
        earning: scanner,
        receivables,
        funds_every: start.funds_every,
        beside: Some(Arc::new(Accounts(settlement.clone()))),
    })?;
    let (look, wishes) = mpsc::channel(1);
    let inner = Arc::new_cyclic(|this| Inner {
        this: this.clone(),
        me,
        domain,
        floor: map::rates(&start.terms.rates),
        earning: start.earning,
        terms: start.terms,
        signer,
        settlement,
        money,
        provider,
        budget: start.budget,
        rpc_isolation: start.rpc_isolation,
        advancing: tokio::sync::Mutex::default(),
        deciding: Mutex::default(),
        token_price,
        prices: OnceLock::new(),
        disputed: OnceLock::new(),
        open: Mutex::default(),
        seen: Mutex::new(seen),
        look,
        refusals: Mutex::default(),
        payers: Mutex::default(),
        happened: Mutex::default(),
    });
    let billing = Billing(inner);
    billing.keep_booking();
    billing.keep_listening();
    billing.keep_looking(wishes);
    billing.keep_prepaying();
    Ok((billing, task))
}

/// A wrong chain or token is a mistake in the configuration, and said at once. Silence is not.
async fn look_at(provider: &Provider) -> Result<(), MoneyError> {
    for (at, result) in provider.check_all().await.into_iter().enumerate() {
        match result {
            Ok(_) => {}
            Err(Fault::Call(error)) => {
                tracing::warn!(target: "masq::chain", endpoint = at + 1, %error, "an RPC endpoint does not answer; it is tried again");
            }
            Err(fault) => return Err(MoneyError::Fault(at + 1, fault)),
        }
    }
    Ok(())
}

/// The consuming wallet: signs promises and payments.
pub(super) struct Wallet(pub(super) ConsumingWallet);

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wallet([scrubbed])")
    }
}

impl Signer for Wallet {
    fn address(&self) -> Address {
        self.0.address()
    }

    fn sign_hash(&self, hash: &B256) -> Result<[u8; SIGNATURE_LEN], SignError> {
        let signature = self
            .0
            .sign_hash(*hash)
            .map_err(|_| SignError::Unavailable)?;
        Ok(signature.as_bytes())
    }
}

impl PaymentSigner for Wallet {
    fn wallet(&self) -> Address {
        self.0.address()
    }

    fn sign(&self, request: &TxRequest) -> Option<(B256, Bytes)> {
        crate::chain::provider::sign_with(request, |hash| self.0.sign_hash(hash).ok())
    }
}
