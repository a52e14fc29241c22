//! Rate packs, counters, and the price of what was carried.

use crate::codec::Reader;

/// An amount in the token's smallest unit.
pub type Wei = u128;

/// What a node asks for: prices in wei of the token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RatePack {
    /// Per body byte carried as a relay.
    pub routing_byte: u64,
    /// Per cell carried as a relay.
    pub routing_package: u64,
    /// Per body byte carried as an exit.
    pub exit_byte: u64,
    /// Per cell carried as an exit.
    pub exit_package: u64,
}

/// What a hop does on a circuit, which says by which rates it is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// A relay, on either leg.
    Routing,
    /// The exit.
    Exit,
}

/// Cells of one leg, and their body bytes (the room in them, whatever was put there).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Carried {
    /// Cells of any size.
    pub cells: u64,
    /// Body bytes of those cells.
    pub bytes: u64,
}

/// What a hop carried for one circuit, from its beginning on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// On the over leg.
    pub over: Carried,
    /// On the back leg.
    pub back: Carried,
}

impl Usage {
    /// The larger of each counter: counters only ever grow.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let larger = |a: Carried, b: Carried| Carried {
            cells: a.cells.max(b.cells),
            bytes: a.bytes.max(b.bytes),
        };
        Self {
            over: larger(self.over, other.over),
            back: larger(self.back, other.back),
        }
    }
}

impl RatePack {
    /// Bytes of an encoded pack.
    pub(crate) const LEN: usize = 32;

    /// Whether every rate is at least that of `floor`.
    pub fn covers(&self, floor: &Self) -> bool {
        self.routing_byte >= floor.routing_byte
            && self.routing_package >= floor.routing_package
            && self.exit_byte >= floor.exit_byte
            && self.exit_package >= floor.exit_package
    }

    /// The price of one leg. Saturates: 2^64 bytes at 2^64 wei each fit, twice of it would not,
    /// and a sum at the ceiling can only be refused as too much, never paid.
    pub fn price_of(&self, service: Service, carried: Carried) -> Wei {
        let (byte, package) = match service {
            Service::Routing => (self.routing_byte, self.routing_package),
            Service::Exit => (self.exit_byte, self.exit_package),
        };
        let bytes = Wei::from(carried.bytes).saturating_mul(byte.into());
        let cells = Wei::from(carried.cells).saturating_mul(package.into());
        bytes.saturating_add(cells)
    }

    /// The price of a circuit's both legs; saturates like [`RatePack::price_of`].
    pub fn price(&self, service: Service, usage: Usage) -> Wei {
        self.price_of(service, usage.over)
            .saturating_add(self.price_of(service, usage.back))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for rate in [
            self.routing_byte,
            self.routing_package,
            self.exit_byte,
            self.exit_package,
        ] {
            out.extend_from_slice(&rate.to_be_bytes());
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            routing_byte: reader.u64()?,
            routing_package: reader.u64()?,
            exit_byte: reader.u64()?,
            exit_package: reader.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: RatePack = RatePack {
        routing_byte: 1,
        routing_package: 10,
        exit_byte: 3,
        exit_package: 30,
    };

    #[test]
    fn both_legs_are_paid_by_the_rates_of_the_service() {
        let carried = |cells, bytes| Carried { cells, bytes };
        let usage = Usage {
            over: carried(1, 100),
            back: carried(2, 1000),
        };
        assert_eq!(PACK.price(Service::Routing, usage), 1100 + 30);
        assert_eq!(PACK.price(Service::Exit, usage), 3300 + 90);
    }

    #[test]
    fn the_largest_figures_do_not_overflow() {
        let most = Carried {
            cells: u64::MAX,
            bytes: u64::MAX,
        };
        let pack = RatePack {
            routing_byte: u64::MAX,
            routing_package: u64::MAX,
            exit_byte: u64::MAX,
            exit_package: u64::MAX,
        };
        let usage = Usage {
            over: most,
            back: most,
        };
        assert_eq!(pack.price(Service::Exit, usage), Wei::MAX);
    }

    #[test]
    fn a_pack_covers_only_what_is_lower_in_every_rate() {
        assert!(PACK.covers(&PACK));
        assert!(!PACK.covers(&RatePack {
            exit_package: 31,
            ..PACK
        }));
        assert!(PACK.covers(&RatePack::default()));
    }
}
