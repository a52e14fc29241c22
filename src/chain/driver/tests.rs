//! The whole of it against anvil: set `MASQ_ANVIL` to the program to run these. The contracts are
//! those of the development chain; `MASQ_CONTRACTS` names their folder when it is elsewhere.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_primitives::{Address, U256};
use masq_gossip::Chain;
use serde_json::{Value, json};

use super::*;
use crate::chain::engine::{Event, Outcome};
use crate::chain::provider::{ProviderConfig, WalletSigner};
use crate::chain::{ChainFacts, facts};
use crate::ledger::{Limits, MemoryJournal, TOKEN, Thresholds};

/// Kills the process with the test.
struct Anvil {
    child: Child,
    url: String,
    client: alloy::transports::http::reqwest::Client,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A note in memory that outlives the task.
#[derive(Clone, Default)]
struct MemoryNote(Arc<Mutex<Option<u64>>>);

impl NonceNote for MemoryNote {
    fn read(&self) -> std::io::Result<Option<u64>> {
        Ok(*lock(&self.0))
    }

    fn write(&mut self, next: u64) -> std::io::Result<()> {
        *lock(&self.0) = Some(next);
        Ok(())
    }
}

impl Anvil {
    /// Without blocks of its own; nothing when `MASQ_ANVIL` is not set.
    async fn start() -> Option<Self> {
        let program = std::env::var_os("MASQ_ANVIL")?;
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--no-mining"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let anvil = Self {
            child,
            url: format!("http://127.0.0.1:{port}/"),
            client: alloy::transports::http::reqwest::Client::new(),
        };
        for _ in 0..200 {
            if anvil.try_call("eth_chainId", json!([])).await.is_some() {
                return Some(anvil);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("anvil does not start");
    }

    async fn try_call(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json");
        let mut response = request.body(body.to_string()).send().await.ok()?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            answer.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        Some(answer["result"].clone())
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).await.unwrap()
    }

    async fn mine(&self, blocks: u64) {
        self.call("anvil_mine", json!([format!("{blocks:#x}")]))
            .await;
    }

    /// Deploys a contract from the first of anvil's accounts.
    async fn deploy(&self, name: &str) -> Address {
        let folder = std::env::var_os("MASQ_CONTRACTS").map(PathBuf::from);
        let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testnet/contracts");
        let path = folder.unwrap_or(own).join(format!("{name}.json"));
        let contract: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let code = contract["bytecode"]
            .as_str()
            .unwrap()
            .trim_start_matches("0x")
            .to_owned();
        let from = self.account().await;
        let tx = json!([{ "from": from, "data": format!("0x{code}"), "gas": "0x4c4b40" }]);
        let hash = self.call("eth_sendTransaction", tx).await;
        self.mine(1).await;
        let receipt = self.call("eth_getTransactionReceipt", json!([hash])).await;
        receipt["contractAddress"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    async fn account(&self) -> Value {
        self.call("eth_accounts", json!([])).await[0].clone()
    }

    /// Gives a wallet tokens and coins.
    async fn fund(&self, token: Address, wallet: Address, tokens: Wei) {
        let selector = &alloy_primitives::keccak256("mint(address,uint256)")[..4];
        let amount = U256::from(tokens).to_be_bytes::<32>();
        let data = [selector, wallet.into_word().as_slice(), &amount].concat();
        let data = alloy_primitives::hex::encode_prefixed(data);
        let from = self.account().await;
        let tx = json!([{ "from": from, "to": token, "data": data, "gas": "0x30d40" }]);
        self.call("eth_sendTransaction", tx).await;
        self.call("anvil_setBalance", json!([wallet, "0xde0b6b3a7640000"]))
            .await;
        self.mine(1).await;
    }
}

fn dev() -> ChainFacts {
    facts(Chain::Dev)
}

fn earning(n: u8) -> Payee {
    Payee {
        wallet: Address::repeat_byte(n),
        hop: [n; 32],
    }
}

fn provider(anvil: &Anvil, token: Address, disperse: Option<Address>) -> Arc<Provider> {
    let config = ProviderConfig {
        facts: dev(),
        token,
        urls: vec![anvil.url.clone()],
        proxy: None,
        disperse,
    };
    Arc::new(Provider::new(config).unwrap())
}

/// A payer over a journal and a note that outlive it.
struct Payer {
    journal: MemoryJournal,
    note: MemoryNote,
    config: EngineConfig,
    signer: Arc<WalletSigner>,
    provider: Arc<Provider>,
}

impl Payer {
    fn new(anvil: &Anvil, token: Address, disperse: Option<Address>) -> Self {
        let signer = Arc::new(WalletSigner::new(&[7; 32]).unwrap());
        let poll = Duration::from_millis(100);
        let mut config = EngineConfig::new(dev().id, token, signer.wallet(), poll);
        config.disperse = disperse;
        config.gas_cap = dev().gas_cap;
        Self {
            journal: MemoryJournal::new(),
            note: MemoryNote::default(),
            config,
            signer,
            provider: provider(anvil, token, disperse),
        }
    }

    fn start(&self) -> (Money, JoinHandle<Result<(), DriverError>>) {
        Money::spawn(Setup {
            provider: self.provider.clone(),
            journal: Box::new(self.journal.clone()),
            note: Box::new(self.note.clone()),
            paying: Some((self.config.clone(), self.signer.clone())),
            earning: None,
            receivables: receivables(),
            beside: None,
            funds_every: Duration::from_secs(600),
        })
        .unwrap()
    }
}

fn receivables() -> Receivables {
    let limits = Limits {
        first: 1,
        pool: 1,
        refill_per_day: 0,
        quota: 1,
        share: 4,
    };
    Receivables::new(limits, Thresholds::default())
}

fn hop(anvil: &Anvil, token: Address, wallet: Address) -> Money {
    let (money, _) = Money::spawn(Setup {
        provider: provider(anvil, token, None),
        journal: Box::new(MemoryJournal::new()),
        note: Box::new(MemoryNote::default()),
        paying: None,
        earning: Some(ScannerConfig {
            chain_id: dev().id,
            token,
            wallet,
            from_block: 0,
            look_back: 0,
            endpoints: 1,
            poll: Duration::from_millis(200),
            max_span: 50,
        }),
        receivables: receivables(),
        beside: None,
        funds_every: Duration::from_secs(600),
    })
    .unwrap();
    money
}

/// Waits until something is true.
async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    for _ in 0..400 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

async fn paid(money: &Money, payee: &Payee) -> Wei {
    let books = money.books().await.unwrap();
    let rows = books.payables.iter();
    rows.filter(|row| row.payee == *payee)
        .map(|row| row.paid)
        .sum()
}

async fn event(events: &mut broadcast::Receiver<MoneyEvent>, is: impl Fn(&Event) -> bool) {
    let found = async {
        loop {
            if let MoneyEvent::Engine(event) = events.recv().await.unwrap()
                && is(&event)
            {
                return;
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), found).await;
    found.expect("the event comes");
}

#[tokio::test]
async fn s22_a_debt_is_paid_once_over_kills_and_credited_at_the_hop() {
    let Some(anvil) = Anvil::start().await else {
        return;
    };
    let token = anvil.deploy("TestToken").await;
    let payer = Payer::new(&anvil, token, None);
    anvil.fund(token, payer.signer.wallet(), 100 * TOKEN).await;
    let to = earning(0x51);
    let hop = hop(&anvil, token, to.wallet);

    let (money, task) = payer.start();
    assert!(money.used(to, 5 * TOKEN));
    let mut events = money.events();
    until("usage is booked", || async {
        !money.books().await.unwrap().payables.is_empty()
    })
    .await;
    money.settle_now().await.unwrap();
    event(&mut events, |event| matches!(event, Event::Begun(_))).await;
    // Killed while the transaction is on its way, and twice more.
    task.abort();
    for _ in 0..2 {
        let (_money, task) = payer.start();
        tokio::time::sleep(Duration::from_millis(300)).await;
        task.abort();
    }

    let (money, task) = payer.start();
    let mut events = money.events();
    tokio::time::sleep(Duration::from_millis(500)).await;
    anvil.mine(1).await;
    event(&mut events, |event| matches!(event, Event::Included(_))).await;
    hop.look_for_payments().await.unwrap();
    let account = |hop: &Money| hop.receivables().get(&payer.signer.wallet()).cloned();
    until("provisional credit", || async {
        account(&hop).is_some_and(|row| row.provisional == 5 * TOKEN)
    })
    .await;
    anvil.mine(80).await;
    until("final credit", || async {
        account(&hop).is_some_and(|row| row.paid == 5 * TOKEN)
    })
    .await;
    until("paid", || async { paid(&money, &to).await == 5 * TOKEN }).await;

    money.shutdown(false).await.unwrap();
    task.await.unwrap().unwrap();
    let nonce = anvil.call(
        "eth_getTransactionCount",
        json!([payer.signer.wallet(), "latest"]),
    );
    assert_eq!(nonce.await, "0x1");
}

#[tokio::test]
async fn s24_a_reorg_and_a_dropped_transaction_are_got_over() {
    let Some(anvil) = Anvil::start().await else {
        return;
    };
    let token = anvil.deploy("TestToken").await;
    let payer = Payer::new(&anvil, token, None);
    anvil.fund(token, payer.signer.wallet(), 100 * TOKEN).await;
    let to = earning(0x52);
    let (money, _task) = payer.start();
    money.used(to, 3 * TOKEN);
    let mut events = money.events();
    until("usage is booked", || async {
        !money.books().await.unwrap().payables.is_empty()
    })
    .await;
    money.settle_now().await.unwrap();
    event(&mut events, |event| matches!(event, Event::Begun(_))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    anvil.mine(1).await;
    event(&mut events, |event| matches!(event, Event::Included(_))).await;
    // Anvil forgets what was in the blocks.
    anvil.call("anvil_reorg", json!([1, []])).await;
    event(&mut events, |event| matches!(event, Event::Reorged { .. })).await;
    anvil.call("anvil_dropAllTransactions", json!([])).await;
    until("it is in a block again", || async {
        anvil.mine(1).await;
        let wallet = payer.signer.wallet();
        let nonce = anvil.call("eth_getTransactionCount", json!([wallet, "latest"]));
        nonce.await == "0x1"
    })
    .await;
    anvil.mine(80).await;
    let last = |event: &Event| {
        matches!(
            event,
            Event::Final {
                outcome: Outcome::Paid,
                ..
            }
        )
    };
    event(&mut events, last).await;
    assert_eq!(paid(&money, &to).await, 3 * TOKEN);
}

#[tokio::test]
async fn many_are_paid_by_one_transaction_when_that_is_wanted() {
    let Some(anvil) = Anvil::start().await else {
        return;
    };
    let token = anvil.deploy("TestToken").await;
    let disperse = anvil.deploy("Disperse").await;
    let payer = Payer::new(&anvil, token, Some(disperse));
    anvil.fund(token, payer.signer.wallet(), 100 * TOKEN).await;
    let (money, _task) = payer.start();
    for n in 1..=10 {
        money.used(earning(n), TOKEN);
    }
    until("usage is booked", || async {
        money.books().await.unwrap().payables.len() == 10
    })
    .await;
    money.settle_now().await.unwrap();
    until("all are paid", || async {
        anvil.mine(20).await;
        let books = money.books().await.unwrap();
        books.payables.iter().all(|row| row.paid == TOKEN)
    })
    .await;
    let wallet = payer.signer.wallet();
    let nonce = anvil.call("eth_getTransactionCount", json!([wallet, "latest"]));
    assert_eq!(nonce.await, "0x2", "an approval and a batch");
}

#[tokio::test]
async fn a_stop_hands_over_what_is_to_be_paid() {
    let Some(anvil) = Anvil::start().await else {
        return;
    };
    let token = anvil.deploy("TestToken").await;
    let payer = Payer::new(&anvil, token, None);
    anvil.fund(token, payer.signer.wallet(), 100 * TOKEN).await;
    let (money, task) = payer.start();
    let mut events = money.events();
    event(&mut events, |event| {
        matches!(event, Event::Reconciled { .. })
    })
    .await;
    money.used(earning(9), TOKEN);
    money.shutdown(true).await.unwrap();
    task.await.unwrap().unwrap();
    let pending = anvil.call(
        "eth_getTransactionCount",
        json!([payer.signer.wallet(), "pending"]),
    );
    assert_eq!(pending.await, "0x1");
}
