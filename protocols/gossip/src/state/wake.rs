//! Waking up: the machine under this node was suspended, stood still, or is on another network
//! now. What was known of the links and of who can be reached is worth nothing until it is
//! proven anew. How that is noticed is the host's matter.

use std::time::Duration;

use super::{ConnId, Machine, Now};

/// A link from which nothing is heard within this time of waking up is dead. Guess: a round trip
/// on a network that is just coming up; less than half of what a silent link has otherwise.
const PROOF: Duration = Duration::from_secs(5);

impl Machine {
    /// Time went by in which nothing was done, or this node's addresses are others now. Every link is
    /// pinged at once and must be heard within five seconds; seeds and past neighbours may be tried
    /// again at once; more neighbours are looked for now; and a record that is running out is
    /// renewed. Harmless when nothing was amiss.
    pub fn wake_up(&mut self, now: Now) {
        self.now = now;
        if self.stopping {
            return;
        }
        let links: Vec<ConnId> = self.links.values().copied().collect();
        for id in links {
            self.demand_proof(id);
        }
        self.book.forget_pauses();
        self.timers.seek_pause = self.config.timing.seek_first;
        self.timers.seek = now.mono;
        if self.own_record_runs_out() {
            self.publish();
        }
        // Records of others may have run out too, and with them the route.
        self.spread.topology_changed(now.mono);
        self.seek();
        self.flush();
    }

    /// Pings, and leaves no more than [`PROOF`] for any sign of life.
    fn demand_proof(&mut self, id: ConnId) {
        let heard = (self.now.mono + PROOF).saturating_sub(self.config.timing.dead_after);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.last_heard = conn.last_heard.min(heard);
            self.ping(id);
        }
    }

    fn own_record_runs_out(&self) -> bool {
        let half = self.config.timing.record_life.as_secs() / 2;
        let own = self.neighbourhood();
        own.own().record().expires <= self.now.unix + half
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, address, config, keys};
    use super::super::{Input, Output};
    use super::*;
    use crate::event::{DownReason, Event, Remembered, SeedFailure};
    use crate::key::NodeKey;
    use crate::wire::Message;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(n: u16) -> NodeKey {
        NodeKey::from(&keys(n).public())
    }

    fn pings(outputs: &[Output]) -> Vec<(ConnId, u64)> {
        let ping = |output: &Output| match output {
            Output::Send(conn, Message::Ping(nonce)) => Some((*conn, *nonce)),
            _ => None,
        };
        outputs.iter().filter_map(ping).collect()
    }

    fn dials(outputs: &[Output]) -> Vec<NodeKey> {
        let dial = |output: &Output| match output {
            Output::Dial { peer, .. } => Some(*peer),
            _ => None,
        };
        outputs.iter().filter_map(dial).collect()
    }

    fn downs(outputs: &[Output]) -> Vec<(NodeKey, DownReason)> {
        let down = |output: &Output| match output {
            Output::Event(Event::NeighbourDown { node, reason, .. }) => Some((*node, *reason)),
            _ => None,
        };
        outputs.iter().filter_map(down).collect()
    }

    /// Time passes without a sign of life from anybody.
    fn silence(bench: &mut Bench, time: Duration) -> Vec<Output> {
        bench.now.mono += time;
        bench.now.unix += time.as_secs();
        bench.machine.on_timeout(bench.now);
        bench.outputs()
    }

    #[test]
    fn links_must_prove_that_they_are_alive_and_soon() {
        let mut bench = Bench::new(config());
        bench.pass(30 * SECOND);
        bench.neighbour(1);
        bench.neighbour(2);
        bench.pass(SECOND);

        // The machine slept: the wall clock went on, the other one did not.
        bench.now.unix += 3_600;
        bench.machine.wake_up(bench.now);
        let pings = pings(&bench.outputs());
        assert_eq!(pings.len(), 2, "each once");
        let of_one = pings.iter().find(|(conn, _)| *conn == ConnId(1)).unwrap();
        bench.message(1, Message::Pong(of_one.1));
        assert!(bench.machine.poll_timeout() <= bench.now.mono + PROOF);
        assert_eq!(downs(&silence(&mut bench, PROOF - SECOND / 2)), []);
        let down = downs(&silence(&mut bench, SECOND / 2));
        assert_eq!(down, [(peer(2), DownReason::Silent)]);
        // Whoever answered has its usual time again.
        assert!(bench.machine.links.contains_key(&peer(1)));
    }

    #[test]
    fn a_link_that_was_silent_already_is_not_given_more_time() {
        let mut bench = Bench::new(config());
        bench.pass(30 * SECOND);
        bench.neighbour(1);
        silence(&mut bench, 10 * SECOND);
        bench.machine.wake_up(bench.now);
        bench.outputs();
        let down = downs(&silence(&mut bench, 2 * SECOND));
        assert_eq!(down, [(peer(1), DownReason::Silent)]);
    }

    #[test]
    fn past_neighbours_are_tried_again_without_a_pause() {
        let remembered = vec![Remembered {
            node: peer(7),
            addresses: vec![address("20.7.0.1:4000")],
            last_seen: 0,
        }];
        let mut bench = Bench::remembering(config(), remembered);
        assert_eq!(dials(&bench.outputs()), [peer(7)]);
        let fail = |bench: &mut Bench| {
            let why = SeedFailure::Unreachable;
            let input = Input::DialFailed { peer: peer(7), why };
            bench.machine.handle(bench.now, input);
            bench.outputs();
        };
        // By now the pauses are long.
        fail(&mut bench);
        for _ in 0..6 {
            while dials(&silence(&mut bench, SECOND / 2)).is_empty() {}
            fail(&mut bench);
        }
        assert_eq!(dials(&silence(&mut bench, 5 * SECOND)), []);
        bench.machine.wake_up(bench.now);
        assert_eq!(dials(&bench.outputs()), [peer(7)]);
    }

    #[test]
    fn a_record_that_ran_out_is_renewed_and_a_fresh_one_is_not() {
        let mut bench = Bench::new(config());
        bench.pass(SECOND);
        let version = |bench: &Bench| bench.machine.neighbourhood().own().record().version;
        let before = version(&bench);
        bench.now.unix += 30;
        bench.machine.wake_up(bench.now);
        assert_eq!(version(&bench), before);
        bench.now.unix += 7_200;
        bench.machine.wake_up(bench.now);
        let own = bench.machine.neighbourhood();
        assert!(own.own().record().version > before);
        assert!(own.own().record().expires > bench.now.unix);
    }

    #[test]
    fn a_node_that_stops_does_not_wake_up() {
        let mut bench = Bench::new(config());
        bench.machine.shutdown(bench.now);
        bench.outputs();
        bench.machine.wake_up(bench.now);
        assert!(bench.outputs().is_empty());
    }
}
