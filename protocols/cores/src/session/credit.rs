//! Cell credit: how many cells the exit may send on the back leg.
//!
//! The origin gives it, cumulatively and per circuit; the exit spends one for every cell, whatever is in
//! it. Pure counting: the figures travel in the headers that `machine.rs` writes and reads.

use super::SessionViolation;

/// Cells that the exit may have on their way or unread at the origin.
///
/// 512 cells of 16 KiB are 8 MiB: 40 MB/s at a round trip of 200 ms, and the most that one session can
/// hold at the origin below its flows. Guess, from those two.
pub const CREDIT_WINDOW: u32 = 512;

/// Credit is renewed when this much of it was used up. A quarter, so that renewals are few and the exit
/// never waits for one that is due.
const RENEW: u32 = CREDIT_WINDOW / 4;

/// The origin's side.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Cells that came in on this circuit.
    received: u32,
    /// Cells that are still held, from this circuit or one before.
    held: u32,
    /// The figure that the exit was last told.
    told: u32,
}

impl Given {
    /// A cell came in; it is held until [`Given::released`].
    pub(super) fn received(&mut self) -> Result<(), SessionViolation> {
        if self.received >= self.told {
            return Err(SessionViolation::Credit);
        }
        self.received += 1;
        self.held += 1;
        Ok(())
    }

    /// One of the cells that were held is used up.
    pub(super) fn released(&mut self) {
        debug_assert!(self.held > 0, "released more cells than came in");
        self.held = self.held.saturating_sub(1);
    }

    /// The figure to tell the exit now.
    fn figure(&self) -> u32 {
        self.received
            .saturating_add(CREDIT_WINDOW.saturating_sub(self.held))
    }

    /// Whether it is worth a cell of its own.
    pub(super) fn due(&self) -> bool {
        self.figure().saturating_sub(self.told) >= RENEW
    }

    /// The figure to tell the exit now; it counts as told.
    pub(super) fn tell(&mut self) -> u32 {
        // What was told stays given, even where cells from an earlier circuit are still held.
        self.told = self.told.max(self.figure());
        self.told
    }

    /// Another circuit: counting begins again, but for what is still held.
    pub(super) fn reattach(&mut self) {
        self.received = 0;
        self.told = 0;
    }
}

/// The exit's side.
#[derive(Debug, Default)]
pub(super) struct Taken {
    sent: u32,
    limit: u32,
}

impl Taken {
    /// The origin's figure. It never shrinks.
    pub(super) fn raise(&mut self, figure: u32) {
        self.limit = self.limit.max(figure);
    }

    /// Whether one more cell may be sent.
    pub(super) fn available(&self) -> bool {
        self.sent < self.limit
    }

    /// A cell is sent.
    pub(super) fn spend(&mut self) {
        debug_assert!(self.available(), "a cell without credit");
        self.sent = self.sent.saturating_add(1);
    }

    /// Another circuit: counting begins again, with nothing given yet.
    pub(super) fn reattach(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_then_a_quarter_at_a_time() {
        let mut given = Given::default();
        assert!(given.due());
        assert_eq!(given.tell(), CREDIT_WINDOW);
        for _ in 0..CREDIT_WINDOW {
            given.received().unwrap();
        }
        assert_eq!(given.received(), Err(SessionViolation::Credit));
        for _ in 0..RENEW - 1 {
            given.released();
            assert!(!given.due());
        }
        given.released();
        assert!(given.due());
        assert_eq!(given.tell(), CREDIT_WINDOW + RENEW);
        assert!(!given.due());
    }

    #[test]
    fn what_is_held_counts_on_the_next_circuit() {
        let mut given = Given::default();
        given.tell();
        for _ in 0..100 {
            given.received().unwrap();
        }
        given.reattach();
        assert_eq!(given.tell(), CREDIT_WINDOW - 100);
        for _ in 0..100 {
            given.released();
        }
        assert_eq!(given.tell(), CREDIT_WINDOW);
    }
}
