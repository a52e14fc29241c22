//! Nodes that mean ill. An attack is named here, and run against a mesh at
//! rest; it reports like every other scenario, with the share of addresses
//! learned over time as the series `addresses_learned`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt as _;
use serde::{Serialize, Serializer};

use crate::simulate::gossip::measure::Measures;
use crate::simulate::gossip::world::World;

/// What attackers are after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// To learn addresses, with one descriptor.
    Harvest,
    /// The same with three descriptors.
    HarvestSeeds,
    /// To learn addresses by doing as one should.
    Insiders,
    /// To hold all links of as many as can be.
    Eclipse,
    /// To hold all links of one node.
    Aim,
    /// To tell different nodes different things.
    Equivocate,
    /// To use up what others have.
    Flood,
}

const NAMES: [(Attack, &str); 7] = [
    (Attack::Harvest, "harvest"),
    (Attack::HarvestSeeds, "harvest-seeds"),
    (Attack::Insiders, "insiders"),
    (Attack::Eclipse, "eclipse"),
    (Attack::Aim, "aim"),
    (Attack::Equivocate, "equivocate"),
    (Attack::Flood, "flood"),
];

impl FromStr for Attack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(_, name)| *name == text);
        known.map(|(attack, _)| *attack).ok_or_else(|| {
            let names = NAMES.map(|(_, name)| name).join(", ");
            format!("there is no such attack; there are {names}")
        })
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = NAMES.iter().find(|(attack, _)| attack == self);
        f.write_str(own.map_or("", |(_, name)| name))
    }
}

impl Serialize for Attack {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Over this long a band joins. Guess: as long as the mesh took itself.
const BAND_JOINS: Duration = Duration::from_secs(600);

/// Lets attackers loose on a mesh at rest.
pub(super) fn run(world: &mut World<'_>, attack: Attack, lasting: Duration) -> Measures {
    match attack {
        Attack::Harvest => world.harvest(1, lasting),
        Attack::HarvestSeeds => world.harvest(3, lasting),
        Attack::Insiders => {
            let seed = world.rng().random();
            world.insiders(seed, lasting)
        }
        Attack::Eclipse => world.eclipse(false, BAND_JOINS, lasting),
        Attack::Aim => world.eclipse(true, BAND_JOINS, lasting),
        Attack::Equivocate => world.equivocate(lasting),
        Attack::Flood => world.flood(lasting),
    }
}
