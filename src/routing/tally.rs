//! What is remembered of one node, edge or pair of exit and host, and how it is
//! forgotten. Not here: the tables of them, and what counts as what (`scores`).

use std::time::{Duration, Instant};

use super::scores::Judgement;

/// Failures and trials that everybody starts with, so that nothing is judged
/// by one event: one failure in ten at first.
const PRIOR_BAD: f64 = 0.2;
const PRIOR_ALL: f64 = 2.0;
/// Failing more often than this is unfit: used only where nothing else is left.
const UNFIT: f64 = 0.5;

/// What a failed set-up costs a user, in milliseconds of waiting. A guess.
pub(super) const FAILURE_COST: f64 = 5_000.0;

/// Time after which a refusal for load counts half. A guess: circuits live ten
/// minutes, and a node that was full for a moment has room again soon.
pub(super) const CONGESTION_HALF_LIFE: Duration = Duration::from_secs(60);
/// What one such refusal costs, in milliseconds: with it, a node is some
/// hundred times less likely than an equal one. A guess.
const CONGESTION_COST: f64 = 2_000.0;
/// With more than this, counted in refusals, a node is used only where nothing
/// else is left: two in a row, for half a minute.
const CONGESTION_UNFIT: f64 = 1.5;
/// With less than this a node is called congested no longer: one refusal, for
/// two half-lives.
const CONGESTION_GONE: f64 = 0.25;

/// Latency assumed of a hop that has not been seen yet, in milliseconds. A
/// guess between a city and an ocean.
const DEFAULT_LATENCY: f64 = 50.0;
/// Weight of a new latency sample. As in TCP's smoothed round trip time.
const LATENCY_GAIN: f64 = 0.125;
/// No sample above this counts, in milliseconds: slower is a failure.
pub(super) const MAX_LATENCY: f64 = 10_000.0;

/// Throughput assumed of a hop that has not been seen yet, in bytes per second.
/// A guess: the uplink of a home.
const DEFAULT_RATE: f64 = 1_048_576.0;
/// Bytes whose passage counts as waiting for a hop. A guess: between a small
/// page and a picture, so that latency and throughput weigh about the same.
const TRANSFER: f64 = 16_384.0;
/// Weight of a sample below the estimate. A guess: small, because a slow
/// circuit may be slow for the server, or for another hop.
const RATE_GAIN_DOWN: f64 = 0.0625;
/// Rates below this are taken for it, in bytes per second, so that no cost is
/// without end: one cell of 1 KiB a second.
const MIN_RATE: f64 = 1_024.0;

/// An average of samples, and how much of it is left.
#[derive(Debug, Clone, Copy, Default)]
struct Average {
    value: f64,
    /// From 1, just measured, to 0, forgotten.
    weight: f64,
}

impl Average {
    /// Forgotten so far that it is not shown: three half-lives.
    const FORGOTTEN: f64 = 0.125;

    fn add(&mut self, sample: f64, gain: f64) {
        let old = if self.weight > 0.0 {
            self.value
        } else {
            sample
        };
        *self = Self {
            value: old + (sample - old) * gain,
            weight: 1.0,
        };
    }

    /// The average, as far as it is remembered, and `assumed` for the rest.
    fn or(self, assumed: f64) -> f64 {
        self.value * self.weight + assumed * (1.0 - self.weight)
    }

    fn known(self) -> Option<f64> {
        (self.weight > Self::FORGOTTEN).then_some(self.value)
    }
}

/// Counters that halve every so often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub(super) good: f64,
    pub(super) bad: f64,
    latency: Average,
    rate: Average,
    /// Refusals for load.
    congestion: f64,
    pub(super) at: Instant,
}

impl Tally {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            good: 0.0,
            bad: 0.0,
            latency: Average::default(),
            rate: Average::default(),
            congestion: 0.0,
            at: now,
        }
    }

    pub(super) fn decayed(mut self, now: Instant, half_life: Duration) -> Self {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let keep = |half_life: Duration| (-passed / half_life.as_secs_f64()).exp2();
        let kept = keep(half_life);
        self.good *= kept;
        self.bad *= kept;
        self.latency.weight *= kept;
        self.rate.weight *= kept;
        self.congestion *= keep(CONGESTION_HALF_LIFE);
        self.at = self.at.max(now);
        self
    }

    /// Took so many milliseconds.
    pub(super) fn took(&mut self, millis: f64) {
        self.latency.add(millis.min(MAX_LATENCY), LATENCY_GAIN);
    }

    /// So many bytes went through it in a second, or more could have: faster is
    /// believed at once, slower only bit by bit.
    pub(super) fn carried(&mut self, rate: f64) {
        let rate = rate.max(MIN_RATE);
        let faster = rate > self.rate.or(0.0);
        self.rate
            .add(rate, if faster { 1.0 } else { RATE_GAIN_DOWN });
    }

    /// It refused for load, or somebody says so who is to be believed by `share`.
    pub(super) fn refused_for_load(&mut self, share: f64) {
        self.congestion += share;
    }

    /// What failures and congestion, decayed to now, say.
    pub(super) fn judge(&self) -> Judgement {
        let failing = (self.bad + PRIOR_BAD) / (self.good + self.bad + PRIOR_ALL);
        let above = (failing - PRIOR_BAD / PRIOR_ALL).max(0.0);
        Judgement {
            cost: above * FAILURE_COST + self.congestion * CONGESTION_COST,
            unfit: failing > UNFIT || self.congestion > CONGESTION_UNFIT,
        }
    }

    /// Milliseconds that its use is expected to take beside that.
    pub(super) fn waiting(&self) -> f64 {
        let passage = |rate: f64| TRANSFER / rate * 1_000.0;
        let rate = self.rate;
        let passage = Average {
            value: rate.known().map_or(0.0, passage),
            weight: rate.known().map_or(0.0, |_| rate.weight),
        };
        self.latency.or(DEFAULT_LATENCY) + passage.or(TRANSFER / DEFAULT_RATE * 1_000.0)
    }

    /// Part of what was tried that failed, if enough was tried to say so.
    pub(super) fn failure_share(&self) -> Option<f64> {
        let all = self.good + self.bad;
        (all > Average::FORGOTTEN).then(|| self.bad / all)
    }

    pub(super) fn latency(&self) -> Option<f64> {
        self.latency.known()
    }

    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.known()
    }

    /// How long it will count as congested.
    pub(super) fn congested_for(&self) -> Option<Duration> {
        let half_lives = (self.congestion / CONGESTION_GONE).log2();
        (half_lives > 0.0).then(|| CONGESTION_HALF_LIFE.mul_f64(half_lives))
    }
}

/// What is waited for at a node of which nothing is known.
pub(super) fn waiting_for_unknown() -> f64 {
    DEFAULT_LATENCY + TRANSFER / DEFAULT_RATE * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(600);

    #[test]
    fn everything_is_forgotten() {
        let now = Instant::now();
        let mut tally = Tally::new(now);
        tally.took(400.0);
        tally.carried(20_000.0);
        tally.refused_for_load(1.0);
        (tally.good, tally.bad) = (3.0, 1.0);
        assert_eq!(tally.latency(), Some(400.0));
        assert_eq!(tally.failure_share(), Some(0.25));
        let later = tally.decayed(now + HALF_LIFE * 40, HALF_LIFE);
        assert!((later.waiting() - waiting_for_unknown()).abs() < 0.01);
        assert!(later.judge().cost < 0.01);
        assert_eq!(later.latency().or(later.rate()), None);
        assert_eq!(later.failure_share(), None);
        assert_eq!(later.congested_for(), None);
    }

    #[test]
    fn a_node_is_as_fast_as_the_fastest_circuit_through_it() {
        let mut tally = Tally::new(Instant::now());
        tally.carried(100_000.0);
        let slow = tally.waiting();
        tally.carried(4_000_000.0);
        assert_eq!(tally.rate(), Some(4_000_000.0));
        assert!(tally.waiting() < slow);
        tally.carried(100_000.0);
        assert!(
            tally.rate() > Some(3_700_000.0),
            "one slow circuit says little"
        );
        for _ in 0..100 {
            tally.carried(100_000.0);
        }
        assert!(tally.rate() < Some(120_000.0), "many say it all");
        tally.carried(0.0);
        assert!(tally.waiting().is_finite());
    }

    #[test]
    fn congestion_is_not_failure_and_passes_within_minutes() {
        let now = Instant::now();
        let mut tally = Tally::new(now);
        tally.refused_for_load(1.0);
        assert!(tally.judge().cost >= CONGESTION_COST && !tally.judge().unfit);
        assert_eq!(tally.failure_share(), None);
        assert_eq!(tally.congested_for(), Some(CONGESTION_HALF_LIFE * 2));
        tally.refused_for_load(1.0);
        assert!(tally.judge().unfit);
        let soon = tally.decayed(now + CONGESTION_HALF_LIFE / 2, HALF_LIFE);
        assert!(!soon.judge().unfit && soon.congested_for().is_some());
        let later = tally.decayed(now + CONGESTION_HALF_LIFE * 4, HALF_LIFE);
        assert_eq!(later.congested_for(), None);
        assert!(later.judge().cost < CONGESTION_COST / 2.0);
    }
}
