//! Which way would a circuit go? Builds the graph of a small mesh by hand and
//! asks routing, which is pure: no network, no clock and no daemon.

#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::error::Error;
use std::time::Instant;

use masq::routing::{Graph, HopRange, NodeInfo, NodeKey, Request, Scores, choose};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const NAMES: [&str; 8] = [
    "me", "entry", "ann", "bob", "cleo", "dan", "exit-1", "exit-2",
];

fn key(index: usize) -> NodeKey {
    let mut key = [0; 32];
    key[0] = u8::try_from(index).expect("eight nodes");
    key
}

fn name(node: &NodeKey) -> &'static str {
    NAMES[usize::from(node[0])]
}

fn main() -> Result<(), Box<dyn Error>> {
    // Listed edges; the link from `me` to `entry` is an entry link, so it is not among them.
    let edges = [
        (1, 2),
        (1, 3),
        (1, 4),
        (2, 6),
        (3, 6),
        (3, 5),
        (4, 7),
        (5, 7),
        (2, 5),
    ];
    let mut builder = Graph::builder(key(0)).entry(key(1));
    for index in 0..NAMES.len() {
        let degree = edges
            .iter()
            .filter(|(a, b)| *a == index || *b == index)
            .count();
        let info = NodeInfo {
            routes: true,
            exits: index >= 6,
            listed_links: u8::try_from(degree)?,
            ..NodeInfo::default()
        };
        builder = builder.node(key(index), info);
    }
    for (a, b) in edges {
        builder = builder.edge(key(a), key(b));
    }
    let graph = builder.build();

    let request = Request::new(HopRange::exactly(3)?);
    let scores = Scores::new([0; 16]);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for _ in 0..5 {
        let route = choose(&graph, &request, &scores, Instant::now(), &mut rng)?;
        let over: Vec<_> = route.over.iter().map(name).collect();
        let back: Vec<_> = route.back.iter().map(name).collect();
        println!("me -> {} -> {} -> me", over.join(" -> "), back.join(" -> "));
        assert_eq!(route.over.len(), 3);
        assert_eq!((route.over[0], route.back.last()), (key(1), Some(&key(1))));
    }
    Ok(())
}
