//! What is to happen when: a queue of happenings in the order of virtual time,
//! and of their coming where times are equal. Those of the same millisecond or so lie together,
//! unordered until their turn comes: so there is little to order at a time, and little memory
//! is touched for each.

use std::collections::BTreeMap;
use std::time::Duration;

/// Nanoseconds that lie together, as a power of two: about one millisecond.
const SLICE_BITS: u32 = 20;
/// Slices that are ready at a time: about four seconds, in which nearly everything falls.
const RING: usize = 4096;

struct Entry<T> {
    nanos: u64,
    count: u64,
    what: T,
}

impl<T> Entry<T> {
    fn slice(&self) -> u64 {
        self.nanos >> SLICE_BITS
    }

    fn order(&self) -> (u64, u64) {
        (self.nanos, self.count)
    }
}

/// Happenings by time.
pub(super) struct Clockwork<T> {
    /// The slice whose turn it is, and all before it. Ordered, the next one last.
    current: Vec<Entry<T>>,
    slice: u64,
    /// The slices that follow, each at its number modulo the length.
    ring: Vec<Vec<Entry<T>>>,
    in_ring: usize,
    /// What is further away, by slices.
    far: BTreeMap<u64, Vec<Entry<T>>>,
    count: u64,
}

impl<T> Clockwork<T> {
    pub(super) fn new() -> Self {
        Self {
            current: Vec::new(),
            slice: 0,
            ring: std::iter::repeat_with(Vec::new).take(RING).collect(),
            in_ring: 0,
            far: BTreeMap::new(),
            count: 0,
        }
    }

    /// Lets something happen at a time.
    pub(super) fn at(&mut self, time: Duration, what: T) {
        // Nanoseconds in 64 bits last for 584 years.
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.count += 1;
        let count = self.count;
        self.put(Entry { nanos, count, what });
    }

    fn put(&mut self, entry: Entry<T>) {
        let slice = entry.slice();
        match slice.checked_sub(self.slice) {
            None | Some(0) => {
                let order = entry.order();
                let later = self.current.partition_point(|other| other.order() > order);
                self.current.insert(later, entry);
            }
            Some(ahead) if ahead < RING as u64 => {
                self.in_ring += 1;
                self.ring[slice as usize % RING].push(entry);
            }
            Some(_) => self.far.entry(slice).or_default().push(entry),
        }
    }

    /// What happens next, if it happens by `end`.
    pub(super) fn next(&mut self, end: Duration) -> Option<(Duration, T)> {
        while self.current.is_empty() {
            self.turn()?;
        }
        let time = Duration::from_nanos(self.current.last()?.nanos);
        if time > end {
            return None;
        }
        let entry = self.current.pop()?;
        Some((time, entry.what))
    }

    /// Goes on to the next slice. `None` when nothing is to come.
    fn turn(&mut self) -> Option<()> {
        let first_far = self.far.first_key_value().map(|(slice, _)| *slice);
        self.slice = if self.in_ring > 0 {
            self.slice + 1
        } else {
            first_far?
        };
        // What is not far any more joins the ring, so that all of one slice is in one place.
        let reach = self.slice.saturating_add(RING as u64);
        while let Some(slice) = self.far.first_entry().filter(|slice| *slice.key() < reach) {
            let entries = slice.remove();
            self.in_ring += entries.len();
            for entry in entries {
                self.ring[entry.slice() as usize % RING].push(entry);
            }
        }
        let turn = &mut self.ring[self.slice as usize % RING];
        self.in_ring -= turn.len();
        // Both keep their room.
        self.current.append(turn);
        self.current
            .sort_unstable_by_key(|entry| std::cmp::Reverse(entry.order()));
        Some(())
    }

    /// How many happenings there were and are to be.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_of_time_then_of_coming() {
        let mut clockwork = Clockwork::new();
        let ms = Duration::from_millis;
        clockwork.at(ms(2), 'c');
        clockwork.at(ms(1), 'a');
        clockwork.at(ms(1), 'b');
        clockwork.at(ms(9), 'd');
        let order: Vec<char> =
            std::iter::from_fn(|| clockwork.next(ms(5)).map(|(_, what)| what)).collect();
        assert_eq!(order, ['a', 'b', 'c']);
        assert_eq!(clockwork.next(ms(9)), Some((ms(9), 'd')));
        assert_eq!(clockwork.count(), 4);
    }

    #[test]
    fn near_and_far_come_in_the_order_of_a_sorted_list() {
        use rand::RngExt as _;
        use rand_core::SeedableRng as _;
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let mut clockwork = Clockwork::new();
        let mut expected = std::collections::BTreeSet::new();
        let mut now = Duration::ZERO;
        for round in 0..20_000u64 {
            // Now, soon, within the ring, about its end, far; seldom much further.
            let most = [1, 2_000_000, 90_000_000, 4_400_000_000, 1 << 37, 1 << 44];
            let at = now + Duration::from_nanos(rng.random_range(0..most[round as usize % 6]));
            clockwork.at(at, round);
            expected.insert((at, round));
            for _ in 0..rng.random_range(0..=2) {
                let end = now + Duration::from_secs(3600);
                let next = clockwork.next(end);
                let first = expected.first().copied().filter(|(at, _)| *at <= end);
                assert_eq!(next, first);
                if let Some(first) = next {
                    expected.remove(&first);
                    now = first.0;
                }
            }
        }
        while let Some(next) = clockwork.next(Duration::MAX) {
            assert_eq!(expected.pop_first(), Some(next));
        }
        assert!(expected.is_empty());
    }
}
