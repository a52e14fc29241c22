//! The provider side: endpoints with failover, and what is asked of them.
//!
//! Every question is answered by **one** endpoint, in the order that the engine and the scanner
//! need; when it fails on the way, the question begins again at another. An endpoint that fails is
//! left alone for a while that doubles. Before the first question, and again after every failure,
//! an endpoint has to be on the right chain and to know the token ([`Fault`]).
//!
//! Sending is the one call with an effect, and doing it twice is harmless: the bytes are the same,
//! so the chain takes them once.
//!
//! With `proxy` set to the HTTP proxy of the node's own entry, all of this goes through the mesh,
//! and the provider does not see the node's address.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy_primitives::Address;

use super::ChainFacts;
use super::engine::Endpoint;
use rpc::Rpc;

mod balances;
mod calls;
mod check;
mod logs;
mod look;
mod rpc;
mod send;
mod sign;
#[cfg(test)]
mod tests;
mod wire;

pub use check::{Fault, TokenInfo};
pub use rpc::{EndpointError, RpcError, check_url};
pub(crate) use sign::sign_with;
pub use sign::{Signer, WalletSigner};

/// Most endpoints.
pub const MAX_ENDPOINTS: usize = 8;
/// How long an endpoint that failed once is left alone; doubled with every failure in a row.
const FIRST_REST: Duration = Duration::from_secs(2);
/// Longest such time. From the requirement that an hour's outage is got over: the first question
/// after it waits five minutes at most.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// The same through the mesh: what fails there is mostly the way, which is there again within seconds
/// once the node has joined, or a hop was paid. Guess.
const LONGEST_REST_VIA_MESH: Duration = Duration::from_secs(8);

/// What a provider is told.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Facts of the chain.
    pub facts: ChainFacts,
    /// The token.
    pub token: Address,
    /// URLs of the endpoints, in the order of preference. Secret: they contain keys.
    pub urls: Vec<String>,
    /// The URL of an HTTP proxy through which everything goes, the own entry's for example.
    pub proxy: Option<String>,
    /// The disperse contract, when there is one.
    pub disperse: Option<Address>,
}

crate::ledger::opaque_debug!(ProviderConfig, Provider);

#[derive(Clone)]
struct State {
    /// It was found to be what it should be, and has not failed since.
    checked: bool,
    failures: u32,
    rests_until: Option<Instant>,
    fault: Option<Fault>,
}

/// Endpoints of one chain.
pub struct Provider {
    config: ProviderConfig,
    rpcs: Vec<Rpc>,
    states: Mutex<Vec<State>>,
    turn: Mutex<usize>,
}

impl Provider {
    /// From a configuration. Nothing is connected to yet.
    ///
    /// # Errors
    /// [`EndpointError`] when an address is none, or there are none.
    pub fn new(config: ProviderConfig) -> Result<Self, EndpointError> {
        if config.urls.is_empty() || config.urls.len() > MAX_ENDPOINTS {
            return Err(EndpointError::Number);
        }
        let client = Rpc::client(config.proxy.as_deref())?;
        let rpcs = config.urls.iter().map(|url| Rpc::new(client.clone(), url));
        let rpcs: Vec<Rpc> = rpcs.collect::<Result<_, _>>()?;
        let twice = |(at, rpc): (usize, &Rpc)| rpcs[..at].iter().any(|other| other.is(rpc));
        if rpcs.iter().enumerate().any(twice) {
            return Err(EndpointError::Twice);
        }
        let fresh = State {
            checked: false,
            failures: 0,
            rests_until: None,
            fault: None,
        };
        Ok(Self {
            states: Mutex::new(vec![fresh; rpcs.len()]),
            turn: Mutex::new(0),
            rpcs,
            config,
        })
    }

    /// How many endpoints there are.
    pub fn endpoints(&self) -> u8 {
        self.rpcs.len() as u8
    }

    /// What is wrong with each endpoint, as far as is known.
    pub fn faults(&self) -> Vec<Option<Fault>> {
        self.lock()
            .iter()
            .map(|state| state.fault.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoints to try, in turn: those that don't rest, the one to `avoid` last of all.
    fn in_turn(&self, avoid: Option<Endpoint>) -> Vec<usize> {
        let now = Instant::now();
        let count = self.rpcs.len();
        let start = {
            let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            *turn = (*turn + 1) % count;
            *turn
        };
        let states = self.lock();
        let awake = |at: &usize| states[*at].rests_until.is_none_or(|until| until <= now);
        let mut order: Vec<usize> = (0..count)
            .map(|n| (start + n) % count)
            .filter(awake)
            .collect();
        order.sort_by_key(|at| avoid == Some(*at as Endpoint));
        order
    }

    /// An endpoint that was checked, or is checked now.
    async fn ready(&self, at: usize) -> Option<&Rpc> {
        if !self.lock()[at].checked {
            match check::check(&self.rpcs[at], &self.config).await {
                Ok(_) => self.worked(at),
                Err(fault) => {
                    self.failed(at, Some(fault));
                    return None;
                }
            }
        }
        Some(&self.rpcs[at])
    }

    fn worked(&self, at: usize) {
        let mut states = self.lock();
        let state = &mut states[at];
        (state.checked, state.failures) = (true, 0);
        (state.rests_until, state.fault) = (None, None);
    }

    fn failed(&self, at: usize, fault: Option<Fault>) {
        let longest = if self.config.proxy.is_some() {
            LONGEST_REST_VIA_MESH
        } else {
            LONGEST_REST
        };
        let mut states = self.lock();
        let state = &mut states[at];
        let rest = FIRST_REST * (1 << state.failures.min(8));
        state.failures = state.failures.saturating_add(1);
        state.checked = false;
        state.rests_until = Some(Instant::now() + rest.min(longest));
        state.fault = fault.or(state.fault.take());
    }

    /// Looks at every endpoint at once, at the start of the node: a wrong chain or token is a
    /// mistake in the configuration, and the text of the [`Fault`] says which.
    pub async fn check_all(&self) -> Vec<Result<TokenInfo, Fault>> {
        let checks = self.rpcs.iter().map(|rpc| check::check(rpc, &self.config));
        let results = futures::future::join_all(checks).await;
        for (at, result) in results.iter().enumerate() {
            match result {
                Ok(_) => self.worked(at),
                Err(fault) => self.failed(at, Some(fault.clone())),
            }
        }
        results
    }
}
