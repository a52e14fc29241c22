//! Keeps a mapping for as long as the node runs: asks for one, renews it at
//! half its life, asks again when the machine has moved to another network or
//! the router has forgotten, and removes it in the end.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::home::{Home, is_private};
use super::mapping::{Lease, MapError, Protocol};
use super::{Idle, MappingState};

/// How long things take. Tests use shorter ones.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Pause after the first attempt that failed; doubled each time.
    pub first: Duration,
    /// Longest such pause.
    pub longest: Duration,
    /// How often it is looked whether the machine has moved.
    pub look: Duration,
    /// Bounds of the time after which a mapping is renewed.
    pub renew: (Duration, Duration),
    /// How long the removal may take at a stop.
    pub removal: Duration,
}

impl Default for Pace {
    /// Guesses: a router that restarts takes a minute or two; one that has no such protocol will
    /// hardly get one.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(30),
            longest: Duration::from_secs(30 * 60),
            look: Duration::from_secs(30),
            renew: (Duration::from_secs(60), Duration::from_secs(12 * 3600)),
            removal: Duration::from_secs(2),
        }
    }
}

/// What is to be mapped, and how.
pub struct Keeper<F> {
    /// Where the machine is now.
    pub home: F,
    /// The port to listen on.
    pub port: NonZeroU16,
    /// The protocols to try, in order.
    pub protocols: &'static [Protocol],
    /// How it stands, for whoever wants to know.
    pub state: watch::Sender<MappingState>,
    /// How long things take.
    pub pace: Pace,
}

/// A mapping, and the place it was made for.
struct Held {
    lease: Lease,
    local: Ipv4Addr,
    gateway: Option<Ipv4Addr>,
    renew_at: Instant,
    dies_at: Instant,
}

impl Held {
    fn new(lease: Lease, home: &Home, pace: &Pace) -> Self {
        let mut held = Self {
            lease,
            local: home.local,
            gateway: home.gateway,
            renew_at: Instant::now(),
            dies_at: Instant::now(),
        };
        held.wind(pace);
        held
    }

    /// Starts its time anew.
    fn wind(&mut self, pace: &Pace) {
        let life = Duration::from_secs(self.lease.mapped().lifetime.into());
        let now = Instant::now();
        self.renew_at = now + (life / 2).clamp(pace.renew.0, pace.renew.1);
        self.dies_at = now + life;
    }

    fn belongs_to(&self, home: &Home) -> bool {
        (self.local, self.gateway) == (home.local, home.gateway)
    }
}

impl<F: Fn() -> Option<Home> + Send> Keeper<F> {
    /// Runs until `stop`; then the mapping is removed, if there is one.
    pub async fn run(self, stop: CancellationToken) {
        let mut held: Option<Held> = None;
        let mut pause = self.pace.first;
        // An attempt is due at once.
        let mut due = Instant::now();
        while let Some(()) = until(due, &stop).await {
            let turn = async {
                match (held.take(), (self.home)().filter(private)) {
                    (Some(before), Some(home)) if before.belongs_to(&home) => {
                        self.tend(before, &home, &mut pause).await
                    }
                    (_, Some(home)) => self.ask(&home, &mut pause).await,
                    (_, None) => {
                        let public = (self.home)().is_some();
                        let idle = if public {
                            Idle::Public
                        } else {
                            Idle::NoNetwork
                        };
                        self.tell(MappingState::Idle(idle));
                        (None, Instant::now() + self.pace.look)
                    }
                }
            };
            // Whatever is being asked is finished first, so that what it brings can be removed;
            // every question is bounded in time.
            (held, due) = turn.await;
        }
        if let Some(held) = held {
            let _ = timeout(self.pace.removal, held.lease.release()).await;
        }
    }

    /// Tries each protocol in order.
    async fn ask(&self, home: &Home, pause: &mut Duration) -> (Option<Held>, Instant) {
        if self.state.borrow().external().is_some() {
            // It was for another network, and is worth nothing now.
            self.tell(MappingState::Asking);
        }
        let mut failures: Vec<(Protocol, MapError)> = Vec::new();
        for &protocol in self.protocols {
            match Lease::obtain(protocol, home, self.port).await {
                Ok(lease) => {
                    tracing::info!(%protocol, "the router lets other nodes through");
                    *pause = self.pace.first;
                    self.tell(MappingState::Mapped(lease.mapped()));
                    let held = Held::new(lease, home, &self.pace);
                    let due = self.next_look(&held);
                    return (Some(held), due);
                }
                Err(error) => failures.push((protocol, error)),
            }
        }
        for (protocol, error) in &failures {
            tracing::debug!(%protocol, ?error, "no mapping");
        }
        self.tell(MappingState::Failed(failures));
        let due = Instant::now() + *pause;
        *pause = (*pause * 2).min(self.pace.longest);
        (None, due)
    }

    /// Renews what is due. A mapping that can't be renewed is kept until it dies.
    async fn tend(
        &self,
        mut held: Held,
        home: &Home,
        pause: &mut Duration,
    ) -> (Option<Held>, Instant) {
        if held.renew_at > Instant::now() {
            let due = self.next_look(&held);
            return (Some(held), due);
        }
        match held.lease.renew().await {
            Ok(()) => {
                held.wind(&self.pace);
                self.tell(MappingState::Mapped(held.lease.mapped()));
            }
            Err(error) => {
                let protocol = held.lease.mapped().protocol;
                tracing::debug!(%protocol, ?error, "the mapping was not renewed");
                let gone = matches!(error, MapError::BehindAnother(_));
                if gone || held.dies_at <= Instant::now() + self.pace.renew.0 {
                    return self.ask(home, pause).await;
                }
                // As often as RFC 6887 asks for: half of what is left, and not too often.
                let left = held.dies_at - Instant::now();
                held.renew_at = Instant::now() + (left / 2).max(self.pace.renew.0);
            }
        }
        let due = self.next_look(&held);
        (Some(held), due)
    }

    fn next_look(&self, held: &Held) -> Instant {
        held.renew_at.min(Instant::now() + self.pace.look)
    }

    fn tell(&self, state: MappingState) {
        self.state.send_if_modified(|now| {
            let news = *now != state;
            *now = state;
            news
        });
    }
}

fn private(home: &Home) -> bool {
    is_private(home.local)
}

/// Ready with `Some` at that time, with `None` at a stop.
async fn until(due: Instant, stop: &CancellationToken) -> Option<()> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        () = sleep_until(due) => Some(()),
    }
}
