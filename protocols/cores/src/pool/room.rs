//! Room for another circuit: which hop had none, and which of the pool's own circuits that it
//! carries makes way.

use std::sync::Arc;
use std::time::Duration;

use masq_onion::NodeKey;
use tokio::time::{Instant, timeout};

use super::Inner;
use super::state::{Entry, State};
use crate::close::CloseReason;
use crate::failure::FailureCode;
use crate::origin::{CircuitHandle, LaunchError, Route};

/// Circuits that make way for one, at most: a place that is free again may be taken by another
/// that is being built, which then has what it wants. Guess.
pub(super) const WAYS: u32 = 16;

/// How long the end of a circuit that makes way is waited for. It takes one round; a hop that
/// does not answer holds its place for longer, and is not waited for. Guess.
const GIVE_WAY: Duration = Duration::from_secs(5);

/// How often those who wait for room look whether there is some: that the last flow of a circuit
/// has ended is told to nobody. Guess.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(100);

/// Whether there is room for one more circuit in the pool.
pub(super) enum Room {
    /// There is.
    There,
    /// There will be when this one is over.
    After(CircuitHandle),
    /// All that are there are in use.
    None,
}

/// What comes of asking one to make way.
enum Way {
    /// This one does.
    Given(CircuitHandle),
    /// All are in use, and may not be for long.
    Later,
    /// None will.
    None,
}

/// Where a circuit found no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// This exit takes no more, in all or over the link from the hop before.
    Exit { before: NodeKey, exit: NodeKey },
    /// This link, in either direction.
    Link(NodeKey, NodeKey),
}

impl Full {
    /// Where there was none, by the word of a hop.
    pub(super) fn of(route: &Route, reason: &CloseReason) -> Option<Self> {
        let CloseReason::Failed(failure) = reason else {
            return None;
        };
        let (a, b) = failure.edge;
        match failure.code {
            FailureCode::Overloaded => (route.exit() == Some(failure.node)).then_some(Self::Exit {
                before: a,
                exit: failure.node,
            }),
            FailureCode::NextOverloaded => Some(Self::Link(a, b)),
            _ => None,
        }
    }

    /// Where there was none, at this node's own links.
    pub(super) fn of_launch(me: NodeKey, route: &Route, error: &LaunchError) -> Option<Self> {
        let end = match error {
            LaunchError::Link(FailureCode::Overloaded) => route.over.first(),
            LaunchError::Home(FailureCode::Overloaded) => route.back.last().or(route.over.last()),
            _ => None,
        };
        Some(Self::Link(me, end?.node))
    }

    /// Whether a circuit on this route takes a place there. Lower is likelier to be the one that
    /// is missing: an exit that is full over one link may have room over others.
    fn on(&self, me: NodeKey, route: &Route) -> Option<u8> {
        let path = route.path(me);
        let crosses = |a: &NodeKey, b: &NodeKey| {
            let mut steps = path.windows(2);
            steps.any(|step| (step[0], step[1]) == (*a, *b) || (step[0], step[1]) == (*b, *a))
        };
        match self {
            Self::Exit { before, exit } if route.exit() == Some(*exit) => {
                let last = route.over.len().checked_sub(1)?;
                // The path begins with the origin.
                Some(u8::from(path[last] != *before))
            }
            Self::Exit { .. } => None,
            Self::Link(a, b) => crosses(a, b).then_some(0),
        }
    }
}

impl State {
    /// A circuit that takes a place there and carries nothing: one that somebody had before those
    /// that nobody has yet, as they would be built again at once.
    fn gives_way(&self, me: NodeKey, full: &Full) -> Option<usize> {
        let fits = |e: &Entry| e.flows() == 0 && full.on(me, e.circuit.route()).is_some();
        let rank = |e: &Entry| (e.isolation.is_none(), full.on(me, e.circuit.route()));
        self.longest_unused(fits, rank)
    }

    /// Whether any circuit of the pool takes a place there, or one of those that are being built
    /// beside the one that asks may.
    fn takes_places(&self, me: NodeKey, full: &Full) -> bool {
        if self.building.len() > 1 || self.warming > 0 {
            return true;
        }
        let mut routes = self.running.values().map(|running| running.circuit.route());
        routes.any(|route| full.on(me, route).is_some())
    }
}

impl Inner {
    /// Closes a circuit that takes a place there, if there is one that carries nothing.
    fn give_way(&self, full: &Full, until: Option<Instant>) -> Way {
        let me = self.cores.node();
        let mut state = self.state();
        if state.closed {
            return Way::None;
        }
        if let Some(entry) = state.gives_way(me, full) {
            return Way::Given(state.close(entry));
        }
        let patient = until.is_some_and(|until| Instant::now() < until);
        if patient && state.takes_places(me, full) {
            Way::Later
        } else {
            Way::None
        }
    }

    /// Waits until there may be room.
    pub(super) async fn room(&self) {
        let _ = timeout(LOOK_FOR_ROOM, self.freed.notified()).await;
    }
}

/// Closes a circuit that takes a place where there is none left, and waits for its end. Where all
/// of them are in use, one is waited for until `until`, if that is given. Says whether there is
/// reason to try again.
pub(super) async fn make_way(inner: &Arc<Inner>, full: &Full, until: Option<Instant>) -> bool {
    loop {
        match inner.give_way(full, until) {
            Way::Given(circuit) => {
                until_over(circuit).await;
                return true;
            }
            Way::Later => inner.room().await,
            Way::None => return false,
        }
    }
}

/// Waits until a circuit has given its places back.
pub(super) async fn until_over(mut circuit: CircuitHandle) {
    let _ = timeout(GIVE_WAY, circuit.over()).await;
}

#[cfg(test)]
mod tests {
    use masq_onion::OnionPublic;

    use super::*;
    use crate::failure::CircuitFailure;
    use crate::origin::RouteHop;

    const ME: NodeKey = NodeKey([0; 32]);

    fn key(n: u8) -> NodeKey {
        NodeKey([n; 32])
    }

    fn route(over: &[u8], back: &[u8]) -> Route {
        let hop = |n: &u8| RouteHop {
            node: key(*n),
            onion: OnionPublic([0; 32]),
        };
        Route {
            over: over.iter().map(hop).collect(),
            back: back.iter().map(hop).collect(),
        }
    }

    fn said(route: &Route, hop: usize, code: FailureCode) -> Option<Full> {
        let failure = CircuitFailure::locate(&route.path(ME), hop, code).unwrap();
        Full::of(route, &CloseReason::Failed(failure))
    }

    #[test]
    fn want_of_room_is_where_it_was_said_to_be() {
        let way = route(&[1, 2, 3], &[4, 1]);
        let exit = Full::Exit {
            before: key(2),
            exit: key(3),
        };
        assert_eq!(said(&way, 2, FailureCode::Overloaded), Some(exit));
        // A relay that can't remember another set-up is not helped by the end of one.
        assert_eq!(said(&way, 1, FailureCode::Overloaded), None);
        let link = said(&way, 3, FailureCode::NextOverloaded);
        assert_eq!(link, Some(Full::Link(key(4), key(1))));
        assert_eq!(said(&way, 3, FailureCode::NextUnreachable), None);
        assert_eq!(Full::of(&way, &CloseReason::SetupTimeout), None);

        let full = FailureCode::Overloaded;
        let at_launch = |error| Full::of_launch(ME, &way, &error);
        let own = Some(Full::Link(ME, key(1)));
        assert_eq!(at_launch(LaunchError::Link(full)), own);
        assert_eq!(at_launch(LaunchError::Home(full)), own);
        assert_eq!(at_launch(LaunchError::TooMany), None);
    }

    #[test]
    fn circuits_take_places_at_their_exit_and_on_their_links() {
        let exit = Full::Exit {
            before: key(2),
            exit: key(3),
        };
        assert_eq!(exit.on(ME, &route(&[1, 2, 3], &[4, 1])), Some(0));
        assert_eq!(exit.on(ME, &route(&[1, 4, 3], &[2, 1])), Some(1));
        assert_eq!(exit.on(ME, &route(&[3], &[])), Some(1));
        assert_eq!(exit.on(ME, &route(&[1, 3, 2], &[4, 1])), None);
        let link = Full::Link(key(3), key(4));
        assert_eq!(link.on(ME, &route(&[1, 2, 3], &[4, 1])), Some(0));
        assert_eq!(link.on(ME, &route(&[1, 4, 3], &[2, 1])), Some(0));
        assert_eq!(link.on(ME, &route(&[1, 4, 2], &[3, 1])), None);
        let own = Full::Link(ME, key(1));
        assert_eq!(own.on(ME, &route(&[5, 2, 3], &[4, 1])), Some(0));
        assert_eq!(own.on(ME, &route(&[5, 2, 3], &[4, 5])), None);
    }
}
