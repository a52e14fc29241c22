//! A circuit and what each hop sees of it; the request with which production
//! asks for its routes. Not here: what a hop concludes from it (`adversary`).

use masq::routing::{HopRange, Request};

/// A circuit by the numbers of its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Circuit {
    pub(super) origin: u32,
    /// The origin's entry neighbours at the time.
    pub(super) entry: Vec<u32>,
    /// From an entry neighbour to the exit.
    pub(super) over: Vec<u32>,
    /// From the exit home, without the exit.
    pub(super) back: Vec<u32>,
    /// Relays on both legs, entry neighbours at the ends not counted.
    pub(super) shared: u32,
}

/// Where a hop stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    Exit,
    /// A relay of the over leg, not the entry neighbour.
    Over,
    /// A relay of the back leg, not the entry neighbour.
    Back,
    /// A relay of both.
    Both,
}

/// What a hop sees of one circuit: itself, the leg or legs that it is on, and on each the nodes
/// before and after it, in the direction of travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    pub(super) me: u32,
    pub(super) place: Place,
    /// Node before and after on the over leg; of the exit, the node before it and the one after.
    pub(super) beside: [u32; 2],
    /// The same on the back leg, for a relay on both: it links its two passages, though nothing
    /// in the cells lets it.
    pub(super) also: Option<[u32; 2]>,
}

/// The views of all hops of a circuit but the entry neighbours at its ends.
pub(super) fn views(over: &[u32], back: &[u32]) -> Vec<View> {
    let Some((exit, relays)) = over.split_last() else {
        return Vec::new();
    };
    let (Some(before), Some(after)) = (relays.last(), back.first()) else {
        return Vec::new();
    };
    // The back leg with its exit in front, so that every relay has one before it.
    let home: Vec<u32> = [*exit].into_iter().chain(back.iter().copied()).collect();
    let inner_home = 1..home.len() - 1;
    let mut all = vec![View {
        me: *exit,
        place: Place::Exit,
        beside: [*before, *after],
        also: None,
    }];
    for at in 1..relays.len() {
        let also = inner_home.clone().find(|h| home[*h] == over[at]);
        all.push(View {
            me: over[at],
            place: if also.is_some() {
                Place::Both
            } else {
                Place::Over
            },
            beside: [over[at - 1], over[at + 1]],
            also: also.map(|h| [home[h - 1], home[h + 1]]),
        });
    }
    for at in inner_home {
        if !relays[1..].contains(&home[at]) {
            all.push(View {
                me: home[at],
                place: Place::Back,
                beside: [home[at - 1], home[at + 1]],
                also: None,
            });
        }
    }
    all
}

/// What production asks for when nothing is configured. Without entry links there is nothing to
/// count suspects by, so the floor is off then.
pub(super) fn request(all_public: bool) -> Request<'static> {
    let request = Request::new(HopRange::default());
    Request {
        suspect_floor: if all_public { 0 } else { request.suspect_floor },
        ..request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(me: u32, place: Place, beside: [u32; 2], also: Option<[u32; 2]>) -> View {
        View {
            me,
            place,
            beside,
            also,
        }
    }

    #[test]
    fn each_hop_but_the_entry_neighbours_sees_its_own_part() {
        assert_eq!(
            views(&[1, 2, 3], &[5, 4, 1]),
            [
                view(3, Place::Exit, [2, 5], None),
                view(2, Place::Over, [1, 3], None),
                view(5, Place::Back, [3, 4], None),
                view(4, Place::Back, [5, 1], None),
            ]
        );
    }

    #[test]
    fn a_relay_on_both_legs_sees_both_and_is_one_hop() {
        assert_eq!(
            views(&[1, 2, 3], &[2, 1]),
            [
                view(3, Place::Exit, [2, 2], None),
                view(2, Place::Both, [1, 3], Some([3, 1])),
            ]
        );
    }

    #[test]
    fn one_hop_has_nobody_but_the_entry_neighbour() {
        assert!(views(&[1], &[]).is_empty());
        assert!(views(&[], &[]).is_empty());
    }
}
