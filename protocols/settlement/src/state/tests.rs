//! The books of two sides against each other: by hand for each rule, then at random.

mod by_hand;
mod random;
mod world;
