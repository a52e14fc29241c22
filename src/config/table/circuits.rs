//! The settings about circuits.

use super::{Default, Heading, MAX_WARM_CIRCUITS, Setting, Shape, Shown, small};

/// How many there are.
pub(super) const COUNT: usize = 2;

/// How circuits are chosen and kept.
pub(super) const SETTINGS: [Setting; COUNT] = [
    Setting {
        key: "hops",
        heading: Heading::Circuits,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("3"),
        help: "Hops from here to the exit, the exit included",
        more: "1 to 6, or a range such as \"3-4\" from which each circuit draws. With 1 the exit is \
               your neighbour and knows your address and where you go; with 3 no hop knows both. \
               Can be changed while running: masq set hops 4.",
        set: |c, g| {
            c.hops = g.one()?.parse()?;
            Ok(())
        },
        show: |c| {
            if c.hops.min() == c.hops.max() {
                Shown::bare(c.hops)
            } else {
                Shown::text(c.hops)
            }
        },
    },
    Setting {
        key: "warm_circuits",
        heading: Heading::Circuits,
        placeholder: "NUMBER",
        shape: Shape::Number,
        default: Default::Text("2"),
        help: "Circuits kept ready ahead of need",
        more: "0 to 8. They make the first byte come sooner.",
        set: |c, g| {
            c.warm_circuits = small(g.one()?, 0, MAX_WARM_CIRCUITS)?;
            Ok(())
        },
        show: |c| Shown::bare(c.warm_circuits),
    },
];
