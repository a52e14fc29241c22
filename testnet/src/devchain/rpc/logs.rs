//! `eth_getLogs`: the filter, and the bounds of real providers.

use alloy::eips::BlockNumberOrTag;
use alloy::rpc::types::{Filter, FilterBlockOption, Log};

use super::reader::{At, Reader};
use super::render;
use crate::devchain::config::RangeRefusal;
use crate::devchain::error::RpcError;
use crate::devchain::faults::LogLie;

/// The numbers of the blocks that a filter asks for, first and last; `None` where there is
/// nothing to look at yet.
fn range(reader: &Reader<'_>, filter: &Filter) -> Result<Option<(u64, u64)>, RpcError> {
    let number = |tag: Option<BlockNumberOrTag>| match reader.at(tag.unwrap_or_default()) {
        At::Mined(number) => number,
        At::Pending => reader.head,
    };
    let (from, to) = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = reader
                .by_hash(hash)
                .ok_or_else(|| RpcError::server("unknown block"))?;
            (block.header.number, block.header.number)
        }
        FilterBlockOption::Range {
            from_block,
            to_block,
        } => (number(from_block), number(to_block)),
    };
    if from > to {
        return Err(RpcError::params("invalid block range params"));
    }
    // Blocks that do not exist yet are left out without a word, as geth does: whoever then thinks
    // that it has seen them loses money.
    Ok((from <= reader.head).then_some((from, to.min(reader.head))))
}

fn refuse_range(style: RangeRefusal, asked: u64, limit: u64) -> RpcError {
    match style {
        RangeRefusal::QuickNode => RpcError::new(
            -32_614,
            format!("eth_getLogs is limited to a {} range", thousands(limit)),
        ),
        RangeRefusal::Infura => RpcError::params(format!("range {asked} exceeds limit of {limit}")),
        RangeRefusal::Geth => RpcError::server("block range is bigger than maxBlockRange"),
    }
}

/// 10000 as "10,000".
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The logs that a filter asks for, or what a lying endpoint says instead.
///
/// # Errors
/// When the range is wrong or too large, or there would be too many.
pub(super) fn find(
    reader: &Reader<'_>,
    filter: &Filter,
    range_limit: Option<u64>,
    lie: Option<LogLie>,
) -> Result<Vec<Log>, RpcError> {
    let config = &reader.chain.config;
    let Some((mut from, mut to)) = range(reader, filter)? else {
        return Ok(Vec::new());
    };
    let (asked, limit) = (to - from + 1, range_limit.unwrap_or(config.log_range));
    if asked > limit {
        return Err(refuse_range(config.range_refusal, asked, limit));
    }
    if from < reader.chain.blocks().first() {
        return Err(RpcError::history_gone());
    }
    match lie {
        Some(LogLie::Beyond { blocks }) => {
            from = from.saturating_sub(blocks);
            to = to.saturating_add(blocks).min(reader.head);
        }
        Some(LogLie::Clip { blocks }) => {
            to = to.min(from.saturating_add(blocks.saturating_sub(1)));
        }
        Some(LogLie::Empty) => return Ok(Vec::new()),
        _ => {}
    }
    let anything = lie == Some(LogLie::Unfiltered);
    let mut found = Vec::new();
    for number in from..=to {
        let Some(block) = reader.chain.blocks().get(number) else {
            continue;
        };
        for (index, tx) in block.txs.iter().enumerate() {
            for log in render::logs(block, index, tx) {
                if !anything && !filter.matches(&log.inner) {
                    continue;
                }
                if found.len() >= config.log_results {
                    return Err(RpcError::new(
                        -32_005,
                        format!(
                            "query returned more than {} results. Try with this block range [{from:#x}, {:#x}].",
                            config.log_results,
                            number.saturating_sub(1).max(from)
                        ),
                    ));
                }
                match lie {
                    Some(LogLie::Removed) => found.push(Log {
                        removed: true,
                        ..log
                    }),
                    Some(LogLie::Twice) => found.extend([log.clone(), log]),
                    _ => found.push(log),
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_have_different_words_for_the_same_thing() {
        let words = |style| refuse_range(style, 20_000, 10_000);
        assert_eq!(
            words(RangeRefusal::QuickNode).message,
            "eth_getLogs is limited to a 10,000 range"
        );
        assert_eq!(
            words(RangeRefusal::Infura).message,
            "range 20000 exceeds limit of 10000"
        );
        assert_eq!(words(RangeRefusal::Geth).code, -32_000);
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
