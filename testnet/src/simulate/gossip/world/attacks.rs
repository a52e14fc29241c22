//! Attackers of the engine, let loose on a [`World`]; what each measures is
//! said in [`masq_gossip::sim::attack`].

use std::time::Duration;

use masq_gossip::sim::Sim;
use masq_gossip::sim::attack::{
    Eclipse, Equivocate, Flood, Harvest, Insiders, Links, Report, Strength, Unit as EngineUnit,
};

use super::World;
use crate::simulate::gossip::measure::{Measures, Series, Unit};
use crate::simulate::gossip::scenario::BandLinks;

/// Addresses of a harvester; from what the neighbourhood has to hold.
const HARVESTERS: usize = 10;
/// Honest nodes for each attacker of a band: so a fifth of all nodes are attackers.
const HONEST_PER_ATTACKER: usize = 4;
/// Share of the nodes that are insiders.
const INSIDERS: f64 = 0.2;
/// Debuts of a flood.
const FLOOD_DEBUTS: usize = 10_000;
/// Attackers of a flood.
const FLOODERS: usize = 10;

impl World<'_> {
    /// Runs an attack, with the meter.
    fn attack(
        &mut self,
        name: &'static str,
        what: &'static str,
        unit: Unit,
        run: impl FnOnce(&mut Sim, &mut dyn FnMut(&mut Sim, Duration)) -> Report,
    ) -> Measures {
        let meter = self.meter;
        let report = run(&mut self.sim, &mut |_, step| meter.advance(step));
        let mut measures = Measures::default();
        for figure in report.figures {
            measures.metric(figure.name, unit_of(figure.unit), figure.text, figure.value);
        }
        let points = report.series.into_iter();
        measures.series.push(Series {
            name,
            text: what,
            unit,
            points: points
                .map(|(at, value)| (at.as_secs_f64(), value))
                .collect(),
        });
        measures
    }

    /// Somebody with ten addresses and so many descriptors debuts in a loop.
    pub fn harvest(&mut self, descriptors: usize, lasting: Duration) -> Measures {
        let seeds = self.seeds.iter().copied().take(descriptors).collect();
        let harvest = Harvest {
            addresses: HARVESTERS,
            descriptors: seeds,
            strength: Strength::Debuts,
            lasting,
        };
        let mut measures = self.attack(
            "addresses_learned",
            "share of the nodes' addresses that the harvester learned",
            Unit::Share,
            |sim, between| harvest.run(sim, between),
        );
        if descriptors == 1 && !self.plan.no_limits {
            let what = "of the addresses learned, with one descriptor";
            judge(&mut measures, "addresses_learned", "harvested", what);
        }
        measures
    }

    /// A fifth of the nodes do as they should, and put together what they learn.
    pub fn insiders(&mut self, seed: u64, lasting: Duration) -> Measures {
        let insiders = Insiders {
            share: INSIDERS,
            seed,
            lasting,
        };
        self.attack(
            "addresses_learned",
            "share of the others' addresses that insiders know",
            Unit::Share,
            |sim, between| insiders.run(sim, between),
        )
    }

    /// A band of a fifth of all nodes, which join within that time.
    pub fn enlist(&mut self, links: BandLinks, joining: Duration) {
        // However many are born yet.
        let count = self.count() / HONEST_PER_ATTACKER;
        let links = match links {
            BandLinks::Listed => Links::Listed,
            BandLinks::Unlisted => Links::Unlisted,
        };
        let band = Eclipse::enlist(&mut self.sim, count, links, &self.seeds, joining);
        self.band = Some(band);
    }

    /// A band that has joined wants, for the given time, all links of everybody (or, `aimed`, of one
    /// node).
    pub fn eclipse(&mut self, aimed: bool, lasting: Duration) -> Measures {
        let Some(band) = self.band.take() else {
            return Measures::default();
        };
        let (name, what, unit) = if aimed {
            let what = "slots of the victim that the attackers hold";
            ("slots", what, Unit::Count)
        } else {
            let what = "share of the honest nodes all of whose links are the attackers'";
            ("surrounded", what, Unit::Share)
        };
        self.attack(name, what, unit, |sim, between| {
            if !aimed {
                return band.run(sim, lasting, between);
            }
            match Eclipse::victim(sim, 0) {
                Some(victim) => band.run_against(sim, victim, lasting, between),
                None => Report::default(),
            }
        })
    }

    /// Neighbours that use up what others have.
    pub fn flood(&mut self, lasting: Duration) -> Measures {
        let flood = Flood {
            attackers: FLOODERS,
            descriptors: self.seeds.clone(),
            debuts: FLOOD_DEBUTS,
            lasting,
        };
        self.attack(
            "flooded",
            "what the flood is judged by",
            Unit::BytesPerSecond,
            |sim, between| flood.run(sim, between),
        )
    }

    /// A node that signs two records of each version.
    pub fn equivocate(&mut self, lasting: Duration) -> Measures {
        let seeds = self.seeds.clone();
        self.attack(
            "banned_by",
            "share of the nodes that held its record which have banned it",
            Unit::Share,
            |sim, between| Equivocate { seeds, lasting }.run(sim, between),
        )
    }
}

/// Makes the last value of a series a figure that there is a target for.
fn judge(measures: &mut Measures, series: &str, name: &'static str, what: &'static str) {
    let found = measures.series.iter().find(|found| found.name == series);
    let last = found.and_then(|found| found.points.last().map(|(_, value)| (found.unit, *value)));
    if let Some((unit, value)) = last {
        measures.metric(name, unit, what, value);
    }
}

fn unit_of(unit: EngineUnit) -> Unit {
    match unit {
        EngineUnit::Share => Unit::Share,
        EngineUnit::Count => Unit::Count,
        EngineUnit::Seconds => Unit::Seconds,
        EngineUnit::BytesPerSecond => Unit::BytesPerSecond,
    }
}
