//! JSON-RPC: method and parameters in, result out. How requests come in is not here but in
//! `server`.

mod calls;
mod control;
mod logs;
mod params;
mod reader;
mod reads;
mod render;

use alloy::primitives::Bytes;
use serde_json::{Value, json};

pub(super) use control::is_control;
pub(super) use params::Params;

use super::chain::Chain;
use super::error::RpcError;
use super::faults::Faults;
use reader::Reader;

/// The chain, and the endpoint's faults.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) chain: Chain,
    pub(super) faults: Faults,
}

impl Node {
    /// Answers one call as an endpoint with these faults sees the chain; `now` is in seconds since
    /// 1970. The rules of faults are not looked at here.
    pub(super) fn answer(
        &mut self,
        method: &str,
        params: Params<'_>,
        now: u64,
    ) -> Result<Value, RpcError> {
        if let Some(answer) = control::answer(self, method, params, now) {
            return answer;
        }
        if method == "eth_sendRawTransaction" {
            let raw: Bytes = params.get(0, "transaction")?;
            return self.chain.submit(&raw).map(|hash| json!(hash));
        }
        self.read(&self.faults, method, params, now)
    }

    /// Answers a call that changes nothing, with any faults; an honest endpoint has
    /// [`Faults::default`].
    pub(super) fn read(
        &self,
        faults: &Faults,
        method: &str,
        params: Params<'_>,
        now: u64,
    ) -> Result<Value, RpcError> {
        let reader = Reader::new(&self.chain, faults.lag, now);
        reads::answer(&reader, faults, method, params)
            .unwrap_or_else(|| Err(RpcError::no_method(method)))
    }
}
