//! Giving a signed transaction to an endpoint.

use alloy_primitives::{B256, Bytes};
use serde_json::json;

use super::Provider;
use super::rpc::RpcError;
use crate::chain::engine::SendError;

impl Provider {
    /// Gives the bytes to one endpoint after the other until one takes them. Doing this again is
    /// harmless: they are the same bytes. Dropping it leaves open whether they were taken.
    ///
    /// # Errors
    /// [`SendError`], for diagnosis: after [`SendError::Unknown`] they may have been taken.
    pub async fn send(&self, hash: B256, raw: &Bytes) -> Result<(), SendError> {
        let mut why = SendError::Unknown;
        for at in self.in_turn(None) {
            let Some(rpc) = self.ready(at).await else {
                continue;
            };
            let sent = rpc
                .call::<B256>("eth_sendRawTransaction", json!([raw]))
                .await;
            match sent {
                Ok(_) => return Ok(()),
                Err(RpcError::Refused { message, .. }) => match classify(&message) {
                    Ok(()) => return Ok(()),
                    Err(error) => why = error,
                },
                Err(error) => self.failed(at, Some(error.into())),
            }
        }
        tracing::debug!(target: "masq::chain", hash = %short(&hash), %why, "not taken");
        Err(why)
    }
}

/// The first bytes of a hash: enough to find it in a log, too little to look for it.
fn short(hash: &B256) -> String {
    alloy_primitives::hex::encode(&hash[..4])
}

/// What the words of a refusal mean. There are no common codes.
fn classify(message: &str) -> Result<(), SendError> {
    let message = message.to_lowercase();
    let has = |words: &str| message.contains(words);
    if has("already known") || has("known transaction") || has("already imported") {
        Ok(())
    } else if has("nonce too low") || has("nonce is too low") || has("invalid nonce") {
        Err(SendError::NonceTooLow)
    } else if has("underpriced") || has("fee too low") {
        Err(SendError::Underpriced)
    } else if has("insufficient funds") || has("insufficient balance") {
        Err(SendError::NoFunds)
    } else {
        Err(SendError::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(classify("already known"), Ok(()));
        assert_eq!(classify("ALREADY_EXISTS: already known"), Ok(()));
        assert_eq!(classify("transaction already imported"), Ok(()));
        let low = Err(SendError::NonceTooLow);
        assert_eq!(classify("nonce too low: next nonce 5, tx nonce 4"), low);
        let cheap = Err(SendError::Underpriced);
        assert_eq!(classify("replacement transaction underpriced"), cheap);
        let poor = Err(SendError::NoFunds);
        assert_eq!(classify("insufficient funds for gas * price + value"), poor);
        assert_eq!(classify("busy"), Err(SendError::Unknown));
    }
}
