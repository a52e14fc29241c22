//! The keys of one circuit, put together for each who takes part: relay, exit,
//! origin. What the keys do is in `cell`, `reverse` and `kx`.

use std::fmt;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::cell::{BackLayer, BackOpener, BackSealer, OverOpener, OverSealer};
use crate::keys::{Prk, label};
use crate::kx::KxBinding;
use crate::reverse::{ReverseHop, ReverseOrigin};

/// What a hop shares with the origin, not yet turned into a role's keys. Wiped on drop.
pub struct HopKeys(Prk);

/// The keys of a relay on the over leg.
#[derive(Debug)]
pub struct OverRelay {
    /// Opens the cells that pass.
    pub over: OverOpener,
    /// Reports and failures.
    pub reverse: ReverseHop,
}

/// The keys of the exit.
#[derive(Debug)]
pub struct ExitKeys {
    /// Opens the cells that arrive.
    pub over: OverOpener,
    /// Seals the cells that go home.
    pub back: BackSealer,
    /// Reports and failures.
    pub reverse: ReverseHop,
    /// Ties the key exchange to this circuit.
    pub binding: KxBinding,
}

/// The keys of a relay on the back leg.
#[derive(Debug)]
pub struct BackRelay {
    /// Adds this relay's layer to the cells that pass.
    pub back: BackLayer,
    /// Reports and failures.
    pub reverse: ReverseHop,
}

impl HopKeys {
    pub(crate) fn new(prk: Prk) -> Self {
        Self(prk)
    }

    /// For [`Role::OverRelay`](crate::Role::OverRelay).
    #[must_use]
    pub fn into_over_relay(self) -> OverRelay {
        OverRelay {
            over: OverOpener::relay(&self.0),
            reverse: ReverseHop::new(&self.0),
        }
    }

    /// For [`Role::Exit`](crate::Role::Exit).
    #[must_use]
    pub fn into_exit(self) -> ExitKeys {
        ExitKeys {
            over: OverOpener::exit(&self.0),
            back: BackSealer::new(&self.0),
            reverse: ReverseHop::new(&self.0),
            binding: KxBinding::new(&self.0),
        }
    }

    /// For [`Role::BackRelay`](crate::Role::BackRelay).
    #[must_use]
    pub fn into_back_relay(self) -> BackRelay {
        BackRelay {
            back: BackLayer::new(&self.0),
            reverse: ReverseHop::new(&self.0),
        }
    }
}

impl fmt::Debug for HopKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HopKeys(..)")
    }
}

/// The origin's keys of a circuit. Meant to be taken apart by its fields:
/// sealing, opening and reports live in different tasks.
pub struct OriginCircuit {
    /// Seals the cells of the over leg, about 1.5 kB a hop.
    pub over: OverSealer,
    /// Opens the cells that come home.
    pub back: BackOpener,
    /// Reports and failures.
    pub reverse: ReverseOrigin,
    /// Ties the key exchange to this circuit.
    pub binding: KxBinding,
    cookie: [u8; 32],
}

impl OriginCircuit {
    /// `secrets`: the over leg (`over` of them), the back leg, the origin's own.
    /// Draws 64 bytes from `rng`.
    pub(crate) fn new<R: CryptoRng + ?Sized>(secrets: &[Prk], over: usize, rng: &mut R) -> Self {
        let (own, hops) = secrets
            .split_last()
            .expect("the origin's own secret is always there");
        let (over, back) = hops.split_at(over);
        let exit = over.last().expect("an over leg has at least the exit");
        let mut pads = Zeroizing::new([[0; 32]; 2]);
        for pad in pads.iter_mut() {
            rng.fill_bytes(pad);
        }
        Self {
            over: OverSealer::new(over, &pads[0]),
            back: BackOpener::new(exit, back),
            reverse: ReverseOrigin::new(hops, &pads[1]),
            binding: KxBinding::new(exit),
            cookie: *own.expand(label::COOKIE),
        }
    }

    /// What [`Peeled::cookie`](crate::Peeled::cookie) is when this circuit's
    /// package comes home. No secret to anyone but the origin can be had from it.
    #[must_use]
    pub fn cookie(&self) -> [u8; 32] {
        self.cookie
    }
}

impl fmt::Debug for OriginCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OriginCircuit(..)")
    }
}
