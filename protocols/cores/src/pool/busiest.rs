//! The busiest time of a circuit, from counters that are looked at now and then:
//! what it carries otherwise says more of the user than of the circuit.

use std::time::Duration;

use tokio::time::Instant;

/// How often the counters are looked at. Guess: long against the gaps between cells, short
/// against a download.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Less than this between two looks says nothing about how fast the circuit is. Guess: somebody
/// waits for what carries 64 KiB a second.
const ENOUGH: u64 = 128 * 1024;

/// One leg of one circuit.
#[derive(Debug)]
pub(super) struct Busiest {
    at: Instant,
    total: u64,
    best: Option<(u64, Duration)>,
}

impl Busiest {
    pub(super) fn new(now: Instant, total: u64) -> Self {
        Self {
            at: now,
            total,
            best: None,
        }
    }

    /// The leg has carried `total` bytes by now.
    pub(super) fn look(&mut self, now: Instant, total: u64) {
        let took = now.duration_since(self.at);
        let bytes = total.saturating_sub(self.total);
        if took < LOOK_EVERY / 2 {
            return;
        }
        (self.at, self.total) = (now, total);
        let rate =
            |(bytes, took): (u64, Duration)| u128::from(bytes) * 1_000_000 / took.as_micros();
        let busier = self
            .best
            .is_none_or(|best| rate((bytes, took)) > rate(best));
        if bytes >= ENOUGH && busier {
            self.best = Some((bytes, took));
        }
    }

    /// Bytes and time of the busiest time since this was last asked.
    pub(super) fn take(&mut self) -> Option<(u64, Duration)> {
        self.best.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_busiest_time_counts_and_idle_ones_do_not() {
        let start = Instant::now();
        let mut leg = Busiest::new(start, 0);
        let at = |n: u32| start + LOOK_EVERY * n;
        leg.look(at(1), 1_000);
        assert_eq!(leg.take(), None);
        leg.look(at(2), 1_000 + 2 * ENOUGH);
        leg.look(at(3), 1_000 + 5 * ENOUGH);
        leg.look(at(4), 1_000 + 6 * ENOUGH);
        assert_eq!(leg.take(), Some((3 * ENOUGH, LOOK_EVERY)));
        assert_eq!(leg.take(), None);
        // Two looks at once are one; a counter never goes back.
        leg.look(at(4), 1_000 + 9 * ENOUGH);
        leg.look(at(6), 1_000 + 10 * ENOUGH);
        assert_eq!(leg.take(), Some((4 * ENOUGH, LOOK_EVERY * 2)));
        leg.look(at(7), 0);
        assert_eq!(leg.take(), None);
    }
}
