//! Hops that claim to have carried more than this node has counted. Not here: what is counted and
//! what is too much of a claim (the settlement protocol), and the ban of a hop that goes on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::graph::NodeKey;
use super::scores::Judgement;

/// Time after which half of what a claim weighs is forgotten. A guess: one claim that has a harmless
/// cause costs a hop half an hour, one in each of them all of its custom.
const HALF_LIFE: Duration = Duration::from_secs(1_800);
/// With more than this, counted in claims, a hop is used only where nothing else is left: one claim,
/// for one half-life.
const UNFIT: f64 = 0.5;
/// What one claim costs, in milliseconds of waiting: four failed set-ups. A guess.
const COST: f64 = 20_000.0;
/// Claims within this time of each other are one: each circuit brings one with each report round,
/// every half a minute.
const ONE_CLAIM: Duration = Duration::from_secs(60);
/// The claim with which a hop is dropped.
const DROPPED_WITH: u32 = 3;
/// Without a claim for so long, those before are not counted any more.
const FORGIVEN_AFTER: Duration = Duration::from_secs(86_400);
/// Most hops remembered. As for scores.
const MAX_HOPS: usize = 4_096;

/// What a claim does to the hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispute {
    /// It is used only where nothing else is left, for this long.
    Avoided(Duration),
    /// It has done so time and again, and is to be used no more.
    Dropped,
}

#[derive(Debug, Clone, Copy)]
struct Claims {
    times: u32,
    weight: f64,
    last: Instant,
}

impl Claims {
    fn weight(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.weight * (-passed / HALF_LIFE.as_secs_f64()).exp2()
    }

    fn avoided_for(&self, now: Instant) -> Option<Duration> {
        let half_lives = (self.weight(now) / UNFIT).log2();
        (half_lives > 0.0).then(|| HALF_LIFE.mul_f64(half_lives))
    }
}

/// The claims of all hops.
#[derive(Clone, Default)]
pub(super) struct Disputes(HashMap<NodeKey, Claims>);

impl Disputes {
    /// A hop claims too much.
    pub(super) fn claimed(&mut self, hop: NodeKey, now: Instant) -> Dispute {
        if self.0.len() >= MAX_HOPS && !self.0.contains_key(&hop) {
            let oldest = self.0.iter().min_by_key(|(_, claims)| claims.last);
            let oldest = oldest.map(|(hop, _)| *hop);
            oldest.and_then(|hop| self.0.remove(&hop));
        }
        let first = Claims {
            times: 1,
            weight: 1.0,
            last: now,
        };
        let since = |claims: &Claims| now.saturating_duration_since(claims.last);
        let claims = self.0.entry(hop).and_modify(|claims| match since(claims) {
            passed if passed < ONE_CLAIM => {}
            passed if passed >= FORGIVEN_AFTER => *claims = first,
            _ => {
                *claims = Claims {
                    times: claims.times.saturating_add(1),
                    weight: claims.weight(now) + 1.0,
                    last: now,
                }
            }
        });
        let claims = claims.or_insert(first);
        if claims.times >= DROPPED_WITH {
            return Dispute::Dropped;
        }
        Dispute::Avoided(claims.avoided_for(now).unwrap_or_default())
    }

    /// How much longer a hop is avoided.
    pub(super) fn avoided_for(&self, hop: &NodeKey, now: Instant) -> Option<Duration> {
        self.0.get(hop).and_then(|claims| claims.avoided_for(now))
    }

    /// What a hop's claims say of it.
    pub(super) fn judge(&self, hop: &NodeKey, now: Instant) -> Judgement {
        let weight = self.0.get(hop).map_or(0.0, |claims| claims.weight(now));
        Judgement {
            cost: weight * COST,
            unfit: weight > UNFIT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: NodeKey = [1; 32];

    #[test]
    fn s28_one_claim_is_forgiven_and_repeated_ones_are_not() {
        let (start, mut disputes) = (Instant::now(), Disputes::default());
        assert_eq!(disputes.judge(&HOP, start).cost, 0.0);
        let first = disputes.claimed(HOP, start);
        assert_eq!(first, Dispute::Avoided(HALF_LIFE));
        assert!(disputes.judge(&HOP, start).unfit);
        assert!(!disputes.judge(&[2; 32], start).unfit);
        // The same claim on other circuits, and in the next round.
        for seconds in [0, 10, 30, 59] {
            let now = start + Duration::from_secs(seconds);
            assert!(matches!(disputes.claimed(HOP, now), Dispute::Avoided(_)));
        }
        let soon = start + HALF_LIFE / 2;
        assert!(disputes.judge(&HOP, soon).unfit);
        let later = start + HALF_LIFE + Duration::from_secs(1);
        assert!(!disputes.judge(&HOP, later).unfit);
        assert!(disputes.judge(&HOP, later).cost > 5_000.0);
        assert_eq!(disputes.avoided_for(&HOP, later), None);

        let second = disputes.claimed(HOP, later);
        assert!(matches!(second, Dispute::Avoided(time) if time > HALF_LIFE));
        let third = disputes.claimed(HOP, later + ONE_CLAIM);
        assert_eq!(third, Dispute::Dropped);
        let day = later + ONE_CLAIM + FORGIVEN_AFTER;
        assert!(disputes.judge(&HOP, day).cost < 1.0);
        assert_eq!(disputes.claimed(HOP, day), Dispute::Avoided(HALF_LIFE));
    }

    #[test]
    fn hops_are_bounded_and_the_oldest_claim_goes() {
        let (start, mut disputes) = (Instant::now(), Disputes::default());
        for n in 0..MAX_HOPS as u64 + 10 {
            let mut hop = [0; 32];
            hop[..8].copy_from_slice(&n.to_le_bytes());
            disputes.claimed(hop, start + Duration::from_millis(n));
        }
        assert_eq!(disputes.0.len(), MAX_HOPS);
        assert!(!disputes.judge(&[0; 32], start).unfit);
    }
}
