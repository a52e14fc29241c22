//! What happens to the machine under the node: it is suspended and resumed, it
//! stands still, it moves to another network. How that is noticed, and who is
//! told of it. What gossip makes of it is gossip's business.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use masq_cores::keys::ONION_KEY_LIFE;
use masq_gossip::Address;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::address::public_address;
use super::swarm::Loop;
use crate::config::Config;

/// The wall clock has to run ahead of the other one by more than this to tell of a suspension.
/// Guess: far above what a clock that is being corrected is moved at once.
const SUSPENDED: Duration = Duration::from_secs(20);

/// A look that comes later than it was due by this tells that the whole process stood still.
/// Guess: close to the time after which neighbours take this node for dead, and far above what a
/// busy machine makes one wait.
const STOOD_STILL: Duration = Duration::from_secs(8);

/// How often the clocks are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How often the addresses of this machine are read. Guess: a person who changes the network has
/// not typed the next address by then; reading them takes well under a millisecond.
const READ_ADDRESSES: Duration = Duration::from_secs(3);

/// What the clocks tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The machine was suspended for about so long.
    Suspended(Duration),
    /// The process did not run for so long.
    StoodStill(Duration),
}

impl Pause {
    /// How long it was.
    pub(crate) fn length(self) -> Duration {
        match self {
            Self::Suspended(length) | Self::StoodStill(length) => length,
        }
    }
}

/// Compares two clocks at regular looks. Linux stops the one behind [`Instant`] while the machine
/// is suspended, and other systems let it run on: either way something shows.
#[derive(Debug)]
pub(crate) struct Clocks {
    every: Duration,
    last: (Instant, SystemTime),
}

impl Clocks {
    /// To be looked at `every` so often.
    pub(crate) fn new(every: Duration, now: Instant, wall: SystemTime) -> Self {
        Self {
            every,
            last: (now, wall),
        }
    }

    /// What happened since the last look, if anything did.
    pub(crate) fn look(&mut self, now: Instant, wall: SystemTime) -> Option<Pause> {
        let (before, wall_before) = std::mem::replace(&mut self.last, (now, wall));
        let passed = now.saturating_duration_since(before);
        // A clock that was set back tells nothing.
        let on_the_wall = wall.duration_since(wall_before).unwrap_or_default();
        let ahead = on_the_wall.saturating_sub(passed);
        let late = passed.saturating_sub(self.every);
        if ahead > SUSPENDED {
            Some(Pause::Suspended(on_the_wall))
        } else if late > STOOD_STILL {
            Some(Pause::StoodStill(passed))
        } else {
            None
        }
    }
}

/// How the addresses of the machine changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// They are new.
    pub(crate) come: Vec<IpAddr>,
    /// They are gone.
    pub(crate) gone: Vec<IpAddr>,
}

impl Change {
    /// From one set to another.
    pub(crate) fn between(before: &BTreeSet<IpAddr>, after: &BTreeSet<IpAddr>) -> Self {
        Self {
            come: after.difference(before).copied().collect(),
            gone: before.difference(after).copied().collect(),
        }
    }

    /// Nothing has changed.
    pub(crate) fn is_none(&self) -> bool {
        self.come.is_empty() && self.gone.is_empty()
    }
}

/// The addresses of this machine by which it may be reached from elsewhere; `None` if they can't be
/// read.
fn addresses() -> Option<BTreeSet<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    let ips = interfaces.iter().map(if_addrs::Interface::ip);
    Some(ips.filter(|ip| counts(*ip)).collect())
}

/// Loopback never goes, and link-local addresses of virtual interfaces come and go all the time.
fn counts(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !ip.is_unspecified() && !link_local
}

/// The addresses of this machine, from now on. The task behind it ends with the receiver.
pub(crate) fn watch_addresses() -> watch::Receiver<BTreeSet<IpAddr>> {
    let (tell, addresses_now) = watch::channel(addresses().unwrap_or_default());
    tokio::spawn(async move {
        let mut read = interval(READ_ADDRESSES);
        read.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !tell.is_closed() {
            read.tick().await;
            // A moment in which they can't be read is not one without any.
            if let Ok(Some(now)) = tokio::task::spawn_blocking(addresses).await {
                tell.send_if_modified(|known| {
                    let changed = *known != now;
                    if changed {
                        *known = now;
                    }
                    changed
                });
            }
        }
    });
    addresses_now
}

/// The listeners whose addresses this machine has. libp2p tells of those of a listener on all
/// addresses; one on a certain address stays open, and deaf, without it.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Those on a certain address.
    fixed: Vec<SocketAddr>,
    /// The addresses that `fixed` was last compared with.
    addresses: BTreeSet<IpAddr>,
}

impl Listeners {
    /// Of `listening`, those count as fixed whose address stands in the setting `listen`.
    pub(crate) fn new(
        configured: &[SocketAddr],
        listening: &[SocketAddr],
        addresses: BTreeSet<IpAddr>,
    ) -> Self {
        let named = |at: &&SocketAddr| {
            let same = |set: &SocketAddr| set.ip() == at.ip();
            configured.iter().any(same) && counts(at.ip())
        };
        Self {
            fixed: listening.iter().filter(named).copied().collect(),
            addresses,
        }
    }

    /// The addresses of the machine are these now: what changed, which listeners are deaf from now
    /// on, and which hear again.
    pub(crate) fn update(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
    ) -> (Change, Vec<SocketAddr>, Vec<SocketAddr>) {
        let before = std::mem::replace(&mut self.addresses, addresses.clone());
        let change = Change::between(&before, addresses);
        let among = |ips: &[IpAddr]| {
            let fixed = self.fixed.iter();
            fixed.filter(|at| ips.contains(&at.ip())).copied().collect()
        };
        let (deaf, back) = (among(&change.gone), among(&change.come));
        (change, deaf, back)
    }
}

/// What happened to the machine.
pub(crate) enum Turn {
    /// Nothing was done for a while.
    Paused(Pause),
    /// It has other addresses.
    Moved {
        /// How they changed.
        change: Change,
        /// Listeners that hear nothing from now on.
        deaf: Vec<SocketAddr>,
        /// Listeners that hear again.
        back: Vec<SocketAddr>,
    },
}

/// Watches the machine for the loop.
pub(crate) struct Roaming {
    config: Arc<Config>,
    look: Interval,
    clocks: Clocks,
    addresses: watch::Receiver<BTreeSet<IpAddr>>,
    listeners: Listeners,
    /// What gossip was told last of where this node can be dialled.
    advertised: Vec<Address>,
}

impl Roaming {
    /// Begins to watch. Has to be called within a tokio runtime.
    pub(crate) fn new(config: Arc<Config>, listening: &[SocketAddr]) -> Self {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let addresses = watch_addresses();
        let known = addresses.borrow().clone();
        Self {
            look,
            clocks: Clocks::new(LOOK, Instant::now(), SystemTime::now()),
            listeners: Listeners::new(&config.listen, listening, known),
            advertised: advertised(&config, listening, None),
            addresses,
            config,
        }
    }

    /// Waits until something has happened. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Turn {
        loop {
            tokio::select! {
                _ = self.look.tick() => {
                    let pause = self.clocks.look(Instant::now(), SystemTime::now());
                    if let Some(pause) = pause {
                        return Turn::Paused(pause);
                    }
                }
                Ok(()) = self.addresses.changed() => {
                    let now = self.addresses.borrow_and_update().clone();
                    let (change, deaf, back) = self.listeners.update(&now);
                    if !change.is_none() {
                        return Turn::Moved { change, deaf, back };
                    }
                }
            }
        }
    }
}

/// Where others can dial a node that listens there, and that a router lets through at `outside`.
pub(crate) fn advertised(
    config: &Config,
    listening: &[SocketAddr],
    outside: Option<SocketAddrV4>,
) -> Vec<Address> {
    let Some((host, ports)) = public_address(config, listening, outside) else {
        return Vec::new();
    };
    let address = |port| Address {
        host: host.clone(),
        port,
    };
    ports.into_iter().map(address).collect()
}

impl Loop {
    pub(super) fn on_roaming(&mut self, turn: Turn) {
        match turn {
            Turn::Paused(pause) => {
                tracing::info!(
                    ?pause,
                    "this node did not run for a while: links are tested"
                );
                if pause.length() >= ONION_KEY_LIFE {
                    // The timer for it may run on a clock that stood still.
                    self.cores.rotate_onion_key();
                    self.publish_keys();
                }
            }
            Turn::Moved { change, deaf, back } => self.on_moved(&change, &deaf, &back),
        }
        self.swarm.behaviour_mut().gossip.wake_up();
        self.view.send_modify(|view| view.wakes += 1);
    }

    fn on_moved(&mut self, change: &Change, deaf: &[SocketAddr], back: &[SocketAddr]) {
        let (come, gone) = (change.come.len(), change.gone.len());
        tracing::info!(come, gone, "the addresses of this machine changed");
        let source = super::source(&self.roaming.config);
        let outgoing = source.is_some_and(|source| change.gone.contains(&source));
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.on_addresses_lost(&change.gone, outgoing);
        self.view.send_modify(|view| {
            view.listening.retain(|at| !deaf.contains(at));
            view.listening.extend(back);
        });
        if let Some(at) = deaf.first() {
            self.problem(format!(
                "This machine no longer has the address {}, on which this node listens: nobody \
                 can reach it there until the address is back. `listen` on 0.0.0.0 would follow.",
                at.ip()
            ));
        }
        if outgoing {
            self.problem(
                "This machine no longer has the address that links are to leave from (settings \
                 `source` and `listen`): nobody can be dialled until it is back."
                    .into(),
            );
        }
        self.advertise_anew();
    }

    /// Tells gossip where this node can be dialled now, if that has changed.
    pub(super) fn advertise_anew(&mut self) {
        let now = {
            let view = self.view.borrow();
            let outside = view.mapping.external();
            advertised(&self.roaming.config, &view.listening, outside)
        };
        if now != self.roaming.advertised {
            self.roaming.advertised.clone_from(&now);
            self.swarm.behaviour_mut().gossip.set_advertised(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Machine {
        clocks: Clocks,
        now: Instant,
        wall: SystemTime,
    }

    impl Machine {
        fn new() -> Self {
            let (now, wall) = (
                Instant::now(),
                SystemTime::UNIX_EPOCH + SECOND * 1_700_000_000,
            );
            Self {
                clocks: Clocks::new(SECOND, now, wall),
                now,
                wall,
            }
        }

        fn pass(&mut self, time: Duration, wall: Duration) -> Option<Pause> {
            self.now += time;
            self.wall += wall;
            self.clocks.look(self.now, self.wall)
        }
    }

    #[test]
    fn a_suspension_shows_by_the_wall_clock() {
        let mut machine = Machine::new();
        assert_eq!(machine.pass(SECOND, SECOND), None);
        let slept = machine.pass(SECOND, SECOND * 3_600);
        assert_eq!(slept, Some(Pause::Suspended(SECOND * 3_600)));
        assert_eq!(slept.unwrap().length(), SECOND * 3_600);
        assert_eq!(machine.pass(SECOND, SECOND), None, "it is told once");
        // Where the other clock runs on, it shows all the same.
        let slept = machine.pass(SECOND * 3_600, SECOND * 3_600);
        assert_eq!(slept, Some(Pause::StoodStill(SECOND * 3_600)));
    }

    #[test]
    fn a_process_that_stood_still_shows_by_a_late_look() {
        let mut machine = Machine::new();
        let stood = machine.pass(SECOND * 15, SECOND * 15);
        assert_eq!(stood, Some(Pause::StoodStill(SECOND * 15)));
        assert_eq!(machine.pass(SECOND, SECOND), None);
        assert_eq!(machine.pass(SECOND * 4, SECOND * 4), None, "a busy machine");
    }

    #[test]
    fn clocks_that_are_set_right_tell_nothing() {
        let mut machine = Machine::new();
        assert_eq!(machine.pass(SECOND, SECOND * 15), None, "a little ahead");
        machine.wall -= SECOND * 86_400;
        assert_eq!(machine.pass(SECOND, SECOND), None, "back");
        assert_eq!(machine.pass(SECOND, SECOND), None);
    }

    fn set(ips: &[&str]) -> BTreeSet<IpAddr> {
        ips.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn listeners_on_an_address_that_is_gone_are_noticed_and_when_it_is_back() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        // The second came from a listener on all addresses, which libp2p looks after.
        let listening = [at("192.0.2.1:6277"), at("192.0.2.2:9000")];
        let configured = [at("192.0.2.1:6277"), at("0.0.0.0:9000")];
        let home = set(&["192.0.2.1", "192.0.2.2"]);
        let mut listeners = Listeners::new(&configured, &listening, home.clone());
        let (change, deaf, back) = listeners.update(&home);
        assert!(change.is_none() && deaf.is_empty() && back.is_empty());

        let (change, deaf, back) = listeners.update(&set(&["198.51.100.7"]));
        assert_eq!(change.gone.len(), 2);
        assert_eq!(change.come, ["198.51.100.7".parse::<IpAddr>().unwrap()]);
        assert_eq!((deaf, back), (vec![listening[0]], vec![]));
        let (change, deaf, back) = listeners.update(&home);
        assert!(!change.is_none());
        assert_eq!((deaf, back), (vec![], vec![listening[0]]));
    }

    #[test]
    fn loopback_and_link_local_addresses_do_not_count() {
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "169.254.3.4", "fe80::1"] {
            assert!(!counts(ip.parse().unwrap()), "{ip}");
        }
        assert!(counts("192.168.1.2".parse().unwrap()));
        assert!(addresses().unwrap().iter().all(|ip| counts(*ip)));
    }

    #[tokio::test]
    async fn the_watch_ends_with_whoever_looks() {
        let addresses = watch_addresses();
        assert_eq!(*addresses.borrow(), super::addresses().unwrap());
    }
}
