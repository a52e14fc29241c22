//! The mean of some ratios, and how far off it may be.

use serde::Serialize;

use crate::simulate::gossip::stats::Summary;

/// A geometric mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Ratio {
    /// Of these ratios, each greater than zero; nothing when there are fewer than two.
    #[must_use]
    pub fn of(ratios: &[f64]) -> Option<Self> {
        if ratios.iter().any(|ratio| *ratio <= 0.0) {
            return None;
        }
        let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let Summary {
            mean, low, high, ..
        } = Summary::of(&logs);
        Some(Self {
            mean: mean?.exp(),
            low: low?.exp(),
            high: high?.exp(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_student() {
        // Logarithms 0, 0.1, 0.2: mean 0.1, deviation 0.1, error 0.05774, quantile 4.303.
        let ratio = Ratio::of(&[1.0, 0.1_f64.exp(), 0.2_f64.exp()]).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-4;
        assert!(close(ratio.mean, 0.1_f64.exp()));
        assert!(close(ratio.high, (0.1_f64 + 4.303 * 0.057_735).exp()));
        assert!(close(ratio.low, (0.1_f64 - 4.303 * 0.057_735).exp()));
        assert_eq!(Ratio::of(&[1.0]), None);
        assert_eq!(Ratio::of(&[1.0, 0.0]), None);
        let same = Ratio::of(&[1.5; 40]).unwrap();
        assert!(close(same.low, 1.5) && close(same.high, 1.5));
    }
}
