//! Nodes that mean ill. An attack is named here, and run against a mesh at
//! rest; it reports like every other scenario, with the share of addresses
//! learned over time as the series `addresses_learned`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::error::TestnetError;
use crate::simulate::gossip::measure::Measures;
use crate::simulate::gossip::world::World;

/// What attackers are after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// To learn addresses.
    Harvest,
    /// To hold all links of somebody.
    Eclipse,
    /// To tell different nodes different things.
    Equivocate,
    /// To use up what others have.
    Flood,
}

const NAMES: [(Attack, &str); 4] = [
    (Attack::Harvest, "harvest"),
    (Attack::Eclipse, "eclipse"),
    (Attack::Equivocate, "equivocate"),
    (Attack::Flood, "flood"),
];

impl Attack {
    /// Whether this build has attackers of this kind.
    ///
    /// # Errors
    /// [`TestnetError::Unavailable`]: the engine has honest nodes only.
    pub fn check_available(self) -> Result<(), TestnetError> {
        Err(TestnetError::Unavailable(format!(
            "the attack {self} is not available in this build: its simulator has honest nodes only"
        )))
    }
}

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

/// Lets attackers loose on a mesh at rest.
pub(super) fn run(
    _world: &mut World<'_>,
    attack: Attack,
    _lasting: Duration,
) -> Result<Measures, TestnetError> {
    attack.check_available()?;
    Ok(Measures::default())
}
