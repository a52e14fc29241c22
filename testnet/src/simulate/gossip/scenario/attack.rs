//! Nodes that mean ill. An attack is named here, and run against a mesh at
//! rest (a band also while it grows); it reports like every other scenario, with
//! the share of addresses learned over time as the series `addresses_learned`.

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

/// When a band comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// To a mesh at rest.
    #[default]
    Rest,
    /// With the first node, and evenly while the mesh grows.
    Growth,
}

/// How many links each node of a band has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BandLinks {
    /// Five, as its record can show.
    #[default]
    Listed,
    /// Any number, kept out of its record; parted from, it comes back under another key.
    Unlisted,
}

/// How a band, whatever it is after, goes about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Manner {
    /// When it comes.
    pub when: When,
    /// How many links its nodes have.
    pub links: BandLinks,
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

impl Attack {
    /// Whether it is a band's, of which [`Manner`] says something.
    #[must_use]
    pub fn is_bands(self) -> bool {
        matches!(self, Self::Eclipse | Self::Aim)
    }
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.links {
            BandLinks::Listed => "with listed links, come ",
            BandLinks::Unlisted => "with unlisted links, come ",
        })?;
        f.write_str(match self.when {
            When::Rest => "when the mesh is at rest",
            When::Growth => "while the mesh grows",
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
pub(super) const BAND_JOINS: Duration = Duration::from_secs(600);

/// Lets attackers loose on a mesh at rest, or those that came while it grew go on.
pub(super) fn run(
    world: &mut World<'_>,
    attack: Attack,
    manner: Manner,
    lasting: Duration,
) -> Measures {
    match attack {
        Attack::Harvest => world.harvest(1, lasting),
        Attack::HarvestSeeds => world.harvest(3, lasting),
        Attack::Insiders => {
            let seed = world.rng().random();
            world.insiders(seed, lasting)
        }
        Attack::Eclipse | Attack::Aim => {
            if manner.when == When::Rest {
                world.enlist(manner.links, BAND_JOINS);
                world.run(BAND_JOINS);
            }
            world.eclipse(attack == Attack::Aim, lasting)
        }
        Attack::Equivocate => world.equivocate(lasting),
        Attack::Flood => world.flood(lasting),
    }
}

/// Before the mesh grows: a band that comes with it.
pub(super) fn prepare(world: &mut World<'_>, attack: Attack, manner: Manner) {
    if attack.is_bands() && manner.when == When::Growth {
        let over = world.plan().over.get();
        world.enlist(manner.links, over);
    }
}
