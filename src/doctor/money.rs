//! What is to be said of payments: facts in, findings out.

use super::{Check, Finding};
use crate::chain::engine::{Halt, Phase};
use crate::chain::provider::Fault;
use crate::ledger::fit::{Fit, Misfit};
use crate::ledger::{Funds, Tokens, Wei};

/// Transfers for which there should be coins (guess: a day's payments to a few hops).
const FEES_AHEAD: u128 = 10;

/// What is known of the money of a running node whose payments are on.
#[derive(Clone)]
pub struct MoneyFacts {
    /// Symbol of the chain's coin.
    pub coin: String,
    /// Each endpoint, in the order of the configuration: on the right chain, with the right token,
    /// or what is wrong with it.
    pub endpoints: Vec<Result<(), Fault>>,
    /// Whether the node pays: it originates.
    pub pays: bool,
    /// Whether the node serves and so earns.
    pub serves: bool,
    /// What the consuming wallet has, where it is known.
    pub funds: Option<Funds>,
    /// What is owed to hops and not paid, in wei of the token.
    pub owed: Wei,
    /// What one transfer costs at present, in wei of the coin, where it is known.
    pub fee: Option<u128>,
    /// Whether payments may begin; `None` at a node that pays nobody.
    pub phase: Option<Phase>,
    /// Whether the operator has paused them.
    pub paused: bool,
    /// Whether they are only reported.
    pub dry_run: bool,
    /// Whether there is a wallet to be paid to.
    pub earning_wallet: bool,
    /// Whether the terms fit together and the present fees.
    pub fit: Result<Fit, Misfit>,
}

/// What is to be said of them.
#[must_use]
pub fn judge(facts: &MoneyFacts) -> Vec<Finding> {
    let mut findings = vec![chain(facts)];
    if facts.pays {
        findings.extend(consuming(facts));
        findings.push(payments(facts));
    }
    if facts.serves {
        findings.push(earning(facts));
    }
    findings.push(terms(facts));
    findings
}

fn chain(facts: &MoneyFacts) -> Finding {
    let number = facts.endpoints.len();
    let faults = facts.endpoints.iter().zip(1..);
    let faults: Vec<(usize, &Fault)> = faults
        .filter_map(|(endpoint, at)| Some((at, endpoint.as_ref().err()?)))
        .collect();
    let said = |faults: &[(usize, &Fault)]| {
        let said = faults.iter().map(|(at, fault)| format!("{at}: {fault}"));
        said.collect::<Vec<_>>().join("; ")
    };
    let passing = faults.iter().all(|(_, fault)| fault.is_passing());
    let remedy = if passing {
        "Look at this machine's connection and at the service's own status page, or name other \
         endpoints in `rpc`. Nothing that is owed is lost meanwhile."
    } else {
        "Correct `rpc`, `chain` or `token` in the configuration, and restart the daemon."
    };
    if number == 0 {
        return Finding::fault(
            Check::Chain,
            "No endpoint of the chain is configured.",
            "Name one or two in `rpc`.",
        );
    }
    if faults.len() == number {
        let what = format!("No endpoint of the chain can be used ({}).", said(&faults));
        return Finding::fault(Check::Chain, what, remedy);
    }
    if !faults.is_empty() {
        let what = format!(
            "Of {number} endpoints of the chain, {} can't be used ({}).",
            faults.len(),
            said(&faults)
        );
        // Its answers are thrown away: it does no harm, and stands in for nobody.
        return Finding::warning(Check::Chain, what, remedy);
    }
    if number == 1 {
        return Finding::warning(
            Check::Chain,
            "The one endpoint of the chain answers, is on the right chain and has the token; with \
             one only, whatever it says is believed.",
            "Name a second one, of another provider, in `rpc`.",
        );
    }
    Finding::ok(
        Check::Chain,
        format!(
            "The {number} endpoints of the chain answer, are on the right chain and have the token."
        ),
    )
}

fn consuming(facts: &MoneyFacts) -> Option<Finding> {
    let (check, coin) = (Check::ConsumingWallet, &facts.coin);
    let Some(funds) = facts.funds else {
        // Why nobody answers is said of the endpoints.
        return facts.endpoints.iter().any(Result::is_ok).then(|| {
            Finding::warning(
                check,
                "The balance of the wallet that pays is not known yet.",
                "Ask again in a minute.",
            )
        });
    };
    let fill = "Send some to the consuming wallet (`masq payments status` tells its address).";
    if funds.token == 0 {
        return Some(Finding::fault(
            check,
            "The wallet that pays has no MASQ: hops will serve nothing beyond what they give on \
             trust.",
            fill,
        ));
    }
    if funds.native == 0 {
        let what = format!("The wallet that pays has no {coin}, and no payment without a fee.");
        return Some(Finding::fault(check, what, fill));
    }
    let transfers = facts.fee.filter(|fee| *fee > 0);
    let transfers = transfers.map(|fee| funds.native / fee);
    if transfers == Some(0) {
        let what = format!("The wallet that pays has too little {coin} for the fee of a payment.");
        return Some(Finding::fault(check, what, fill));
    }
    if funds.token < facts.owed {
        let what = format!(
            "{} are owed, and the wallet that pays has {}: the oldest debts are paid first.",
            Tokens(facts.owed),
            Tokens(funds.token)
        );
        return Some(Finding::warning(check, what, fill));
    }
    if let Some(transfers) = transfers.filter(|transfers| *transfers < FEES_AHEAD) {
        let what =
            format!("The {coin} of the wallet that pays is enough for {transfers} payments.");
        return Some(Finding::warning(check, what, fill));
    }
    let tokens = Tokens(funds.token);
    let what = format!("The wallet that pays has {tokens}, and {coin} for fees.");
    Some(Finding::ok(check, what))
}

fn payments(facts: &MoneyFacts) -> Finding {
    let check = Check::Payments;
    match facts.phase {
        Some(Phase::Halted(why)) => {
            Finding::fault(check, format!("Payments are halted: {why}."), after(why))
        }
        _ if facts.paused => Finding::warning(
            check,
            "Payments are paused; hops will stop serving when debts get too old.",
            "Type: masq payments resume",
        ),
        _ if facts.dry_run => Finding::warning(
            check,
            "Payments are only reported (dry run); hops will stop serving when debts get too old.",
            "Take dry_run out of the configuration, or type: masq payments dry-run off",
        ),
        Some(Phase::Running) => {
            Finding::ok(check, "Payments are made when debts are over the line.")
        }
        _ => Finding::warning(
            check,
            "Payments wait until the chain was compared with the books.",
            "Ask again in a minute; when it stays like this, the chain's endpoints are the reason.",
        ),
    }
}

/// What to do about a halt.
pub(crate) fn after(why: Halt) -> String {
    match why {
        Halt::OldDatabase { .. } | Halt::ChainAhead { .. } => {
            "Look at the wallet's transactions on a block explorer; when all debts that they paid \
             are settled in the books, or you accept that some may be paid twice, type: masq \
             payments adopt-nonce"
                .into()
        }
        Halt::Foreign { nonce } | Halt::Astray { nonce } => format!(
            "Look at the wallet's transaction {nonce} on a block explorer, and type: masq payments \
             decide {nonce} paid, or unpaid"
        ),
        _ => "Stop the daemon, keep a copy of its data folder, and restore the last good copy of \
              the payment database."
            .into(),
    }
}

fn earning(facts: &MoneyFacts) -> Finding {
    if facts.earning_wallet {
        return Finding::ok(Check::EarningWallet, "There is a wallet to be paid to.");
    }
    Finding::fault(
        Check::EarningWallet,
        "This node serves others, and there is no wallet to be paid to.",
        "Set `earning_wallet`, or make one with `masq wallet generate`; or set `payments = false`.",
    )
}

fn terms(facts: &MoneyFacts) -> Finding {
    let fit = match &facts.fit {
        Err(misfit) => {
            return Finding::fault(
                Check::Terms,
                format!("Rates, thresholds, credit and fees don't fit together: {misfit}."),
                "Change the setting that it names, and restart the daemon.",
            );
        }
        Ok(fit) => fit,
    };
    let worth = match fit.least {
        // The fee is not known, or not compared.
        0 => "The".to_owned(),
        least => format!(
            "Payments of {} or more are worth their fee; the",
            Tokens(least)
        ),
    };
    Finding::ok(
        Check::Terms,
        format!(
            "{worth} smallest debt that is paid by itself is {} through one relay, or {} through \
             one exit.",
            traffic(fit.relay_gb),
            traffic(fit.exit_gb)
        ),
    )
}

/// So many gigabytes; less than one in megabytes.
fn traffic(gigabytes: Option<f64>) -> String {
    match gigabytes {
        None => "any number of GB".to_owned(),
        Some(gb) if gb < 1.0 => format!("{:.1} MB", gb * 1_000.0),
        Some(gb) => format!("{:.0} GB", gb.floor()),
    }
}

#[cfg(test)]
mod tests;
