//! For tests: writes down which part of which key stream every encryption of
//! this thread used, so that a test can hold that none is used twice.

use std::cell::RefCell;

use super::{BLOCK, KEY_LEN};

/// One encryption: the bytes `start..end` of the key stream of (`key`, `counter`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    key: [u8; KEY_LEN],
    counter: u64,
    start: u64,
    end: u64,
}

thread_local! {
    static LOG: RefCell<Option<Vec<Use>>> = const { RefCell::new(None) };
}

/// Begins to record, forgetting what was there.
pub(crate) fn start() {
    LOG.with_borrow_mut(|log| *log = Some(Vec::new()));
}

/// Ends and returns the record.
pub(crate) fn stop() -> Vec<Use> {
    LOG.with_borrow_mut(Option::take).unwrap_or_default()
}

fn push(key: &[u8; KEY_LEN], counter: u64, start: u64, end: u64) {
    LOG.with_borrow_mut(|log| {
        if let Some(log) = log {
            log.push(Use {
                key: *key,
                counter,
                start,
                end,
            });
        }
    });
}

/// GCM takes block 1 for its tag and whole blocks from 2 on for the text.
pub(crate) fn gcm(key: &[u8; KEY_LEN], counter: u64, len: usize) {
    let block = BLOCK as u64;
    push(
        key,
        counter,
        block,
        2 * block + (len as u64).next_multiple_of(block),
    );
}

pub(crate) fn ctr(key: &[u8; KEY_LEN], counter: u64, first_block: u32, len: usize) {
    let start = u64::from(first_block) * BLOCK as u64;
    push(key, counter, start, start + len as u64);
}

/// The first two encryptions that share a part of a key stream.
pub(crate) fn overlap(mut log: Vec<Use>) -> Option<(Use, Use)> {
    log.sort();
    log.windows(2)
        .find(|w| w[0].key == w[1].key && w[0].counter == w[1].counter && w[1].start < w[0].end)
        .map(|w| (w[0].clone(), w[1].clone()))
}
