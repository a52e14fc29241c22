//! The money of a node that runs: its start from the configuration, and its end.

use std::net::SocketAddr;
use std::time::Duration;

use masq_gossip::Chain;
use tokio::task::{JoinError, JoinHandle};

use super::{Builder, setting};
use crate::billing::{self, Billing, MoneyError, StartMoney, TermsOf};
use crate::books::StoreJournal;
use crate::chain::driver::{DriverError, FileNote};
use crate::chain::engine::EngineConfig;
use crate::chain::facts;
use crate::config::Config;
use crate::daemon::StartError;
use crate::entry::{Entry, Isolation};
use crate::ledger::limits::payee_day_cap;

/// How often balances of payers are read. From the settlement design: now and then, and never
/// because somebody uses the node.
const FUNDS_EVERY: Duration = Duration::from_secs(600);
/// The same on the development chain, where nobody is to be hidden from. Guess: what somebody who
/// tries things out waits for.
const DEV_FUNDS_EVERY: Duration = Duration::from_secs(5);

type Task = JoinHandle<Result<(), DriverError>>;

impl Builder {
    /// Starts the money of a node that pays or is paid.
    pub(super) async fn money(&self, entry: &Entry) -> Result<Option<(Billing, Task)>, StartError> {
        let config = &self.config;
        if !config.settles() {
            return Ok(None);
        }
        let facts = facts(config.chain);
        let Some(token) = config.token.or(facts.token) else {
            return Err(setting(
                "token",
                format!("Chain {} has no token of its own.", config.chain),
                "Name the token's address.",
            ));
        };
        let earning = self.safe.wallets.earning.filter(|_| config.earns());
        if config.earns() && earning.is_none() {
            return Err(setting(
                "earning_wallet",
                "This node carries traffic of others, and has no wallet to be paid at.".into(),
                "Set it here or with `masq wallet set-earning ADDRESS`; or switch payments off.",
            ));
        }
        let proxy = if config.rpc_via_mesh {
            let http = entry.handle().http_addr();
            let http = http.ok_or_else(|| {
                setting(
                    "rpc_via_mesh",
                    "It needs the HTTP proxy, which is switched off.".into(),
                    "Set `http`, or switch rpc_via_mesh off.",
                )
            })?;
            Some(through(http))
        } else {
            None
        };
        let (proxy, rpc_isolation) = proxy.unzip();
        let engine = engine(config, token);
        let no_store = || StartError::Internal("the store for money is not open".into());
        let store = self.safe.money_store.clone().ok_or_else(no_store)?;
        let start = StartMoney {
            node: *self.me.as_bytes(),
            facts,
            token,
            urls: config
                .rpc
                .iter()
                .map(|url| url.as_str().to_owned())
                .collect(),
            proxy,
            rpc_isolation,
            consuming: self
                .safe
                .wallets
                .consuming
                .clone()
                .filter(|_| config.pays()),
            earning,
            terms: TermsOf {
                chain: config.chain.to_string(),
                coin: facts.coin,
                rates: config.rates,
                ceiling: config.price_ceiling,
                thresholds: config.thresholds,
                limits: config.limits(),
                gas_cap: engine.gas_cap,
                day_cap: config.day_cap,
                pay_every: config.pay_every,
                settle_on_stop: config.settle_on_stop,
            },
            budget: config.prepay_budget(),
            funds_every: if config.chain == Chain::Dev {
                DEV_FUNDS_EVERY
            } else {
                FUNDS_EVERY
            },
            engine,
            journal: Box::new(StoreJournal::new(store)),
            note: FileNote::new(self.data.path().join(NONCE_NOTE)),
        };
        let (billing, task) = billing::start(start).await.map_err(refused)?;
        Ok(Some((billing, task)))
    }
}

/// The user by whom the questions to the chain go through the own proxy.
const RPC_USER: &str = "rpc";

/// The own proxy's address with credentials of their own for the questions to the chain, and the
/// isolation that follows. They share no circuit with other flows: whoever sees both at an exit
/// could tell which wallet asks for what; and a circuit on which nothing else is used leaves credit
/// for them.
fn through(http: SocketAddr) -> (String, Isolation) {
    let secret: [u8; 16] = rand::random();
    let password = hex::encode(secret);
    let isolation = Isolation::from_credentials("http", RPC_USER.as_bytes(), password.as_bytes());
    (format!("http://{RPC_USER}:{password}@{http}"), isolation)
}

/// The file in the data folder that holds the next nonce, outside the books.
const NONCE_NOTE: &str = "next-payment";

fn engine(config: &Config, token: alloy_primitives::Address) -> EngineConfig {
    let facts = facts(config.chain);
    let wallet = alloy_primitives::Address::ZERO;
    let mut engine = EngineConfig::new(facts.id, token, wallet, facts.block);
    engine.disperse = config.disperse;
    engine.thresholds = config.thresholds;
    engine.tip_floor = facts.tip_floor;
    engine.gas_cap = config.gas_cap.unwrap_or(facts.gas_cap);
    engine.token_price = config.token_price.unwrap_or(facts.token_price);
    if let Some(cap) = config.day_cap {
        engine.day_cap = cap;
    }
    engine.payee_day_cap = payee_day_cap(config.day_cap);
    engine.scan_every = config.pay_every;
    engine.dry_run = config.dry_run;
    if config.chain == Chain::Dev {
        // Its blocks come when somebody wants them.
        engine.poll = engine.poll.min(Duration::from_secs(1));
    }
    engine
}

fn refused(error: MoneyError) -> StartError {
    match error {
        MoneyError::Endpoint(error) => setting("rpc", format!("{error}."), "Correct the address."),
        MoneyError::Fault(at, fault) => setting(
            "rpc",
            format!("Endpoint {at}: {fault}."),
            "Then start the daemon again.",
        ),
        MoneyError::Misfit(error) => setting(
            "thresholds",
            format!("{error}."),
            "Then start the daemon again.",
        ),
        MoneyError::Driver(error) => StartError::Books(error.to_string()),
    }
}

/// The task that writes the books.
pub(super) struct Writing {
    billing: Option<Billing>,
    task: Option<Task>,
    settle: bool,
}

impl Writing {
    pub(super) fn new(billing: Option<Billing>, task: Option<Task>, settle: bool) -> Self {
        Self {
            billing,
            task,
            settle,
        }
    }

    /// Ready when the books can't be written any more, which nobody asked for.
    pub(super) async fn failed(&mut self) -> StartError {
        match &mut self.task {
            Some(task) => {
                let ended = task.await;
                self.task = None;
                why(ended)
                    .unwrap_or_else(|| StartError::Internal("payments ended by themselves".into()))
            }
            None => std::future::pending().await,
        }
    }

    /// Writes everything for the last time.
    pub(super) async fn end(self) -> Result<(), StartError> {
        let (Some(billing), Some(task)) = (self.billing, self.task) else {
            return Ok(());
        };
        billing.shut_down(self.settle).await;
        why(task.await).map_or(Ok(()), Err)
    }
}

fn why(ended: Result<Result<(), DriverError>, JoinError>) -> Option<StartError> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(StartError::Books(error.to_string())),
        Err(error) => Some(StartError::Internal(format!("payments failed: {error}"))),
    }
}
