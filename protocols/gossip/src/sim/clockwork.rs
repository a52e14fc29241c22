//! What is to happen when: a queue of happenings in the order of virtual time,
//! and of their coming where times are equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Happenings by time.
pub(super) struct Clockwork<T> {
    queue: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    count: u64,
}

impl<T> Clockwork<T> {
    pub(super) fn new() -> Self {
        Self {
            queue: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }

    /// Lets something happen at a time.
    pub(super) fn at(&mut self, time: Duration, what: T) {
        // Nanoseconds in 64 bits last for 584 years.
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize] = Some(what);
        self.count += 1;
        self.queue.push(Reverse((nanos, self.count, slot)));
    }

    /// What happens next, if it happens by `end`.
    pub(super) fn next(&mut self, end: Duration) -> Option<(Duration, T)> {
        let Reverse((nanos, _, slot)) = *self.queue.peek()?;
        let time = Duration::from_nanos(nanos);
        if time > end {
            return None;
        }
        self.queue.pop();
        self.free.push(slot);
        let what = self.slots[slot as usize].take();
        Some((time, what.expect("each slot in the queue is filled once")))
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
}
