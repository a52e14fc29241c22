//! A chain for development: a real EVM and real JSON-RPC over HTTP, in this process, and with
//! everything that tests need to do to a chain and its endpoint.
//!
//! The chain itself is a pure machine (`chain`, over `state`, `blocks`, `pool`, `fees` and `evm`);
//! `rpc` translates calls, `server` has the connections, [`Faults`] are what an endpoint does
//! wrong. [`deploy`] puts the contracts of `testnet/contracts/` on any chain, and [`Anvil`] is
//! another chain that the same tests run on. The page `docs/devchain.md` lists methods, controls
//! and faults.
//!
//! It takes shortcuts that a client of JSON-RPC does not see: blocks have no uncles, withdrawals
//! or blobs, their `stateRoot` is a running hash with which nothing can be proved, there are no
//! filters and no subscriptions, and transactions are of the kinds 0, 1 and 2.

mod anvil;
mod blocks;
mod chain;
mod config;
pub mod deploy;
mod error;
mod evm;
mod faults;
mod fees;
mod handle;
mod interfaces;
mod pool;
mod rpc;
mod server;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use anvil::{Anvil, AnvilConfig};
pub use chain::{Fate, Reorged};
pub use config::{
    CHAIN_ID, Clock, DevChainConfig, ETHER, FAUCET, FAUCET_BALANCE, FAUCET_KEY, GWEI, MAX_BATCH,
    MAX_BODY, MAX_CONNECTIONS, MAX_DELAY, MAX_FAULT_RULES, MAX_FEE_HISTORY, MAX_MINE,
    MAX_POOL_PER_SENDER, MAX_SNAPSHOTS, MAX_TRANSACTION, RangeRefusal,
};
pub use error::{DevChainError, RpcError};
pub use faults::{Failure, Fault, FaultRule, Faults, LogLie, Outage};
pub use handle::Handle;

use chain::Chain;
use rpc::Node;
use server::Shared;

/// A running development chain. Dropping it ends it at once; [`DevChain::stop`] also waits.
#[derive(Debug)]
pub struct DevChain {
    addr: SocketAddr,
    handle: Handle,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl DevChain {
    /// Starts a chain and its endpoint. From then on blocks come by themselves, unless the block
    /// time is zero.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or the address cannot be listened on.
    pub async fn start(config: DevChainConfig) -> Result<Self, DevChainError> {
        if let Some(problem) = config.problem() {
            return Err(DevChainError::Config(problem));
        }
        let (addr, block_time) = (config.listen, config.block_time);
        let listen = |source| DevChainError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared::new(Node {
            chain: Chain::new(config, server::system_time()),
            faults: Faults::default(),
        }));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(server::serve(
            listener,
            shared.clone(),
            stop.clone(),
            tasks.clone(),
        ));
        let handle = Handle::new(shared);
        if !block_time.is_zero() {
            tasks.spawn(tick(handle.clone(), block_time, stop.clone()));
        }
        tasks.close();
        Ok(Self {
            addr,
            handle,
            stop,
            tasks,
        })
    }

    /// Where the endpoint is, as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address listened on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The controls, without HTTP and without faults. It may outlive the endpoint.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the endpoint and the blocks, and waits until all connections are closed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for DevChain {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Mines a block each `block_time`.
async fn tick(handle: Handle, block_time: Duration, stop: CancellationToken) {
    let first = tokio::time::Instant::now() + block_time;
    let mut ticks = tokio::time::interval_at(first, block_time);
    // After a stop of the machine the missed blocks are not made up for, as on a real chain.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                handle.mine(1);
            }
        }
    }
}
