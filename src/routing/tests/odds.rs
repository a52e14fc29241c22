//! The listed odds against the frequencies of real choices.

use std::collections::HashMap;
use std::time::Instant;

use super::super::odds;
use super::*;

#[test]
fn odds_are_the_frequencies_of_the_choice() {
    const DRAWS: u32 = 20_000;
    for (seed, request) in [
        (1, Request::new(hops(3))),
        (2, plain(3)),
        (3, Request::new(HopRange::new(2, 3).unwrap())),
    ] {
        let (graph, scores, now) = (Mesh::random(seed, 40, 1).graph(), scores(), Instant::now());
        let listed = odds(&graph, &request, &scores, now).unwrap();
        let sum: f64 = listed.iter().map(|likely| likely.probability).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        let mut seen: HashMap<(Vec<NodeKey>, Vec<NodeKey>), u32> = HashMap::new();
        let mut rng = rng(seed);
        for _ in 0..DRAWS {
            let chosen = choose(&graph, &request, &scores, now, &mut rng).unwrap();
            *seen.entry((chosen.over, chosen.back)).or_default() += 1;
        }
        let mut drawn = 0;
        for likely in &listed {
            let route = (likely.over.clone(), likely.back.clone());
            let count = seen.get(&route).copied().unwrap_or(0);
            drawn += count;
            let expected = likely.probability * f64::from(DRAWS);
            // Five standard deviations of a count.
            let slack = 5.0 * expected.sqrt().max(1.0);
            assert!(
                (f64::from(count) - expected).abs() < slack,
                "seed {seed}: {count} instead of {expected}"
            );
        }
        assert_eq!(drawn, DRAWS, "a route was drawn that is not listed");
    }
}

#[test]
fn where_nothing_can_be_chosen_there_are_no_odds() {
    let (graph, scores, now) = (Mesh::line(4).graph(), scores(), Instant::now());
    let request = plain(3);
    assert_eq!(
        odds(&graph, &request, &scores, now).err(),
        choose(&graph, &request, &scores, now, &mut rng(1)).err()
    );
}
