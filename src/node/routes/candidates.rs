//! Which routes circuits to a destination could take now, and what each would cost: for the
//! operator's eyes. Nothing is built, and nothing is asked of anybody.

use std::time::Instant;

use masq_cores::Role;
use masq_cores::flow::Host;
use masq_gossip::{NodeKey, RatePack};

use super::{Means, Routes};
use crate::control::NodeApiError;
use crate::control::types::{
    Amount, HopRole, Leg, MAX_ROUTES, RatesView, RouteHopView, RouteRequest, RouteView, RoutesView,
};
use crate::entry::parse_host;
use crate::ledger::price::{self, Direction, GIGABYTE};
use crate::routing::{self, Graph, HopRange, Likely, NoRoute, Rates, Request, Scores};

/// Routes shown when nobody says how many.
const DEFAULT_ROUTES: usize = 10;
/// The score of a node that was never met.
const UNKNOWN_SCORE: u8 = 94;

/// What is asked, taken apart.
pub(crate) struct Asked {
    host: String,
    port: Option<u16>,
    hops: Option<HopRange>,
    count: usize,
}

impl Asked {
    /// # Errors
    /// [`NodeApiError::Refused`] for a destination, hops or a number that make no sense.
    pub(crate) fn parse(request: &RouteRequest) -> Result<Self, NodeApiError> {
        let refused = |what: String, hint: &str| NodeApiError::Refused {
            what,
            hint: hint.into(),
        };
        let (host, port) = destination(&request.host).ok_or_else(|| {
            refused(
                "That names no destination.".into(),
                "Give a host name or an address, with a port if you like: example.org:443.",
            )
        })?;
        let hops = request.hops.as_deref().map(str::parse::<HopRange>);
        let hops = hops.transpose().map_err(|error| {
            let what = format!("The number of hops makes no sense: {error}.");
            refused(what, "Give for example 3, or 3-4.")
        })?;
        let count = request.count.unwrap_or(DEFAULT_ROUTES);
        if !(1..=MAX_ROUTES).contains(&count) {
            let what = format!("{count} routes can't be shown.");
            return Err(refused(what, "Ask for 1 to 100."));
        }
        Ok(Self {
            host,
            port,
            hops,
            count,
        })
    }
}

/// The host as it is judged, and the port if there is one.
fn destination(text: &str) -> Option<(String, Option<u16>)> {
    let judged = |host: Host| match host {
        Host::Name(name) => name,
        Host::V4(ip) => ip.to_string(),
        Host::V6(ip) => ip.to_string(),
    };
    let text = text.trim();
    if let Ok(host) = parse_host(text) {
        return Some((judged(host), None));
    }
    let (host, port) = text.rsplit_once(':')?;
    Some((judged(parse_host(host).ok()?), Some(port.parse().ok()?)))
}

/// What a look at the routes stands on.
struct Look<'a> {
    graph: &'a Graph,
    scores: &'a Scores,
    ceiling: Option<Rates>,
    now: Instant,
}

impl Routes {
    /// The routes that a circuit built now could take, the likeliest first. Those that only the
    /// ceiling rules out follow. Takes milliseconds, and up to a second for ranges of hops in a
    /// dense mesh: not for a task that others wait for.
    pub(crate) fn candidates(&self, asked: &Asked) -> RoutesView {
        let Means { unpaid, ceiling } = self.means;
        let graph = self.view.borrow().graph.clone();
        // A copy, so that circuits don't wait for the operator.
        let (scores, own) = {
            let learnt = self.learnt();
            (learnt.scores.clone(), learnt.hops)
        };
        let now = Instant::now();
        let host = scores.host(&asked.host);
        let failing = scores.exits_failing(host, now);
        let request = Request {
            exclude_exits: &failing,
            ceiling,
            unpaid,
            ..Request::new(asked.hops.unwrap_or(own))
        };
        let look = Look {
            graph: &graph,
            scores: &scores,
            ceiling,
            now,
        };
        let allowed = look.odds(&request, asked.port);
        let mut view = RoutesView {
            ceiling: ceiling.map(|ceiling| rates_view(&pack(&ceiling))),
            reason: allowed.as_ref().err().map(ToString::to_string),
            ..RoutesView::default()
        };
        let mut routes = look.shown(allowed.unwrap_or_default());
        if ceiling.is_some() {
            let request = Request {
                ceiling: None,
                ..request
            };
            let all = look.odds(&request, asked.port).unwrap_or_default();
            let dear = all.into_iter().filter(|route| !look.is_within(route));
            let dear = dear.map(|route| Likely {
                probability: 0.0,
                ..route
            });
            routes.extend(look.shown(dear.collect()));
        }
        let shown = routes.len().min(asked.count);
        view.left_out = (routes.len() - shown) as u64;
        routes.truncate(shown);
        view.routes = routes;
        view
    }
}

impl Look<'_> {
    /// As circuits for flows are chosen: exits that failed for the host get another chance when no
    /// other is left, and what exits say of their ports is only theirs to say.
    fn odds(&self, request: &Request<'_>, port: Option<u16>) -> Result<Vec<Likely>, NoRoute> {
        let wanted = Request { port, ..*request };
        let again = Request {
            exclude_exits: &[],
            ..wanted
        };
        let odds =
            |request: &Request<'_>| routing::odds(self.graph, request, self.scores, self.now);
        match odds(&wanted) {
            Err(NoRoute::ExitsExcluded { .. }) if !request.exclude_exits.is_empty() => odds(&again),
            found => found,
        }
    }

    fn rates(&self, node: &routing::NodeKey) -> Rates {
        self.graph
            .info(node)
            .map_or_else(Rates::default, |info| info.rates)
    }

    fn is_within(&self, route: &Likely) -> bool {
        let Some(ceiling) = self.ceiling else {
            return true;
        };
        let (exit, relays) = split(&route.over);
        let mut relays = relays.iter().chain(&route.back);
        relays.all(|node| self.rates(node).relay_within(&ceiling))
            && exit.is_none_or(|exit| self.rates(exit).exit_within(&ceiling))
    }

    fn shown(&self, mut routes: Vec<Likely>) -> Vec<RouteView> {
        routes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        routes.iter().map(|route| self.route(route)).collect()
    }

    fn route(&self, route: &Likely) -> RouteView {
        let exit_at = route.over.len().saturating_sub(1);
        let over = route.over.iter().enumerate().map(|(at, node)| {
            let role = if at == exit_at {
                Role::Exit
            } else {
                Role::OverRelay
            };
            (node, role)
        });
        let back = route.back.iter().map(|node| (node, Role::BackRelay));
        let hops: Vec<(&routing::NodeKey, Role)> = over.chain(back).collect();
        let packs: Vec<RatePack> = (hops.iter())
            .map(|(node, _)| pack(&self.rates(node)))
            .collect();
        let price = |direction| {
            let hops = hops.iter().zip(&packs);
            let hops = hops.map(|((_, role), pack)| (*role, pack));
            price::route(hops, direction, GIGABYTE).map(Amount)
        };
        let scores = hops.iter().map(|(node, _)| self.scores.of(node, self.now));
        let scores: Vec<_> = scores.collect();
        let latency = scores.iter().try_fold(0.0, |sum, score| {
            // Every hop's part of a round: together they are one.
            Some(sum + score.as_ref()?.latency?)
        });
        let points = scores.iter().map(|score| {
            let points = score.as_ref().map(routing::NodeScore::points);
            points.unwrap_or(UNKNOWN_SCORE)
        });
        let views = hops.iter().zip(&packs).zip(&scores);
        let views = views.map(|(((node, role), pack), score)| RouteHopView {
            node: NodeKey(**node).to_string(),
            role: match role {
                Role::Exit => HopRole::Exit,
                _ => HopRole::Relay,
            },
            leg: match role {
                Role::BackRelay => Leg::Back,
                _ => Leg::Over,
            },
            country: self.country(node),
            rates: rates_view(pack),
            score: score.as_ref().map(routing::NodeScore::points),
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a probability is from 0 to 1, and a latency bounded"
        )]
        let (per_ten_thousand, latency_ms) = (
            (route.probability * 10_000.0).round() as u32,
            latency.map(|ms| ms.round() as u64),
        );
        RouteView {
            hops: views.collect(),
            per_ten_thousand,
            download_gigabyte: price(Direction::Download),
            upload_gigabyte: price(Direction::Upload),
            latency_ms,
            score: points.min().unwrap_or(UNKNOWN_SCORE),
            country: route.over.last().and_then(|exit| self.country(exit)),
            within_ceiling: self.is_within(route),
        }
    }

    fn country(&self, node: &routing::NodeKey) -> Option<String> {
        let country = self.graph.info(node)?.country?;
        Some(country.iter().map(|letter| char::from(*letter)).collect())
    }
}

/// The exit, and the relays before it.
fn split(over: &[routing::NodeKey]) -> (Option<&routing::NodeKey>, &[routing::NodeKey]) {
    match over.split_last() {
        Some((exit, relays)) => (Some(exit), relays),
        None => (None, &[]),
    }
}

fn pack(rates: &Rates) -> RatePack {
    RatePack {
        routing_byte: rates.routing_byte,
        routing_package: rates.routing_package,
        exit_byte: rates.exit_byte,
        exit_package: rates.exit_package,
    }
}

fn rates_view(rates: &RatePack) -> RatesView {
    rates.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{NodeInfo, Ports};

    fn node(rate: u64, exits: bool, country: &[u8; 2]) -> NodeInfo {
        NodeInfo {
            routes: true,
            exits,
            listed_links: 3,
            country: exits.then_some(*country),
            rates: Rates {
                routing_byte: rate,
                routing_package: 1_000 * rate,
                exit_byte: 2 * rate,
                exit_package: 2_000 * rate,
            },
            ports: Ports::default(),
            ..NodeInfo::default()
        }
    }

    fn key(byte: u8) -> [u8; 32] {
        [byte; 32]
    }

    /// 0 has the entry link to 1; 1-2, 1-4, 2-3, 4-3, 2-5, 4-5: exits are 3 (cheap) and 5 (dear).
    fn graph() -> Graph {
        let cheap = 275_000;
        let mut graph = Graph::builder(key(0)).node(key(0), node(cheap, false, b"CZ"));
        for byte in [1, 2, 4] {
            graph = graph.node(key(byte), node(cheap, false, b"CZ"));
        }
        graph = graph.node(key(3), node(cheap, true, b"CZ"));
        graph = graph.node(key(5), node(4 * cheap, true, b"PL"));
        for (a, b) in [(1, 2), (1, 4), (2, 3), (4, 3), (2, 5), (4, 5)] {
            graph = graph.edge(key(a), key(b));
        }
        graph.entry(key(1)).build()
    }

    fn three() -> Request<'static> {
        Request {
            suspect_floor: 0,
            ..Request::new(HopRange::exactly(3).unwrap())
        }
    }

    fn look<'a>(graph: &'a Graph, scores: &'a Scores, ceiling: Option<Rates>) -> Look<'a> {
        Look {
            graph,
            scores,
            ceiling,
            now: Instant::now(),
        }
    }

    #[test]
    fn routes_have_their_price_and_the_cheap_ones_cost_what_is_published() {
        let (graph, scores) = (graph(), Scores::new([0; 16]));
        let look = look(&graph, &scores, None);
        let routes = look.shown(look.odds(&three(), Some(443)).unwrap());
        let sum: u32 = routes.iter().map(|route| route.per_ten_thousand).sum();
        assert!(sum.abs_diff(10_000) <= 4, "{sum}");
        let published = price::transfer(&price::DEFAULT_RATES, 3, Direction::Download, GIGABYTE);
        let of = |country: &str| {
            let mut routes = routes.iter();
            routes
                .find(|r| r.country.as_deref() == Some(country))
                .unwrap()
        };
        let cheap = of("CZ").download_gigabyte.unwrap().0;
        assert!(cheap.abs_diff(published.unwrap()) < 10, "{cheap}");
        assert!(of("PL").download_gigabyte.unwrap().0 > cheap * 2);
        let first = &routes[0];
        assert_eq!(first.hops.len(), 5);
        assert_eq!(
            first
                .hops
                .iter()
                .filter(|h| h.role == HopRole::Exit)
                .count(),
            1
        );
        assert_eq!(first.hops.iter().filter(|h| h.leg == Leg::Back).count(), 2);
        assert_eq!((first.score, first.latency_ms), (UNKNOWN_SCORE, None));
        assert!(routes.iter().all(|route| route.within_ceiling));
    }

    #[test]
    fn s31_what_is_above_the_ceiling_is_told_apart() {
        let (graph, scores) = (graph(), Scores::new([0; 16]));
        let ceiling = node(300_000, true, b"CZ").rates;
        let look = look(&graph, &scores, Some(ceiling));
        let all = look.shown(look.odds(&three(), None).unwrap());
        let dear = |r: &&RouteView| r.country.as_deref() == Some("PL");
        assert!(all.iter().filter(dear).all(|route| !route.within_ceiling));
        assert!(all.iter().any(|route| route.within_ceiling));
        let limited = Request {
            ceiling: Some(ceiling),
            ..three()
        };
        let allowed = look.shown(look.odds(&limited, None).unwrap());
        assert!(allowed.iter().all(|route| route.within_ceiling) && !allowed.is_empty());
    }

    #[test]
    fn latency_is_told_once_every_hop_was_measured() {
        let (graph, mut scores) = (graph(), Scores::new([0; 16]));
        let now = Instant::now();
        let round = std::time::Duration::from_millis(100);
        let route = [1, 2, 3, 4, 1].map(key);
        scores.worked(&route, Some(round), now);
        let look = look(&graph, &scores, None);
        let routes = look.shown(look.odds(&three(), None).unwrap());
        let measured = routes.iter().filter_map(|route| route.latency_ms);
        let measured: Vec<u64> = measured.collect();
        assert!(
            !measured.is_empty() && measured.iter().all(|ms| ms.abs_diff(100) <= 5),
            "{measured:?}"
        );
    }

    #[test]
    fn destinations_hops_and_numbers_are_checked() {
        let asked = |host: &str, hops: Option<&str>, count| {
            Asked::parse(&RouteRequest {
                host: host.into(),
                hops: hops.map(str::to_owned),
                count,
            })
        };
        for (host, judged, port) in [
            ("example.org", "example.org", None),
            ("example.org:443", "example.org", Some(443)),
            ("192.0.2.7:80", "192.0.2.7", Some(80)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:53", "2001:db8::1", Some(53)),
        ] {
            let asked = asked(host, Some("3-4"), Some(5)).unwrap();
            assert_eq!((asked.host.as_str(), asked.port), (judged, port));
        }
        for bad in ["", ":", "a b", "example.org:", "example.org:70000", "x:y:z"] {
            assert!(asked(bad, None, None).is_err(), "{bad:?}");
        }
        assert!(asked("x", Some("7"), None).is_err());
        assert!(asked("x", Some("4-3"), None).is_err());
        assert!(asked("x", None, Some(0)).is_err());
        assert!(asked("x", None, Some(101)).is_err());
    }
}
