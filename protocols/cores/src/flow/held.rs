//! What the flows of one session hold unread, and the bound on it.
//!
//! yamux gives every stream a window of 256 KiB from the first moment, so a thousand flows that nobody
//! reads could hold 256 MiB, and short frames several times that. Here the bytes that go into yamux are
//! counted, flow by flow, by watching the frames that pass; when the bound is reached, reading from the
//! session waits until some flow is read or dropped.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
};

use futures::task::AtomicWaker;

use super::{frame::YAMUX_HEADER, mux::MAX_STREAMS};

/// What a frame that is held costs beside its bytes: the allocation and its place in a queue. Guess, on
/// the high side.
const FRAME_COST: usize = 64;

const TYPE_DATA: u8 = 0;
const TYPE_WINDOW_UPDATE: u8 = 1;
const FLAG_SYN: u16 = 1;
const FLAG_RST: u16 = 4;

/// Bytes held, per flow and in all.
#[derive(Debug)]
pub(super) struct HeldBytes {
    limit: usize,
    total: AtomicUsize,
    flows: Mutex<HashMap<u32, usize>>,
    waker: AtomicWaker,
}

impl HeldBytes {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            total: AtomicUsize::new(0),
            flows: Mutex::default(),
            waker: AtomicWaker::new(),
        }
    }

    /// Whether the bound is reached. If so, the task is woken when it no longer is.
    pub(super) fn is_full(&self, cx: &mut Context<'_>) -> bool {
        if self.total() < self.limit {
            return false;
        }
        self.waker.register(cx.waker());
        self.total() >= self.limit
    }

    pub(super) fn total(&self) -> usize {
        self.total.load(Ordering::Acquire)
    }

    /// A flow that is to be counted; those that the peer opens are noticed as their frames pass.
    pub(super) fn open(&self, flow: u32) {
        self.lock().entry(flow).or_default();
    }

    /// A flow that the peer opens. yamux ends the session where there are as many as it allows, so what
    /// comes on top of them needs no count.
    fn open_by_peer(&self, flow: u32) {
        let mut flows = self.lock();
        if flows.len() < MAX_STREAMS {
            flows.entry(flow).or_default();
        }
    }

    /// A frame of `len` bytes goes into yamux. Those for flows that are no more are dropped there.
    fn add(&self, flow: u32, len: usize) {
        let cost = len + FRAME_COST;
        if let Some(held) = self.lock().get_mut(&flow) {
            *held += cost;
            self.total.fetch_add(cost, Ordering::AcqRel);
        }
    }

    /// A frame of `len` bytes came out of yamux.
    pub(super) fn take(&self, flow: u32, len: usize) {
        let mut flows = self.lock();
        let Some(held) = flows.get_mut(&flow) else {
            return;
        };
        let cost = (len + FRAME_COST).min(*held);
        *held -= cost;
        drop(flows);
        self.shrink(cost);
    }

    /// The flow is dropped, with whatever it held.
    pub(super) fn forget(&self, flow: u32) {
        let held = self.lock().remove(&flow);
        self.shrink(held.unwrap_or(0));
    }

    fn shrink(&self, cost: usize) {
        let before = self.total.fetch_sub(cost, Ordering::AcqRel);
        if before >= self.limit && before - cost < self.limit {
            self.waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        // Nothing that runs under this lock can leave the map half changed.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the frames in the bytes that yamux reads.
#[derive(Debug, Default)]
pub(super) struct FrameWatch {
    header: [u8; YAMUX_HEADER],
    /// Bytes of the header that have passed.
    have: usize,
    /// Bytes of the body that are still to pass.
    body: usize,
}

impl FrameWatch {
    /// `bytes` pass.
    pub(super) fn pass(&mut self, mut bytes: &[u8], held: &HeldBytes) {
        while !bytes.is_empty() {
            if self.body > 0 {
                let n = self.body.min(bytes.len());
                self.body -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (YAMUX_HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have == YAMUX_HEADER {
                self.have = 0;
                self.on_header(held);
            }
        }
    }

    fn on_header(&mut self, held: &HeldBytes) {
        // version 1 | type 1 | flags 2 | stream 4 | length 4
        let [_, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = self.header;
        let flags = u16::from_be_bytes([f0, f1]);
        let flow = u32::from_be_bytes([s0, s1, s2, s3]);
        // yamux looks at RST before everything else: such a frame opens nothing, and what is in it is
        // dropped.
        let reset = flags & FLAG_RST != 0;
        let opens = flags & FLAG_SYN != 0 && matches!(kind, TYPE_DATA | TYPE_WINDOW_UPDATE);
        if opens && !reset {
            held.open_by_peer(flow);
        }
        if kind == TYPE_DATA {
            self.body = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            if self.body > 0 && !reset {
                held.add(flow, self.body);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;
    use proptest::prelude::*;

    fn header(kind: u8, flags: u16, flow: u32, len: u32) -> Vec<u8> {
        let mut out = vec![0, kind];
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&flow.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out
    }

    proptest! {
        #[test]
        fn counts_whatever_way_the_bytes_are_cut(cuts in prop::collection::vec(1usize..40, 1..60)) {
            let held = HeldBytes::new(1 << 20);
            let mut wire = header(TYPE_DATA, FLAG_SYN, 1, 100);
            wire.extend([7; 100]);
            wire.extend(header(TYPE_WINDOW_UPDATE, FLAG_SYN, 3, 5));
            wire.extend(header(TYPE_DATA, 0, 3, 30));
            wire.extend([0; 30]);
            wire.extend(header(2, FLAG_SYN, 0, 9)); // a ping has no body
            wire.extend(header(TYPE_DATA, 0, 5, 40)); // not open
            wire.extend([0; 40]);
            wire.extend(header(TYPE_DATA, 0, 1, 0));
            let mut watch = FrameWatch::default();
            let (mut rest, mut cuts) = (&wire[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                watch.pass(now, &held);
                rest = later;
            }
            prop_assert_eq!(held.total(), 130 + 2 * FRAME_COST);
            held.take(1, 100);
            prop_assert_eq!(held.total(), 30 + FRAME_COST);
            held.forget(3);
            held.forget(3);
            prop_assert_eq!(held.total(), 0);
        }
    }

    #[test]
    fn frames_that_reset_open_nothing_and_hold_nothing() {
        let held = HeldBytes::new(1000);
        let mut watch = FrameWatch::default();
        for flow in (1..2000).step_by(2) {
            let kind = if flow % 4 == 1 {
                TYPE_DATA
            } else {
                TYPE_WINDOW_UPDATE
            };
            watch.pass(&header(kind, FLAG_SYN | FLAG_RST, flow, 3), &held);
            if kind == TYPE_DATA {
                watch.pass(&[0; 3], &held);
            }
        }
        assert!(held.lock().is_empty());
        watch.pass(&header(TYPE_DATA, FLAG_SYN, 1, 2), &held);
        watch.pass(&[0; 2], &held);
        watch.pass(&header(TYPE_DATA, FLAG_RST, 1, 9), &held);
        watch.pass(&[0; 9], &held);
        assert_eq!(held.total(), 2 + FRAME_COST);
    }

    #[test]
    fn no_more_flows_are_counted_than_there_can_be() {
        let held = HeldBytes::new(1000);
        let mut watch = FrameWatch::default();
        for flow in 0..2 * MAX_STREAMS {
            let flow = u32::try_from(flow).unwrap();
            watch.pass(&header(TYPE_WINDOW_UPDATE, FLAG_SYN, flow, 0), &held);
        }
        assert_eq!(held.lock().len(), MAX_STREAMS);
    }

    #[test]
    fn full_until_something_is_taken() {
        let held = HeldBytes::new(1000);
        let mut cx = Context::from_waker(noop_waker_ref());
        held.open(1);
        held.add(1, 999);
        assert!(held.is_full(&mut cx));
        held.take(1, 999);
        assert!(!held.is_full(&mut cx));
    }
}
