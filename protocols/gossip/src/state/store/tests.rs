//! The store by itself.

use std::sync::Mutex;

use libp2p::identity::ed25519;

use super::*;
use crate::chain::Chain;
use crate::record::{MAX_LISTED, RatePack, Record, Roles};

const ATTACKER: Option<ConnId> = Some(ConnId(1));
const HONEST: Option<ConnId> = Some(ConnId(2));

fn keys(n: u16) -> ed25519::Keypair {
    let mut secret = [7u8; 32];
    secret[..2].copy_from_slice(&n.to_be_bytes());
    ed25519::SecretKey::try_from_bytes(secret).unwrap().into()
}

/// Making keys takes most of the time of these tests.
fn key(n: u16) -> NodeKey {
    static KEYS: Mutex<BTreeMap<u16, NodeKey>> = Mutex::new(BTreeMap::new());
    let mut known = KEYS.lock().unwrap();
    *known
        .entry(n)
        .or_insert_with(|| NodeKey::from(&keys(n).public()))
}

fn record(n: u16, neighbours: &[u16]) -> Arc<SignedRecord> {
    let mut neighbours: Vec<NodeKey> = neighbours.iter().map(|n| key(*n)).collect();
    neighbours.sort();
    let record = Record {
        chain: Chain::Dev,
        node: key(n),
        onion: [1; 32],
        previous_onion: None,
        version: 1,
        earning_wallet: [0; 20],
        rates: RatePack::default(),
        roles: Roles {
            routes: true,
            exits: false,
            accepts_connections: true,
        },
        policy: String::new(),
        country: None,
        neighbours,
        issued: 1000,
        expires: 2000,
    };
    Arc::new(record.sign(&keys(n)).unwrap())
}

fn sweep(store: &mut Store) {
    let grace = Duration::from_secs(60);
    store.survey(Vec::new(), Duration::ZERO, 1000, grace);
}

fn fill(store: &mut Store, nodes: std::ops::Range<u16>, by: Option<ConnId>) {
    for n in nodes {
        let now = Duration::from_millis(n.into());
        let insert = store.insert(record(n, &[]), by, now);
        assert!(matches!(insert, Insert::Taken { .. }));
    }
}

#[test]
fn one_connections_orphans_push_out_its_own_only() {
    let mut store = Store::new(key(0), 4);
    store.insert(record(0, &[1, 2]), None, Duration::ZERO);
    sweep(&mut store);
    fill(&mut store, 10..20, HONEST);
    fill(
        &mut store,
        100..100 + 3 * MAX_ORPHANS_PER_CONN as u16,
        ATTACKER,
    );
    assert!((10..20).all(|n| store.get(&key(n)).is_some()));
    assert_eq!(store.orphans_by()[&ATTACKER], MAX_ORPHANS_PER_CONN);
    // The oldest went first.
    assert!(store.get(&key(100)).is_none());
    assert!(
        store
            .get(&key(99 + 3 * MAX_ORPHANS_PER_CONN as u16))
            .is_some()
    );
    // What a reached record lists is let in over any bound, here the attacker's own.
    store.insert(record(1, &[]), ATTACKER, Duration::ZERO);
    assert!(store.get(&key(1)).is_some());
    assert_eq!(store.orphans_by()[&ATTACKER], MAX_ORPHANS_PER_CONN + 1);
    // What an edge leads to is no orphan at all.
    store.insert(record(2, &[0]), ATTACKER, Duration::ZERO);
    assert_eq!(store.distance(&key(2)), Some(1));
    let slot = store.slot(&key(2)).unwrap();
    assert!(store.orphans.iter().all(|(_, orphan)| *orphan != slot));
}

#[test]
fn when_all_places_are_taken_who_has_most_gives_way() {
    let mut store = Store::new(key(0), 4);
    let share = MAX_ORPHANS_PER_CONN as u16;
    for conn in 0u16..5 {
        let begin = 100 + conn * share;
        fill(
            &mut store,
            begin..begin + share,
            Some(ConnId(10 + u64::from(conn))),
        );
    }
    // Those of connections that are gone count together, and go first.
    store.forget_connection(ConnId(10));
    store.forget_connection(ConnId(11));
    let places = MAX_ORPHANS as u16;
    fill(&mut store, 1000..1000 + share, HONEST);
    assert_eq!(store.orphans.len(), MAX_ORPHANS);
    assert_eq!(store.orphans_by()[&HONEST], usize::from(share));
    assert_eq!(store.orphans_by()[&Some(ConnId(12))], usize::from(share));
    assert!(store.len() <= usize::from(places));
    assert!(store.get(&key(100)).is_none());
    // The counter agrees with what is there.
    assert_eq!(
        store.orphans.len(),
        store.orphans_by().values().sum::<usize>()
    );
}
/// A record with a version and roles of its own.
fn version(n: u16, neighbours: &[u16], version: u64) -> Arc<SignedRecord> {
    let mut record = record(n, neighbours).record().clone();
    record.version = version;
    record.roles.exits = version.is_multiple_of(3);
    record.roles.routes = !version.is_multiple_of(5);
    record.expires += version % 7;
    Arc::new(record.sign(&keys(n)).unwrap())
}

/// What the store keeps besides the records is what follows from the records.
fn check_copies(store: &Store) {
    let mut listing = BTreeSet::new();
    for (slot, stored) in (0..).zip(&store.slots) {
        let (vertex, facts) = (store.graph.vertex(slot), store.graph.facts(slot));
        let orphan = store.orphans.iter().any(|(_, orphan)| *orphan == slot);
        let Some(stored) = stored else {
            assert!(!orphan && vertex.distance.is_none() && vertex.edges.as_slice().is_empty());
            continue;
        };
        let record = &stored.record;
        assert_eq!(usize::from(vertex.lists), record.neighbours.len());
        assert_eq!(
            (vertex.routes, vertex.exits),
            (record.roles.routes, record.roles.exits)
        );
        assert_eq!(
            (facts.expires, facts.first),
            (record.expires, record.node().0[0])
        );
        assert!(record.hash().starts_with(&facts.hash));
        assert_eq!(orphan, vertex.distance.is_none());
        assert!(vertex.edges.same_as(&store.mutual_slots(record)));
        assert!(stored.heard.iter().all(|conn| store.talkers.contains(conn)));
        assert!(stored.by.is_none_or(|conn| store.talkers.contains(&conn)));
        if record.neighbours.contains(&key(0)) {
            listing.insert(record.node());
        }
    }
    assert_eq!(store.listing, listing);
    let (all, roomy) = store.room(2);
    let view = || store.in_view().map(|(_, stored)| &stored.record);
    let routing = || view().filter(|record| record.roles.routes);
    assert_eq!(all as usize, routing().count());
    let few = routing().filter(|record| record.neighbours.len() < 2);
    assert_eq!(roomy as usize, few.count());
    let others = || view().filter(|record| record.node() != key(0));
    assert_eq!(store.sees_exit(), others().any(|record| record.roles.exits));
}

fn measured(store: &Store) -> Vec<(Option<u8>, Option<u8>)> {
    let vertices = store.graph.vertices().iter();
    vertices
        .map(|vertex| (vertex.distance, vertex.told))
        .collect()
}

#[test]
fn whatever_comes_and_goes_measures_and_copies_are_right() {
    use rand::RngExt as _;
    use rand_core::SeedableRng as _;
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(5);
    let mut store = Store::new(key(0), 3);
    let grace = Duration::from_secs(4);
    let mut links: Vec<NodeKey> = Vec::new();
    let (mut measured_anew, mut mended) = (0, 0);
    for round in 1..400u64 {
        let now = Duration::from_secs(round / 4);
        for _ in 0..rng.random_range(0..3) {
            let n = rng.random_range(0..24u16);
            let mut neighbours: Vec<u16> = (1..=3u16)
                .filter(|_| rng.random_bool(0.8))
                .flat_map(|step| [(n + step) % 24, (n + 24 - step) % 24])
                .take(MAX_LISTED)
                .collect();
            neighbours.sort_unstable();
            neighbours.dedup();
            let from = Some(ConnId(rng.random_range(1..5)));
            store.insert(version(n, &neighbours, round), from, now);
            check_copies(&store);
        }
        if rng.random_bool(0.1) {
            store.remove(&key(rng.random_range(1..24)));
            store.forget_connection(ConnId(rng.random_range(1..5)));
            check_copies(&store);
        }
        if rng.random_bool(0.1) {
            links = vec![key(rng.random_range(1..24)), key(rng.random_range(1..24))];
        }
        // Nothing that was skipped would have come out otherwise.
        if store.stale || links != store.surveyed {
            measured_anew += 1;
        } else {
            mended += u32::from(!store.ends.is_empty());
        }
        let unix = if round % 50 == 0 { 2003 } else { 1500 };
        store.survey(links.clone(), now, unix, grace);
        check_copies(&store);
        if !store.stale && store.ends.is_empty() {
            let before = measured(&store);
            store.stale = true;
            store.survey(links.clone(), now, unix, grace);
            assert_eq!(measured(&store), before);
        }
    }
    assert!(measured_anew >= 50, "{measured_anew}");
    assert!(mended >= 100, "{mended}");
}
