//! The books of two sides against each other: by hand for each rule, then at random.

mod attacks;
mod by_hand;
mod greedy;
mod notices;
mod random;
mod room;
mod world;
