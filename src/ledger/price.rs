//! What carrying costs: counters × rate pack → wei; default rates; the published figure.
//!
//! # What a gigabyte costs
//!
//! A hop is paid for each cell and for each body byte of it, by its routing rates where it relays
//! and by its exit rates where it is the exit. A transfer in bulk fills the largest cells of one
//! leg ([`FULL_BODY_OVER`], [`FULL_BODY_BACK`] body bytes), of which [`FRAMING`] bytes belong to
//! session and flow. The other leg carries one small cell for each [`ACK_EVERY`] bytes: at every
//! 512 KiB the receiver acknowledges, and that cell takes credit and windows along. With `h` hops,
//! `r` and `R` for the routing byte and package, `e` and `E` for the exit byte and package,
//! downloading `N` bytes costs
//!
//! ```text
//! cells = N / (16363 − 34)                      back leg, full
//! acks  = N / 524288                            over leg, small
//! wei   = cells × ((e + (h−1)·r)·16363 + E + (h−1)·R)
//!       + acks  × ((e + (h−1)·r)·903   + E + (h−1)·R)
//! ```
//!
//! and uploading the same with 16263 for 16363 and 1003 for 903. One GB is 10^9 bytes as the
//! client sees them. With [`DEFAULT_RATES`] and three hops that is 1 MASQ per 852 GB down and
//! 851 GB up.

use masq_cores::Role;
use masq_cores::host::Carried;
use masq_gossip::RatePack;

use super::Wei;
use super::money::{Round, TOKEN, mul_div};

/// Body bytes of the largest cell on the over leg: 16,384 on the wire less the kind byte and 120
/// of tags. From the specification of cores.
pub const FULL_BODY_OVER: u64 = 16_263;
/// Body bytes of the largest cell on the back leg: 16,384 less the kind byte and 20.
pub const FULL_BODY_BACK: u64 = 16_363;
/// Body bytes of the smallest cell on the over leg.
pub const SMALL_BODY_OVER: u64 = 903;
/// Body bytes of the smallest cell on the back leg.
pub const SMALL_BODY_BACK: u64 = 1_003;
/// Bytes of a full cell that are not the client's: 21 of the session, 12 of yamux, 1 of the flow.
pub const FRAMING: u64 = 34;
/// Bytes for which the receiver sends one small cell. From the specification of cores.
pub const ACK_EVERY: u64 = 512 * 1024;
/// One gigabyte, in bytes.
pub const GIGABYTE: u64 = 1_000_000_000;

/// What a node asks for when nothing else is configured.
///
/// From the design: three hops, 1 MASQ per 850 GB. The exit has the trouble and so twice the price
/// of a relay; a package costs as much as 1,000 bytes (guess, from the time of a cell's
/// cryptography and system calls against that of copying it).
pub const DEFAULT_RATES: RatePack = RatePack {
    routing_byte: 275_000,
    routing_package: 275_000_000,
    exit_byte: 550_000,
    exit_package: 550_000_000,
};

/// Which way the client's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the server, on the back leg.
    Download,
    /// To the server, on the over leg.
    Upload,
}

/// What a hop earns by one leg of a circuit. Nothing at the origin. `None` when it does not fit
/// 128 bits, which no counters that were really counted reach.
pub fn leg(role: Role, rates: &RatePack, carried: Carried) -> Option<Wei> {
    let (byte, package) = match role {
        Role::OverRelay | Role::BackRelay => (rates.routing_byte, rates.routing_package),
        Role::Exit => (rates.exit_byte, rates.exit_package),
        Role::Origin => return Some(0),
    };
    // Two factors below 2^64 fit 128 bits.
    let bytes = Wei::from(carried.bytes) * Wei::from(byte);
    let packages = Wei::from(carried.cells) * Wei::from(package);
    bytes.checked_add(packages)
}

/// What a hop earns by a circuit: both legs, so that an exit is paid for what goes through it in
/// either direction, and a relay for the leg that it is on.
pub fn circuit(role: Role, rates: &RatePack, over: Carried, back: Carried) -> Option<Wei> {
    leg(role, rates, over)?.checked_add(leg(role, rates, back)?)
}

/// The most that a hop with these rates takes for a body byte in full cells, whatever its role.
pub fn dearest(rates: &RatePack, bytes: u64) -> Option<Wei> {
    let carried = Carried {
        cells: bytes.div_ceil(FULL_BODY_OVER),
        bytes,
    };
    let relay = leg(Role::OverRelay, rates, carried)?;
    Some(relay.max(leg(Role::Exit, rates, carried)?))
}

/// What all hops of a circuit together take for `bytes` of the client's, by the formula above.
/// `hops` counts the exit; zero is taken for one. `None` when it does not fit 128 bits.
pub fn transfer(rates: &RatePack, hops: u8, direction: Direction, bytes: u64) -> Option<Wei> {
    let (full, small) = bodies(direction);
    let relays = Wei::from(hops.saturating_sub(1));
    let cell = |body: u64| {
        let one = Carried {
            cells: 1,
            bytes: body,
        };
        let relay = leg(Role::OverRelay, rates, one)?.checked_mul(relays)?;
        relay.checked_add(leg(Role::Exit, rates, one)?)
    };
    let data = mul_div(
        bytes.into(),
        cell(full)?,
        (full - FRAMING).into(),
        Round::Up,
    )?;
    let acks = mul_div(bytes.into(), cell(small)?, ACK_EVERY.into(), Round::Up)?;
    data.checked_add(acks)
}

/// What one hop takes for `bytes` of the client's, by the formula above: the exit for both legs, a
/// relay for the one that it is on. Nothing at the origin. `None` when it does not fit 128 bits.
pub fn hop(role: Role, rates: &RatePack, direction: Direction, bytes: u64) -> Option<Wei> {
    let (full, small) = bodies(direction);
    let cell = |body: u64| {
        let one = Carried {
            cells: 1,
            bytes: body,
        };
        leg(role, rates, one)
    };
    let data = || {
        mul_div(
            bytes.into(),
            cell(full)?,
            (full - FRAMING).into(),
            Round::Up,
        )
    };
    let acks = || mul_div(bytes.into(), cell(small)?, ACK_EVERY.into(), Round::Up);
    match (role, direction) {
        (Role::Origin, _) => Some(0),
        (Role::Exit, _) => data()?.checked_add(acks()?),
        (Role::BackRelay, Direction::Download) | (Role::OverRelay, Direction::Upload) => data(),
        (Role::OverRelay, Direction::Download) | (Role::BackRelay, Direction::Upload) => acks(),
    }
}

/// What all hops of a route with prices of their own take together. As [`transfer`], which is the
/// same for hops with equal prices and legs of equal length.
pub fn route<'a>(
    hops: impl IntoIterator<Item = (Role, &'a RatePack)>,
    direction: Direction,
    bytes: u64,
) -> Option<Wei> {
    hops.into_iter().try_fold(0, |sum: Wei, (role, rates)| {
        sum.checked_add(hop(role, rates, direction, bytes)?)
    })
}

/// Body bytes of the cells that carry data and of those that acknowledge.
fn bodies(direction: Direction) -> (u64, u64) {
    match direction {
        Direction::Download => (FULL_BODY_BACK, SMALL_BODY_OVER),
        Direction::Upload => (FULL_BODY_OVER, SMALL_BODY_BACK),
    }
}

/// Gigabytes that one token buys; `None` when it buys any number, because the rates are zero.
pub fn gigabytes_per_token(rates: &RatePack, hops: u8, direction: Direction) -> Option<f64> {
    let price = transfer(rates, hops, direction, GIGABYTE)?;
    (price > 0).then(|| TOKEN as f64 / price as f64)
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

    fn carried(cells: u64, bytes: u64) -> Carried {
        Carried { cells, bytes }
    }

    #[test]
    fn each_role_is_paid_by_its_own_rates() {
        let price = |role| circuit(role, &PACK, carried(1, 100), carried(2, 1_000));
        assert_eq!(price(Role::OverRelay), Some(1_130));
        assert_eq!(price(Role::BackRelay), Some(1_130));
        assert_eq!(price(Role::Exit), Some(3_390));
        assert_eq!(price(Role::Origin), Some(0));
    }

    #[test]
    fn the_largest_figures_do_not_wrap() {
        let most = carried(u64::MAX, u64::MAX);
        let pack = RatePack {
            exit_byte: u64::MAX,
            exit_package: u64::MAX,
            ..PACK
        };
        assert_eq!(leg(Role::Exit, &pack, most), None);
        assert_eq!(circuit(Role::Exit, &pack, most, most), None);
    }

    /// Counts cells one by one, as the hops of a three-hop circuit do, for a real transfer.
    fn counted(direction: Direction, bytes: u64) -> Wei {
        let (full, small) = match direction {
            Direction::Download => (FULL_BODY_BACK, SMALL_BODY_OVER),
            Direction::Upload => (FULL_BODY_OVER, SMALL_BODY_BACK),
        };
        let cells = bytes.div_ceil(full - FRAMING);
        let data = carried(cells, cells * full);
        let acks = bytes / ACK_EVERY;
        let acks = carried(acks, acks * small);
        let (over, back) = match direction {
            Direction::Download => (acks, data),
            Direction::Upload => (data, acks),
        };
        let none = Carried::default();
        let relay = |over, back| circuit(Role::OverRelay, &DEFAULT_RATES, over, back).unwrap();
        let exit = circuit(Role::Exit, &DEFAULT_RATES, over, back).unwrap();
        exit + 2 * relay(over, none) + 2 * relay(none, back)
    }

    #[test]
    fn s32_three_hops_cost_one_token_per_850_gigabytes_within_five_per_cent() {
        for direction in [Direction::Download, Direction::Upload] {
            let published = gigabytes_per_token(&DEFAULT_RATES, 3, direction).unwrap();
            assert!((published / 850.0 - 1.0).abs() < 0.05, "{published}");
            let measured = 3.0 * TOKEN as f64 / counted(direction, 3 * GIGABYTE) as f64;
            assert!((measured / published - 1.0).abs() < 0.05, "{measured}");
        }
    }

    #[test]
    fn a_route_of_equal_hops_costs_what_the_formula_says_and_each_hop_counts_by_its_own_rates() {
        use Direction::{Download, Upload};
        let roles = [
            Role::OverRelay,
            Role::OverRelay,
            Role::Exit,
            Role::BackRelay,
            Role::BackRelay,
        ];
        for direction in [Download, Upload] {
            let equal = roles.map(|role| (role, &DEFAULT_RATES));
            let sum = route(equal, direction, GIGABYTE).unwrap();
            let formula = transfer(&DEFAULT_RATES, 3, direction, GIGABYTE).unwrap();
            // Each hop is rounded for itself.
            assert!(sum.abs_diff(formula) <= 10, "{sum} {formula}");
        }
        let dear = RatePack {
            routing_byte: 3 * DEFAULT_RATES.routing_byte,
            routing_package: 3 * DEFAULT_RATES.routing_package,
            ..DEFAULT_RATES
        };
        let with = |at: usize| {
            let mut hops = roles.map(|role| (role, &DEFAULT_RATES));
            hops[at].1 = &dear;
            route(hops, Download, GIGABYTE).unwrap()
        };
        let (acks, exit, data) = (with(1), with(2), with(4));
        assert_eq!(
            exit,
            route(roles.map(|role| (role, &DEFAULT_RATES)), Download, GIGABYTE).unwrap()
        );
        assert!(exit < acks && acks < data);
        let most = RatePack {
            exit_byte: u64::MAX,
            exit_package: u64::MAX,
            ..dear
        };
        assert_eq!(hop(Role::Exit, &most, Upload, u64::MAX), None);
        assert_eq!(hop(Role::Origin, &most, Upload, u64::MAX), Some(0));
    }

    #[test]
    fn the_figures_in_the_documentation_are_those_of_the_formula() {
        let whole = |direction| gigabytes_per_token(&DEFAULT_RATES, 3, direction).unwrap() as u64;
        assert_eq!(
            (whole(Direction::Download), whole(Direction::Upload)),
            (852, 851)
        );
        assert_eq!(
            gigabytes_per_token(&RatePack::default(), 3, Direction::Upload),
            None
        );
    }
}
