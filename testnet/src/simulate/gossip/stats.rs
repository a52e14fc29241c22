//! Means over a few runs with their 95 % intervals by Student's t, and
//! percentiles. Numbers in, numbers out.

use serde::Serialize;

/// Student's t for a two-sided 95 % interval, with 1 to 30 degrees of freedom.
const T95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// The same for more: between these it goes almost evenly with 1 / degrees of freedom.
const T95_MORE: [(f64, f64); 4] = [
    (1.0 / 30.0, 2.042),
    (1.0 / 60.0, 2.000),
    (1.0 / 120.0, 1.980),
    (0.0, 1.960),
];

/// Student's t for a two-sided 95 % interval.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "numbers of runs are small")]
pub fn t95(freedom: usize) -> f64 {
    match freedom {
        0 => f64::INFINITY,
        1..=30 => T95[freedom - 1],
        _ => {
            let x = 1.0 / freedom as f64;
            let between = T95_MORE.windows(2).find(|pair| x >= pair[1].0);
            between.map_or(1.96, |pair| {
                let (x0, t0) = pair[1];
                let (x1, t1) = pair[0];
                t0 + (t1 - t0) * (x - x0) / (x1 - x0)
            })
        }
    }
}

/// One figure over all runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The mean of the runs that have the figure; `None` when none has.
    pub mean: Option<f64>,
    /// Lower end of the 95 % interval of the mean; `None` with fewer than two such runs.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The least of all runs.
    pub min: Option<f64>,
    /// The most of all runs.
    pub max: Option<f64>,
    /// Runs that have the figure.
    pub runs: usize,
    /// Runs in which it never came about.
    pub never: usize,
}

impl Summary {
    /// Of one value per run; a value that is not finite stands for what never came about.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "numbers of runs are small")]
    pub fn of(values: &[f64]) -> Self {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let n = finite.len();
        let mean = (n > 0).then(|| finite.iter().sum::<f64>() / n as f64);
        let half = mean.filter(|_| n > 1).map(|mean| {
            let squares: f64 = finite.iter().map(|v| (v - mean).powi(2)).sum();
            let deviation = (squares / (n - 1) as f64).sqrt();
            t95(n - 1) * deviation / (n as f64).sqrt()
        });
        let end = |sign: f64| mean.zip(half).map(|(mean, half)| mean + sign * half);
        Self {
            mean,
            low: end(-1.0),
            high: end(1.0),
            min: finite.iter().copied().reduce(f64::min),
            max: finite.iter().copied().reduce(f64::max),
            runs: n,
            never: values.len() - n,
        }
    }
}

/// The value below which a share of the others lie: the smallest that at least `share` of them
/// do not exceed. `values` must be sorted; 0 when there are none.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank within a list in memory"
)]
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let rank = (share * values.len() as f64).ceil() as usize;
    let index = rank.clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(0.0)
}

/// Sorts figures, for [`percentile`].
#[must_use]
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn against_figures_worked_out_by_hand() {
        // Mean 3, deviation √2.5, t of four degrees of freedom 2.776.
        let s = Summary::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(s.mean, Some(3.0));
        let half = 2.776 * (2.5f64 / 5.0).sqrt();
        assert!((s.high.unwrap() - 3.0 - half).abs() < 1e-12);
        assert_eq!(
            (s.min, s.max, s.runs, s.never),
            (Some(1.0), Some(5.0), 5, 0)
        );

        let one = Summary::of(&[7.0]);
        assert_eq!((one.mean, one.low, one.high), (Some(7.0), None, None));
        let never = Summary::of(&[f64::INFINITY, 2.0]);
        assert_eq!((never.mean, never.runs, never.never), (Some(2.0), 1, 1));
        assert_eq!(Summary::of(&[]).mean, None);
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        let values = sorted([4.0, 1.0, 3.0, 2.0]);
        let of = |share| percentile(&values, share);
        assert_eq!(
            [of(0.0), of(0.25), of(0.5), of(0.51), of(1.0)],
            [1.0, 1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    /// Of many small samples of a normal distribution, 95 % of the intervals hold its mean.
    #[test]
    fn intervals_hold_the_mean_as_often_as_they_say() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for n in [2, 3, 10, 50] {
            let trials = 4000;
            let held = (0..trials).filter(|_| {
                // The sum of twelve even draws is near enough to normal.
                let mut draw = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                let values: Vec<f64> = (0..n).map(|_| draw()).collect();
                let s = Summary::of(&values);
                s.low.unwrap() <= 0.0 && 0.0 <= s.high.unwrap()
            });
            let share = held.count() as f64 / f64::from(trials);
            assert!((0.935..0.965).contains(&share), "{n}: {share}");
        }
    }

    proptest! {
        #[test]
        fn t_falls_towards_the_normal(freedom in 1usize..2000) {
            prop_assert!(t95(freedom) >= t95(freedom + 1));
            prop_assert!(t95(freedom) >= 1.96 && t95(freedom) <= 12.706);
        }

        #[test]
        fn a_summary_is_in_order(values in prop::collection::vec(-1e6f64..1e6, 2..60)) {
            let s = Summary::of(&values);
            let [low, mean, high] = [s.low, s.mean, s.high].map(Option::unwrap);
            prop_assert!(low <= mean && mean <= high);
            prop_assert!(s.min.unwrap() <= mean + 1e-6 && mean - 1e-6 <= s.max.unwrap());
            prop_assert!(((high - mean) - (mean - low)).abs() < 1e-6);
        }

        #[test]
        fn shifting_and_stretching_carry_over(
            values in prop::collection::vec(-1e3f64..1e3, 2..20), by in 0.1f64..100.0, add in -1e3f64..1e3,
        ) {
            let before = Summary::of(&values);
            let moved: Vec<f64> = values.iter().map(|v| v * by + add).collect();
            let after = Summary::of(&moved);
            for (a, b) in [(before.mean, after.mean), (before.low, after.low), (before.high, after.high)] {
                prop_assert!((a.unwrap() * by + add - b.unwrap()).abs() < 1e-6);
            }
        }

        #[test]
        fn a_percentile_splits_the_values(values in prop::collection::vec(0f64..100.0, 1..50), share in 0f64..=1.0) {
            let values = sorted(values);
            let p = percentile(&values, share);
            let not_above = values.iter().filter(|v| **v <= p).count() as f64;
            let below = values.iter().filter(|v| **v < p).count() as f64;
            let n = values.len() as f64;
            prop_assert!(not_above >= share * n - 1e-9);
            prop_assert!(below < share * n + 1e-9 || below == 0.0);
        }
    }
}
