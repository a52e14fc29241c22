//! Routes: from what gossip made known to the loop that a new circuit takes.
//!
//! Pure: no I/O, no clock and no generator of its own. Here live the graph as
//! routing sees it ([`Graph`]), what is asked of a route ([`Request`]), the
//! local judgement of nodes, edges and hosts ([`Scores`]) and the choice
//! itself ([`choose`]). Not here: records and who is a neighbour (gossip),
//! building the circuit (cores), prices and debts (ledger).
//!
//! # The shape of a route
//!
//! A circuit is a loop. The **over leg** runs from the origin to the exit, the
//! **back leg** from the exit home. For three hops:
//!
//! ```text
//! over = [R1, R2, exit]      back = [R4, R3]      R1 and R3: entry neighbours
//! ```
//!
//! The number of hops counts the over leg with its exit. A back leg of a
//! circuit of `h` hops has `h - 1` relays. One hop is a special case: the
//! entry neighbour is the exit itself and the back leg is empty.
//!
//! Always true of a chosen route: it begins and ends on an entry link, every
//! other step is an edge that both its ends list, every relay routes, the exit
//! exits, no leg visits a node twice, and the origin is never inside.
//!
//! # What is preferred, and in which order it is given up
//!
//! Every loop that exists is looked at (a mesh of degree five has at most
//! 1,365 legs of up to six hops behind one entry link), within a budget that
//! only a malformed graph exceeds. The loops are put in classes by the
//! following list, where an earlier line outweighs all later ones, and the
//! route is drawn at random from the best class that is not empty:
//!
//! 1. nothing on it fails more often than not at present, has just refused
//!    for want of room time and again or has lately claimed to have carried more
//!    than was counted here, and the exit did not just fail for the same host
//!    ([`Scores`]);
//! 2. every hop but the entry neighbours is left with at least
//!    [`Request::suspect_floor`] possible origins, or, in a mesh too small for
//!    that, as many as any loop from one entry neighbour to itself leaves (so
//!    with one entry link this line never outweighs line 4);
//! 3. no entry neighbour stands anywhere but at the ends, so the exit is not
//!    an entry neighbour;
//! 4. apart from entry neighbours the two legs share no relay; failing that,
//!    as few as can be (down to going home through the same relays);
//! 5. the exit is not one of the origin's listed neighbours;
//! 6. the back leg is not the one relay longer that line 4 may need (six hops
//!    never have it: a set-up package has no room for it);
//! 7. the lengths are the ones drawn for this route from [`Request::hops`].
//!
//! Within the class first an exit is drawn, then one of its loops; the weight
//! falls with the square of the cost (expected latency and throughput, failures,
//! congestion, country preference, host penalty) and, unless the floor is off, grows with the
//! lowest count of suspects. So cheap is likely and never certain.
//!
//! # Whom a hop could suspect
//!
//! [`Suspects`] counts, for each hop, the nodes that could have begun the
//! circuit, for an observer that is that hop and knows the public graph. What
//! is assumed, so that the count can be judged:
//!
//! * The observer sees the node before and after it, knows which leg it is on
//!   (the cipher tells) and is *given* its place, the lengths of both legs,
//!   and whether the circuit begins and ends at one entry neighbour or two.
//!   It is told none of these; assuming it makes the count smaller, not larger.
//! * A relay on both legs links its two passages, though nothing in the cells
//!   lets it.
//! * It walks back along listed edges, in paths that visit no node twice and
//!   avoid what it knows to lie elsewhere on the circuit, to every possible
//!   entry neighbour: a node that routes and lists fewer than five neighbours
//!   (an entry link takes one of the five places).
//! * Entry links are in no record. So an origin can be any known node that
//!   still has a place free (two, where the loop has two entry neighbours) and
//!   is not itself listed as neighbour of that entry neighbour: between two
//!   nodes there is one link, listed or not. Nearness is taken to tell nothing
//!   about who links to whom unlisted; gossip has to make that so.
//! * Only nodes whose records this node holds are counted. The mesh beyond its
//!   radius makes the true set larger.
//! * An entry neighbour counts as knowing: 1, wherever it stands.
//!
//! Colluding hops, traffic correlation and many circuits over time are not in
//! the count. An observer who learnt the entry neighbour for certain is: that
//! is what the second hop is given here, and usually the lowest figure.

mod disputes;
mod field;
mod graph;
mod request;
mod scores;
mod search;
mod suspects;
mod tally;

#[cfg(test)]
mod tests;

pub use disputes::Dispute;
pub use graph::{Builder, Graph, MAX_LINKS, NodeInfo, NodeKey, Ports, PortsError, Rates};
pub use request::{
    Chosen, Countries, DEFAULT_SUSPECT_FLOOR, HopRange, HopRangeError, MAX_HOPS, NoRoute, Request,
};
pub use scores::{HostId, NodeScore, Scores};
pub use search::{Likely, choose, odds};
pub use suspects::Suspects;
