//! The same things under the names of their crates: amounts carried, prices, reasons.
//!
//! Circuits count, gossip tells prices, the settlement protocol puts both on the wire, and the
//! ledger decides. None of these knows the others; here, and only here, they are told apart.

use masq_cores::Role;
use masq_cores::host::Carried;
use masq_settlement::state::Input;
use masq_settlement::{self as settlement, CircuitRef, Party, Reason, Refusal, Service, Usage};

use crate::ledger;

/// What an account calls a node.
pub(super) fn node(key: &masq_cores::NodeKey) -> settlement::NodeKey {
    settlement::NodeKey(key.0)
}

/// Which of a pack's rates apply to a role. An origin is paid by nobody.
pub(super) fn service(role: Role) -> Service {
    match role {
        Role::Exit => Service::Exit,
        Role::OverRelay | Role::BackRelay | Role::Origin => Service::Routing,
    }
}

/// What gossip calls a rate pack, in the words of the settlement protocol.
pub(super) fn rates(pack: &masq_gossip::RatePack) -> settlement::RatePack {
    settlement::RatePack {
        routing_byte: pack.routing_byte,
        routing_package: pack.routing_package,
        exit_byte: pack.exit_byte,
        exit_package: pack.exit_package,
    }
}

fn carried(carried: Carried) -> settlement::Carried {
    settlement::Carried {
        cells: carried.cells,
        bytes: carried.bytes,
    }
}

/// What a hop in this role has carried, of what went over the two legs: a relay is on one of
/// them.
pub(super) fn usage(role: Role, over: Carried, back: Carried) -> Usage {
    let none = Carried::default();
    let (over, back) = match role {
        Role::OverRelay => (over, none),
        Role::BackRelay => (none, back),
        Role::Exit | Role::Origin => (over, back),
    };
    Usage {
        over: carried(over),
        back: carried(back),
    }
}

/// What the accounts are told of a circuit's counters; `ended` says whether it has, and in good
/// order.
pub(super) fn counted(who: Party, circuit: CircuitRef, usage: Usage, ended: Option<bool>) -> Input {
    match ended {
        None => Input::Carried {
            who,
            circuit,
            usage,
        },
        Some(clean) => Input::Ended {
            who,
            circuit,
            usage,
            clean,
        },
    }
}

/// The ledger's reason in the form in which it travels.
pub(super) fn refusal(why: ledger::Refusal) -> Refusal {
    let (reason, figure) = match why {
        ledger::Refusal::Delinquent { owed, .. } => (Reason::Delinquent, owed),
        ledger::Refusal::OverLimit { pay, .. } | ledger::Refusal::NoFreeCredit { pay } => {
            (Reason::OverLimit, pay)
        }
        ledger::Refusal::NoTokens { need } => (Reason::NoTokens, need),
        ledger::Refusal::NoGas { need } => (Reason::NoGas, need),
        ledger::Refusal::NoRoom | ledger::Refusal::UnknownLease => (Reason::NoRoom, 0),
    };
    Refusal { reason, figure }
}

/// A refusal in words, with the figure that would satisfy the hop.
pub(super) fn in_words(refusal: &Refusal) -> String {
    let tokens = ledger::Tokens(refusal.figure);
    match refusal.reason {
        Reason::Delinquent => format!("a debt of {tokens} is overdue"),
        Reason::NoTokens => format!("the wallet's balance is below what it owes, {tokens}"),
        Reason::NoGas => format!(
            "the wallet has too little of the chain's own coin to pay a fee, {} wei are needed",
            refusal.figure
        ),
        Reason::OverLimit => format!(
            "its credit for this node is used up; prepaying {tokens} or more opens it again"
        ),
        reason => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_paid_for_the_leg_that_it_is_on() {
        let one = Carried { cells: 1, bytes: 9 };
        let two = Carried { cells: 2, bytes: 8 };
        let cells = |role| {
            let usage = usage(role, one, two);
            (usage.over.cells, usage.back.cells)
        };
        assert_eq!(cells(Role::OverRelay), (1, 0));
        assert_eq!(cells(Role::BackRelay), (0, 2));
        assert_eq!(cells(Role::Exit), (1, 2));
    }

    #[test]
    fn prices_of_both_crates_are_the_same() {
        let pack = ledger::price::DEFAULT_RATES;
        let over = Carried {
            cells: 3,
            bytes: 50_000,
        };
        let back = Carried {
            cells: 1_000,
            bytes: 16_363_000,
        };
        for role in [Role::OverRelay, Role::BackRelay, Role::Exit] {
            let of_settlement = rates(&pack).price(service(role), usage(role, over, back));
            let none = Carried::default();
            let of_ledger = match role {
                Role::OverRelay => ledger::price::circuit(role, &pack, over, none),
                Role::BackRelay => ledger::price::circuit(role, &pack, none, back),
                _ => ledger::price::circuit(role, &pack, over, back),
            };
            assert_eq!(Some(of_settlement), of_ledger, "{role:?}");
        }
    }

    #[test]
    fn words_have_the_figure() {
        let refusal = refusal(ledger::Refusal::OverLimit {
            limit: 1,
            pay: ledger::TOKEN / 2,
        });
        assert!(in_words(&refusal).contains("0.5"), "{}", in_words(&refusal));
    }
}
