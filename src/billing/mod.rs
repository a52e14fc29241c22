//! Where circuits meet money: who is served, who is paid, and the same figures in every book.
//!
//! | where | what |
//! |---|---|
//! | `serving` | circuits of others: authorisation, credit, charges |
//! | `paying` | circuits of this node's own: promises to hops, what they are owed |
//! | `telling` | what the chain, the payments and the settlement protocol tell each other |
//! | `prepaying` | advances that are made without asking, within the user's budget |
//! | `api` | what the operator is told and may order |
//! | `restore` | the accounts of the protocol as a start finds them |
//! | `starting` | from the configuration to books that run |
//! | `map` | one thing under the names of four crates |
//!
//! Circuits only count. Each second, whenever a circuit passes a mark, and before anything is said
//! about it, its counters are priced and booked: for a payer in the ledger's receivables and in its
//! account of the settlement protocol, for a hop in the payables and in its account. Both are
//! written in one commit (`crate::chain::Beside`).
//!
//! Not here: what circuits are (`masq-cores`), what is signed (`masq-settlement`), what limits and
//! thresholds mean (`crate::ledger`), how payments are made (`crate::chain`).

mod api;
mod map;
mod paying;
mod prepaying;
mod restore;
mod serving;
mod starting;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256};
use masq_cores::host::{Asked, Gate, PaidHop, Payer, Paying, Refused, Served, Unpaid};
use masq_gossip::RatePack;
use masq_settlement::state::Found;
use masq_settlement::{Domain, NodeKey, Reason, Refusal, Settlement, Signer};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use self::api::Happened;
use self::paying::PayingCircuit;
use self::serving::Serving;
use crate::chain::driver::{Beside, Money};
use crate::chain::provider::Provider;
use crate::entry::Isolation;
use crate::ledger::{Payee, PrepayBudget};
use crate::routing::Dispute;

pub(crate) use self::api::TermsOf;
pub(crate) use self::starting::{MoneyError, StartMoney, start};

/// How often counters are booked. What a crash may cost is a second of usage, writing included.
const BOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after a refusal an advance may be on its way to a hop: some blocks. Guess.
const PASSES_WITHIN: Duration = Duration::from_secs(60);
/// What is said of a hop that refused, once a payment to it is in a block.
const PAID_SINCE: &str = "it has been paid since";
/// Refusals that are remembered for the user. Guess.
const MAX_REFUSALS: usize = 32;
/// Notices about payments that are kept (from the control API's description).
const MAX_NOTICES: usize = 16;

/// What nodes ask for, by their records.
pub(crate) trait Prices: Send + Sync {
    /// A node's rates, and where it wants its money; no wallet where it asks for nothing. `None`
    /// for a node that is not known.
    fn of(&self, node: &masq_cores::NodeKey) -> Option<(RatePack, Option<Address>)>;

    /// The nodes that are known.
    fn known(&self) -> BTreeSet<masq_gossip::NodeKey>;
}

/// Who is told of hops that claim more than they carried.
pub(crate) trait Disputed: Send + Sync {
    /// This one does. Says what became of it.
    fn disputed(&self, hop: masq_cores::NodeKey) -> Dispute;
}

/// A hop that refused to serve, in words for the user.
#[derive(Clone, Debug)]
pub(crate) struct Refusing {
    /// Who.
    pub(crate) node: [u8; 32],
    /// Why.
    pub(crate) why: String,
    /// What is done about it, or can be.
    pub(crate) hint: Option<String>,
    /// Whether it may serve before long, because it is being paid in advance, or may be.
    pub(crate) passes: bool,
    /// When it said so.
    pub(crate) at: Instant,
}

/// The money of a node: gate and payer of its circuits. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Billing(Arc<Inner>);

struct Inner {
    this: Weak<Self>,
    me: NodeKey,
    domain: Domain,
    /// The node's own prices: nothing below is served.
    floor: masq_settlement::RatePack,
    /// Where this node is paid for what it carries, if it is.
    earning: Option<Address>,
    terms: TermsOf,
    /// The consuming wallet.
    signer: Option<Arc<dyn Signer>>,
    settlement: Settlement,
    money: Money,
    provider: Arc<Provider>,
    /// What advances may cost.
    budget: PrepayBudget,
    /// By what the questions to the chain are told from other flows, if they go through the mesh.
    rpc_isolation: Option<Isolation>,
    /// Held while an advance is decided on, so that two together stay within the budget.
    advancing: tokio::sync::Mutex<()>,
    /// Hops that refused, and about which it is not decided yet whether to pay them in advance.
    deciding: Mutex<BTreeSet<Payee>>,
    /// What one token is worth in wei of the coin; 0: fees are not looked at.
    token_price: u128,
    prices: OnceLock<Arc<dyn Prices>>,
    disputed: OnceLock<Arc<dyn Disputed>>,
    open: Mutex<Open>,
    /// Transfers to this node that the chain shows, as far as they are of interest.
    seen: Mutex<HashMap<(Address, B256), Found>>,
    /// Makes this node look for payments soon.
    look: mpsc::Sender<()>,
    refusals: Mutex<VecDeque<Refusing>>,
    /// By which wallet the last circuit was paid that came from each of these neighbours.
    payers: Mutex<BTreeMap<masq_cores::NodeKey, Option<Address>>>,
    /// What happened to payments lately, the latest first.
    happened: Mutex<VecDeque<Happened>>,
}

/// Circuits that run.
#[derive(Default)]
struct Open {
    serving: Vec<Weak<Serving>>,
    paying: Vec<Weak<PayingCircuit>>,
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prices(&self) -> Option<&Arc<dyn Prices>> {
        self.prices.get()
    }

    #[expect(
        clippy::unused_self,
        reason = "a clock of its own is what a test would give it"
    )]
    fn unix(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock before 1970 makes every authorisation one of the future, and nothing worse.
        since.map_or(0, |since| since.as_secs())
    }

    fn serving(&self) -> Vec<Arc<Serving>> {
        let mut open = self.open();
        open.serving.retain(|weak| weak.strong_count() > 0);
        open.serving.iter().filter_map(Weak::upgrade).collect()
    }

    fn paying(&self) -> Vec<Arc<PayingCircuit>> {
        let mut open = self.open();
        open.paying.retain(|weak| weak.strong_count() > 0);
        open.paying.iter().filter_map(Weak::upgrade).collect()
    }

    /// Books what every circuit has carried by now.
    fn book_all(&self) {
        for circuit in self.serving() {
            circuit.book();
        }
        for circuit in self.paying() {
            circuit.book();
        }
    }

    /// Notes who pays for circuits that come from a neighbour, where those are its own.
    fn note_payer(&self, from: &masq_cores::NodeKey, payer: Address) {
        let mut payers = self.payers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = payers.get_mut(from) {
            *known = Some(payer);
        }
    }

    /// Keeps a sentence for the operator. The same one is kept once.
    fn note(&self, what: String) {
        let mut happened = self.happened.lock().unwrap_or_else(PoisonError::into_inner);
        happened.retain(|known| known.what != what);
        happened.push_front(Happened {
            what,
            at: Instant::now(),
        });
        happened.truncate(MAX_NOTICES);
    }

    /// A hop does not serve this node, and says why.
    fn on_refused(&self, hop: NodeKey, payee: Option<Payee>, refusal: Refusal) {
        let why = map::in_words(&refusal);
        self.note(format!(
            "Node {} refused to serve: {why}.",
            telling::short(&hop)
        ));
        tracing::info!(node = %telling::short(&hop), reason = %refusal.reason, "a hop refuses to serve");
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        // That nothing is paid stays so until it is decided anew: whoever looks now is told.
        let before = refusals.iter().find(|known| known.node == hop.0);
        let hint = before
            .filter(|known| !known.passes && refusal.reason == Reason::OverLimit)
            .and_then(|known| known.hint.clone())
            .filter(|hint| hint != PAID_SINCE);
        refusals.retain(|known| known.node != hop.0);
        refusals.push_front(Refusing {
            node: hop.0,
            why,
            hint,
            passes: false,
            at: Instant::now(),
        });
        refusals.truncate(MAX_REFUSALS);
        drop(refusals);
        if let Some(payee) = payee {
            self.prepay_after(payee, &refusal);
        }
    }

    /// What is done about a hop's last refusal, or can be.
    fn add_to_refusal(&self, hop: &[u8; 32], hint: Option<String>, passes: bool) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusing) = refusals.iter_mut().find(|known| known.node == *hop) {
            (refusing.hint, refusing.passes) = (hint, passes);
        }
    }
}

impl Billing {
    /// Says where prices come from. Before that no circuit is paid for.
    pub(crate) fn set_prices(&self, prices: Arc<dyn Prices>) {
        // The first one stays; there is never a second.
        let _ = self.0.prices.set(prices);
    }

    /// Says who is told of hops that claim too much, and tells of those that had when the node
    /// stopped.
    pub(crate) fn set_disputed(&self, disputed: Arc<dyn Disputed>) {
        for hop in self.0.settlement.with(|machine, _| machine.disputing()) {
            disputed.disputed(masq_cores::NodeKey(hop.0));
        }
        // The first one stays; there is never a second.
        let _ = self.0.disputed.set(disputed);
    }

    /// The settlement protocol over direct links; what comes out of it goes to
    /// [`Billing::on_output`].
    pub(crate) fn behaviour(&self) -> masq_settlement::Behaviour {
        masq_settlement::Behaviour::new(self.0.settlement.clone(), self.wallet())
    }

    /// The consuming wallet, if there is one.
    pub(crate) fn wallet(&self) -> Option<Address> {
        self.0.signer.as_ref().map(|signer| signer.address())
    }

    /// The neighbours whose entry link leads here: what comes from them are circuits of their own.
    /// Gives the wallets by which those are paid, as far as one was seen.
    pub(crate) fn hosted(
        &self,
        neighbours: impl Iterator<Item = masq_cores::NodeKey>,
    ) -> Vec<(masq_cores::NodeKey, Address)> {
        let mut payers = self.0.payers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *payers);
        *payers = neighbours
            .map(|node| (node, before.get(&node).copied().flatten()))
            .collect();
        let seen = payers.iter();
        seen.filter_map(|(node, payer)| Some((*node, (*payer)?)))
            .collect()
    }

    /// Who refused this node lately, the latest first.
    pub(crate) fn refusals(&self) -> Vec<Refusing> {
        let refusals = self.0.refusals.lock();
        let refusals = refusals.unwrap_or_else(PoisonError::into_inner);
        refusals.iter().cloned().collect()
    }

    /// Whether a flow may wait for a hop that refused lately, and that is being paid in advance. The
    /// questions to the chain never do: without them nobody is paid.
    pub(crate) fn is_worth_waiting(&self, isolation: Isolation) -> bool {
        let own = self.0.rpc_isolation == Some(isolation);
        let passes = |known: &Refusing| known.passes && known.at.elapsed() < PASSES_WITHIN;
        !own && self.refusals().iter().any(passes)
    }

    /// Whether it must wait, because the questions to the chain need what credit is left.
    pub(crate) fn must_wait(&self, isolation: Isolation) -> bool {
        self.0.rpc_isolation.is_some() && self.is_worth_waiting(isolation)
    }

    /// Books counters twice a second, until nobody holds this any more.
    fn keep_booking(&self) {
        let weak = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut tick = interval(BOOK_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let Some(inner) = weak.upgrade() else { return };
                inner.book_all();
            }
        });
    }

    /// Books everything for the last time, and has it written; pays what is due when `settle` is
    /// set.
    pub(crate) async fn shut_down(&self, settle: bool) {
        self.0.book_all();
        // It may have ended by itself, with an error that its handle tells.
        let _ = self.0.money.shutdown(settle).await;
    }
}

impl Gate for Billing {
    fn admit(&self, asked: &Asked<'_>) -> Result<Arc<dyn Served>, Refused> {
        if self.0.earning.is_none() {
            return Ok(Arc::new(()));
        }
        Ok(self.0.admit(asked)?)
    }
}

impl Payer for Billing {
    fn open(&self, hops: &[PaidHop]) -> Result<Arc<dyn Paying>, Unpaid> {
        Ok(self.0.open_circuit(hops)?)
    }
}

/// The accounts of the protocol, as rows beside the ledger's.
struct Accounts(Settlement);

impl Beside for Accounts {
    fn flush(&self) -> crate::ledger::Batch {
        self.0.with(|machine, _| restore::changed(machine))
    }
}
