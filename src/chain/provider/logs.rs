//! The scanner's questions.

use serde_json::json;

use super::super::engine::Endpoint;
use super::super::scanner::{LogAnswer, LogPage, LogQuestion, RawLog, TRANSFER};
use super::rpc::{Rpc, RpcError};
use super::wire::{LogEntry, RawReceipt, hex};
use super::{Provider, ProviderConfig};
use alloy_primitives::Address;

/// Longest answer with all receipts of one block, in bytes: a block of 400 million gas that holds
/// nothing but logs (some 60,000 of 600 bytes each), and room.
const MAX_BLOCK: usize = 64 << 20;

impl Provider {
    /// Transfers to `wallet`, as one endpoint has them. May be dropped at any time: it only reads.
    pub async fn logs(&self, wallet: Address, question: &LogQuestion) -> LogAnswer {
        for at in self.in_turn(question.avoid) {
            let Some(rpc) = self.ready(at).await else {
                continue;
            };
            match page(rpc, &self.config, at as Endpoint, wallet, question).await {
                Ok(page) => {
                    self.worked(at);
                    return LogAnswer::Page(Box::new(page));
                }
                // Less than one block can't be asked for; another endpoint may give it.
                Err(error) if is_too_much(&error) && question.to > question.from => {
                    return LogAnswer::TooLarge;
                }
                Err(error) => self.failed(at, Some(error.into())),
            }
        }
        LogAnswer::Failed
    }
}

/// Whether an endpoint says that the range or the answer is too large. There is no common code; the
/// words are those of the well-known services.
fn is_too_much(error: &RpcError) -> bool {
    const WORDS: [&str; 7] = [
        "range",
        "too many",
        "limit",
        "more than",
        "exceed",
        "too large",
        "10000 results",
    ];
    const NOT: [&str; 2] = ["rate", "requests"];
    match error {
        RpcError::TooLarge | RpcError::Status(413) => true,
        // The usual code for "limit exceeded" also stands for too many requests.
        RpcError::Refused { message, .. } => {
            let message = message.to_lowercase();
            let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
            has(&WORDS) && !has(&NOT)
        }
        _ => false,
    }
}

/// Reads in the order of [`LogPage`]'s fields.
async fn page(
    rpc: &Rpc,
    config: &ProviderConfig,
    endpoint: Endpoint,
    wallet: Address,
    question: &LogQuestion,
) -> Result<LogPage, RpcError> {
    let chain_id = rpc.chain_id().await?;
    let finalized: u64 = rpc.tagged("finalized").await?.number.to();
    let head: u64 = rpc.tagged("latest").await?.number.to();
    let anchor = match question.anchor {
        Some(number) => rpc.hash_at(number).await?,
        None => None,
    };
    let to = question.to.min(head);
    let mut page = LogPage {
        endpoint,
        chain_id,
        finalized,
        head,
        anchor,
        to,
        hash_before: None,
        logs: Vec::new(),
        hash_after: None,
        final_hash: None,
    };
    if to < question.from {
        return Ok(page);
    }
    page.hash_before = rpc.hash_at(to).await?;
    let filter = json!([{
        "address": config.token,
        "fromBlock": hex(question.from),
        "toBlock": hex(to),
        "topics": [TRANSFER, null, wallet.into_word()],
    }]);
    let logs = rpc.call::<Vec<LogEntry>>("eth_getLogs", filter).await;
    let logs = match logs {
        Err(error) if is_too_much(&error) && to == question.from => {
            from_receipts(rpc, config, wallet, to).await?
        }
        logs => logs?,
    };
    page.logs = logs.into_iter().map(raw).collect();
    page.hash_after = rpc.hash_at(to).await?;
    page.final_hash = if finalized >= to {
        page.hash_after
    } else {
        rpc.hash_at(finalized).await?
    };
    Ok(page)
}

/// The same for one block from its receipts: anybody can put more transfers of nothing into a block
/// than endpoints give out by `eth_getLogs`.
async fn from_receipts(
    rpc: &Rpc,
    config: &ProviderConfig,
    wallet: Address,
    block: u64,
) -> Result<Vec<LogEntry>, RpcError> {
    let method = "eth_getBlockReceipts";
    let receipts: Option<Vec<RawReceipt>> = rpc
        .call_within(method, json!([hex(block)]), MAX_BLOCK)
        .await?;
    let ours = |log: &LogEntry| {
        log.address == config.token
            && log.topics.first() == Some(&TRANSFER)
            && log.topics.get(2) == Some(&wallet.into_word())
    };
    let receipts = receipts.ok_or(RpcError::Garbled)?.into_iter();
    Ok(receipts.flat_map(|r| r.logs).filter(ours).collect())
}

fn raw(log: LogEntry) -> RawLog {
    RawLog {
        address: log.address,
        topics: log.topics,
        data: log.data.to_vec(),
        block: log.block_number.to(),
        block_hash: log.block_hash,
        tx: log.transaction_hash,
        index: log.log_index.to(),
        removed: log.removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_too_much_are_known_and_told_from_too_often() {
        let says = |message: &str| {
            is_too_much(&RpcError::Refused {
                code: -32_000,
                message: message.to_owned(),
            })
        };
        for words in [
            "query returned more than 10000 results",
            "block range is too wide",
            "eth_getLogs is limited to a 1000 blocks range",
            "Log response size exceeded",
            "query exceeds max results 20000",
        ] {
            assert!(says(words), "{words}");
        }
        for words in [
            "rate limit exceeded",
            "too many requests",
            "header not found",
        ] {
            assert!(!says(words), "{words}");
        }
    }
}
