//! Eclipse: somebody who owns a share of all nodes tries to hold all links of
//! honest ones, of as many as possible or, once told, of a certain one. What its
//! nodes do is in `colluder`; here is how they are placed and what they hold.

use std::sync::Arc;
use std::time::Duration;

use super::band::Band;
use super::colluder::Colluder;
use super::speaker::Speaker;
use super::{Between, Report, Unit, own_ip, quantile, run_steps, share};
use crate::config::{Config, MAX_NEIGHBOURS};
use crate::key::NodeKey;
use crate::sim::{NodeSpec, Sim};

/// Addresses of attackers here begin above those of harvesters.
const FIRST_IP: usize = 10_000;
/// Between points of the series.
const STEP: Duration = Duration::from_secs(60);

/// Slots of a victim that attackers may hold: two stay. From the target.
const SLOTS_WITHSTOOD: usize = 3;
/// Keys of each attacker that keeps links out of its record: when it is parted from it comes back under
/// another. Keys cost nothing; so many never run out within an hour at one node.
const KEYS_UNLISTED: usize = 4;

/// How many neighbours an attacker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// As many as its record can show.
    Listed,
    /// As many as it can get: most are in no record, and it comes back under another key each time
    /// that it is parted from for that.
    Unlisted,
}

/// A band of colluding nodes.
pub struct Eclipse {
    band: Arc<Band>,
}

/// What the band holds of one honest node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Its neighbours.
    pub links: usize,
    /// How many of them are of the band.
    pub held: usize,
    /// Whether one of its own entry links leads to the band.
    pub entry: bool,
}

impl Hold {
    /// Whether it has no honest neighbour.
    pub fn all(&self) -> bool {
        self.links > 0 && self.held == self.links
    }
}

impl Eclipse {
    /// Adds `count` attackers, each at an address of its own, who know the descriptors of `seeds` and
    /// join evenly within `over`. To be called before or while the mesh grows, or when it is at rest.
    ///
    /// # Panics
    /// If `seeds` are no nodes.
    pub fn enlist(
        sim: &mut Sim,
        count: usize,
        links: Links,
        seeds: &[usize],
        over: Duration,
    ) -> Self {
        let seeds = seeds.iter().map(|seed| sim.descriptor(*seed)).collect();
        let (most, keys) = match links {
            Links::Listed => (MAX_NEIGHBOURS, 1),
            Links::Unlisted => (usize::MAX, KEYS_UNLISTED),
        };
        let band = Arc::new(Band::new(seeds, most));
        for n in 0..count * keys {
            let chain = band.chain();
            let (attacker, spare) = (n % count, n >= count);
            let spec = NodeSpec {
                config: Config::new(chain),
                dialable: true,
                seeds: vec![],
                ip: Some(own_ip(FIRST_IP + attacker)),
            };
            let delay = over.mul_f64(attacker as f64 / count.max(1) as f64);
            sim.add_actor(spec, delay, |_, keys, ip| {
                let speaker = Speaker::new(chain, keys, ip);
                band.join(speaker.key, speaker.keys.clone(), ip);
                Box::new(Colluder::new(n, spare, speaker, Arc::clone(&band)))
            });
        }
        Self { band }
    }

    /// From now on the whole band wants this node's links.
    pub fn aim_at(&self, victim: NodeKey) {
        self.band.aim_at(victim);
    }

    /// What the band holds of an honest node; `None` if it is dead.
    pub fn hold(sim: &Sim, index: usize) -> Option<Hold> {
        sim.machine(index)?;
        let ours = |key: &NodeKey| sim.index(key).is_some_and(|i| sim.is_attacker(i));
        let links = sim.links(index);
        let held = links.iter().filter(|(key, _)| ours(key)).count();
        let entry = links.iter().any(|(key, entry)| entry.ours() && ours(key));
        Some(Hold {
            links: links.len(),
            held,
            entry,
        })
    }

    /// A node at which to aim: its entry neighbour is honest, and at most two of its neighbours
    /// are of the band. The `n`-th of them.
    pub fn victim(sim: &Sim, n: usize) -> Option<usize> {
        let fits = |index: &usize| {
            let hold = Self::hold(sim, *index);
            let own = sim.links(*index).iter().any(|(_, entry)| entry.ours());
            own && hold.is_some_and(|hold| hold.held <= 2 && hold.links >= 3 && !hold.entry)
        };
        let fit: Vec<usize> = sim.alive().into_iter().filter(fits).collect();
        fit.get(n % fit.len().max(1)).copied()
    }

    /// Lets the band go on against everybody. The series is the share of honest nodes all of
    /// whose links it holds.
    pub fn run(&self, sim: &mut Sim, lasting: Duration, between: Between<'_>) -> Report {
        let mut report = Report::default();
        let surrounded = |sim: &Sim| {
            let holds = holds(sim);
            share(holds.iter().filter(|hold| hold.all()).count(), holds.len())
        };
        report.series.push((Duration::ZERO, surrounded(sim)));
        run_steps(sim, lasting, STEP, between, |sim, since| {
            report.series.push((since, surrounded(sim)));
        });
        add_holds(sim, &mut report);
        report
    }

    /// Lets the band go on against one node. The series is how many of its slots it holds.
    pub fn run_against(
        &self,
        sim: &mut Sim,
        victim: usize,
        lasting: Duration,
        between: Between<'_>,
    ) -> Report {
        self.aim_at(sim.key(victim));
        let mut report = Report::default();
        let (mut most, mut all, mut entry, mut had_entry) = (0, false, Duration::ZERO, false);
        let mut before = Duration::ZERO;
        run_steps(sim, lasting, STEP, between, |sim, since| {
            if let Some(hold) = Self::hold(sim, victim) {
                most = most.max(hold.held);
                all |= hold.all();
                had_entry |= hold.entry;
                if hold.entry {
                    entry += since - before;
                }
                report.series.push((since, hold.held as f64));
            }
            before = since;
        });
        let withstood = most <= SLOTS_WITHSTOOD && !had_entry;
        report.add(
            "withstood",
            Unit::Share,
            "whether it never held more than three slots, nor the entry link",
            f64::from(withstood),
        );
        report.add(
            "slots_held_most",
            Unit::Count,
            "most slots of the victim that the band ever held",
            most as f64,
        );
        report.add(
            "slots_held",
            Unit::Count,
            "slots that it holds at the end",
            report.last(),
        );
        report.add(
            "surrounded",
            Unit::Count,
            "whether it ever held all links of the victim",
            f64::from(all),
        );
        report.add(
            "entry_held",
            Unit::Count,
            "whether it ever held the victim's entry link",
            f64::from(had_entry),
        );
        report.add(
            "entry_held_for",
            Unit::Seconds,
            "… for how long",
            entry.as_secs_f64(),
        );
        report
    }
}

fn holds(sim: &Sim) -> Vec<Hold> {
    let alive = sim.alive().into_iter();
    alive
        .filter_map(|index| Eclipse::hold(sim, index))
        .collect()
}

fn add_holds(sim: &Sim, report: &mut Report) {
    const NAMES: [(&str, &str); MAX_NEIGHBOURS + 1] = [
        ("held_0", "honest nodes of whose slots the band holds none"),
        ("held_1", "… one"),
        ("held_2", "… two"),
        ("held_3", "… three"),
        ("held_4", "… four"),
        ("held_5", "… five"),
    ];
    let holds = holds(sim);
    let part = |fits: &dyn Fn(&Hold) -> bool| {
        share(holds.iter().filter(|hold| fits(hold)).count(), holds.len())
    };
    let mut add = |name, text, value| report.add(name, Unit::Share, text, value);
    add(
        "surrounded",
        "honest nodes all of whose links the band holds",
        part(&Hold::all),
    );
    add(
        "all_five",
        "honest nodes all of whose five slots it holds",
        part(&|hold| hold.held == MAX_NEIGHBOURS),
    );
    add(
        "entry_held",
        "honest nodes whose entry neighbour is of the band",
        part(&|hold| hold.entry),
    );
    for (n, (name, text)) in NAMES.into_iter().enumerate() {
        add(name, text, part(&|hold| hold.held == n));
    }
    let mean = holds.iter().map(|hold| hold.held as f64).sum::<f64>() / holds.len().max(1) as f64;
    report.add(
        "held_mean",
        Unit::Count,
        "slots of honest nodes that it holds, mean",
        mean,
    );
    let held: Vec<f64> = holds.iter().map(|hold| hold.held as f64).collect();
    for (name, text, at) in [("held_p50", "… p50", 0.5), ("held_p99", "… p99", 0.99)] {
        report.add(name, Unit::Count, text, quantile(held.clone(), at));
    }
}
