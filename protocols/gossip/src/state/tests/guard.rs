//! Keeping the entry neighbour: who has led somewhere is kept, who has been known for long comes first.
//! Routes have one hop here, so that whoever is an exit leads somewhere.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn key(n: u16) -> NodeKey {
    NodeKey::from(&keys(n).public())
}

/// Neighbour `n` says whether it is an exit.
fn say(bench: &mut Bench, n: u16, exits: bool) -> Vec<Output> {
    let record = SignedRecord::parse(&bench.record(n)).unwrap();
    let mut record: Record = (*record.record()).clone();
    record.roles.exits = exits;
    let bytes = record.sign(&keys(n)).unwrap().bytes().to_vec();
    bench.message(n.into(), Message::Records(vec![bytes.into()]))
}

/// Time passes; every question for an entry link is granted, but none of `refusing`. Gives who was
/// asked, and to whom one was given back.
fn pass(bench: &mut Bench, time: Duration, refusing: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let (mut asked, mut released) = (vec![], vec![]);
    let end = bench.now.mono + time;
    while bench.now.mono < end {
        for output in bench.pass(SECOND / 2) {
            match output {
                Output::Send(ConnId(n), Message::EntryAsk { insist }) => {
                    asked.push(n);
                    assert!(
                        insist || bench.now.mono < 10 * MINUTE,
                        "a settled node insists"
                    );
                    let granted = !refusing.contains(&n);
                    bench.message(n, Message::EntryReply { granted });
                }
                Output::Send(ConnId(n), Message::EntryRelease) => released.push(n),
                _ => {}
            }
        }
    }
    (asked, released)
}

fn entries(bench: &Bench) -> Vec<u64> {
    let own = bench.machine.each_link().filter(|(_, _, link)| link.ours);
    let mut own: Vec<u64> = own.map(|(id, _, _)| id.0).collect();
    own.sort_unstable();
    own
}

/// A node that has been there for a while: its entry neighbour is node 1, an exit; 2 is none. With
/// so few links it gives none up for want of a route.
fn settled() -> Bench {
    let mut config = config();
    config.min_hops = 1;
    let mut bench = Bench::new(config);
    bench.chosen_neighbour(1);
    bench.pass(SECOND);
    say(&mut bench, 1, true);
    pass(&mut bench, 5 * SECOND, &[]);
    bench.neighbour(2);
    pass(&mut bench, 11 * MINUTE, &[]);
    assert_eq!(entries(&bench), [1]);
    assert_eq!(bench.machine.stage(), Stage::RouteFound);
    bench
}

#[test]
fn who_led_somewhere_is_kept_beside_another_and_returned_to() {
    let mut bench = settled();
    say(&mut bench, 2, true);
    say(&mut bench, 1, false);
    let (asked, released) = pass(&mut bench, 5 * SECOND, &[]);
    assert_eq!((asked, released), (vec![2], vec![]));
    assert_eq!(entries(&bench), [1, 2]);
    assert_eq!(bench.machine.stage(), Stage::RouteFound);

    pass(&mut bench, 10 * MINUTE, &[]);
    assert_eq!(entries(&bench), [1, 2], "it is waited for");
    say(&mut bench, 1, true);
    let (asked, released) = pass(&mut bench, 20 * SECOND, &[]);
    assert_eq!((asked, released), (vec![], vec![2]));
    assert_eq!(entries(&bench), [1]);
}

#[test]
fn who_leads_nowhere_for_half_an_hour_is_given_up() {
    let mut bench = settled();
    say(&mut bench, 2, true);
    say(&mut bench, 1, false);
    let mut released = vec![];
    for minute in 0..31 {
        assert_eq!(released.len(), usize::from(minute > 30), "minute {minute}");
        released.extend(pass(&mut bench, MINUTE, &[]).1);
        say(&mut bench, 2, true);
        say(&mut bench, 1, false);
    }
    assert_eq!(released, [1]);
    assert_eq!(entries(&bench), [2]);
}

#[test]
fn who_came_lately_is_asked_last_and_not_at_once() {
    let mut bench = settled();
    bench.chosen_neighbour(4);
    bench.pass(SECOND);
    say(&mut bench, 4, true);
    say(&mut bench, 1, false);
    let (asked, _) = pass(&mut bench, 15 * SECOND, &[]);
    assert_eq!(asked, [] as [u64; 0], "the old one may come back");
    let (asked, _) = pass(&mut bench, 10 * SECOND, &[]);
    assert_eq!(asked, [4], "better than nothing");
    assert_eq!(entries(&bench), [1, 4]);
}

#[test]
fn a_lost_entry_neighbour_is_followed_by_whom_one_has_known_for_longest() {
    let mut bench = settled();
    bench.chosen_neighbour(4);
    bench.pass(SECOND);
    say(&mut bench, 4, true);
    say(&mut bench, 2, true);
    pass(&mut bench, 5 * SECOND, &[]);
    bench.message(1, Message::Goodbye(Farewell::Leaving));
    assert!(!bench.machine.links.contains_key(&key(1)));
    let (asked, _) = pass(&mut bench, 5 * SECOND, &[]);
    assert_eq!(asked, [2]);
    assert_eq!(entries(&bench), [2]);
}

#[test]
fn a_stranger_waits_even_when_there_is_no_entry_link() {
    let mut bench = settled();
    bench.chosen_neighbour(4);
    bench.pass(SECOND);
    say(&mut bench, 4, true);
    bench.message(1, Message::Goodbye(Farewell::Leaving));
    let (asked, _) = pass(&mut bench, 8 * SECOND, &[]);
    assert_eq!(asked, [] as [u64; 0]);
    let (asked, _) = pass(&mut bench, 4 * SECOND, &[]);
    assert_eq!(asked, [4]);
}

#[test]
fn a_settled_node_does_not_move_to_whoever_asks_it() {
    let mut bench = settled();
    pass(&mut bench, 10 * MINUTE, &[]);
    for n in [1, 2] {
        say(&mut bench, n, true);
    }
    bench.message(2, Message::EntryAsk { insist: true });
    let (asked, released) = pass(&mut bench, 5 * MINUTE, &[]);
    assert_eq!((asked, released), (vec![], vec![]));
    assert_eq!(entries(&bench), [1]);
}
