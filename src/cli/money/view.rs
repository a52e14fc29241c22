//! What the commands about money show to a person.

use std::fmt::Write;

use super::super::text::{Facts, clean, coins, count, duration, table};
use crate::control::types::{
    Amount, Financials, HaltView, HopRole, Leg, MoneyStatus, MoneySummary, PayableView,
    PaymentKind, PaymentState, PaymentView, PaymentsView, PrepayQuote, RatesView, ReceivableView,
    RouteView, RoutesView, ScanView, Selection, SettingsView, TermsView, Totals, short,
};
use crate::ledger::{GWEI, Thresholds, Tokens};

/// Hops named in a row of payments; the rest is counted.
const NAMED: usize = 3;

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn owed_by_us(totals: &Totals) -> String {
    let owed = totals.payable;
    let mut text = format!("{} to {}", owed.unpaid, count(owed.payees, "hop"));
    if owed.over_line > 0 {
        let _ = write!(text, ", {} over the line", count(owed.over_line, "debt"));
    }
    text
}

fn owed_to_us(totals: &Totals) -> String {
    let owed = totals.receivable;
    let mut text = format!("{} by {}", owed.unpaid, count(owed.payers, "payer"));
    if owed.banned > 0 {
        let _ = write!(text, ", {} of them banned", owed.banned);
    }
    text
}

pub(super) fn financials(financials: &Financials, selection: &Selection) -> String {
    let (owed, due) = (&financials.totals.payable, &financials.totals.receivable);
    let both = selection.payables == selection.receivables;
    let mut facts = Facts::default();
    if both || selection.payables {
        facts.add("this node owes", owed_by_us(&financials.totals));
        facts.add("in payments", owed.pending.to_string());
        facts.add("has paid", owed.paid.to_string());
        facts.add("paid ahead", owed.ahead.to_string());
    }
    if both || selection.receivables {
        facts.add("it is owed", owed_to_us(&financials.totals));
        facts.add("was paid", due.paid.to_string());
        facts.add("not final yet", due.provisional.to_string());
        facts.add("prepaid to it", due.prepaid.to_string());
        facts.add("unclaimed", due.unclaimed.to_string());
    }
    let mut out = String::new();
    facts.write(&mut out);
    if !financials.payables.is_empty() {
        out.push_str("\nThis node owes\n");
        let mut rows = vec![row(&[
            "node",
            "unpaid",
            "age",
            "in payments",
            "paid",
            "ahead",
            "wallet",
            "",
        ])];
        rows.extend(financials.payables.iter().map(payable));
        table(&mut out, &rows);
    }
    more(&mut out, financials.left_out.payables);
    if !financials.receivables.is_empty() {
        out.push_str("\nIt is owed\n");
        let mut rows = vec![row(&[
            "wallet",
            "unpaid",
            "age",
            "paid",
            "not final",
            "prepaid",
            "limit",
            "",
        ])];
        rows.extend(financials.receivables.iter().map(receivable));
        table(&mut out, &rows);
    }
    more(&mut out, financials.left_out.receivables);
    out
}

fn more(out: &mut String, left: u64) {
    if left > 0 {
        let _ = writeln!(out, "  {left} more");
    }
}

fn age(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), duration)
}

fn payable(of: &PayableView) -> Vec<String> {
    let mut notes = Vec::new();
    if of.over_line {
        notes.push("over the line".to_owned());
    }
    notes.extend(of.held_seconds.map(|left| {
        let left = duration(left);
        format!("payment failed, next in {left}")
    }));
    vec![
        short(&of.node).to_owned(),
        of.unpaid.to_string(),
        age(of.age_seconds),
        of.pending.to_string(),
        of.paid.to_string(),
        of.ahead.to_string(),
        of.wallet.to_string(),
        notes.join(", "),
    ]
}

fn receivable(of: &ReceivableView) -> Vec<String> {
    let note = match (of.banned, of.unclaimed) {
        (true, _) => "banned",
        (false, true) => "unclaimed",
        (false, false) => "",
    };
    vec![
        of.wallet.to_string(),
        of.unpaid.to_string(),
        age(of.age_seconds),
        of.paid.to_string(),
        of.provisional.to_string(),
        of.prepaid.to_string(),
        of.limit.to_string(),
        note.to_owned(),
    ]
}

fn state(state: PaymentState) -> &'static str {
    match state {
        PaymentState::Waiting => "waiting",
        PaymentState::Included => "in a block",
        PaymentState::Cancelling => "cancelling",
        PaymentState::Paid => "paid",
        PaymentState::Failed => "failed",
        PaymentState::Cancelled => "cancelled",
        PaymentState::Foreign => "taken by another",
        PaymentState::Astray => "went astray",
    }
}

/// `now` is in seconds since 1970.
pub(super) fn payments(payments: &PaymentsView, coin: &str, now: u64) -> String {
    let mut out = String::new();
    if payments.under_way.is_empty() {
        out.push_str("No payment is under way.\n");
    } else {
        out.push_str("Under way\n");
        let mut rows = vec![row(&[
            "nonce",
            "is",
            "amount",
            "to",
            "made",
            "variants",
            "fee at most",
            "transaction",
        ])];
        rows.extend(payments.under_way.iter().map(|payment| {
            let fee = payment.most_fee.map(|fee| coins(fee, coin));
            let mut row = begin(payment, now);
            row.push(payment.variants.to_string());
            row.push(fee.unwrap_or_default());
            row.extend(transaction(payment));
            row
        }));
        table(&mut out, &rows);
    }
    if !payments.done.is_empty() {
        out.push_str("\nFinal\n");
        let mut rows = vec![row(&[
            "nonce",
            "is",
            "amount",
            "to",
            "since",
            "transaction",
        ])];
        rows.extend(payments.done.iter().map(|payment| {
            let mut row = begin(payment, now);
            row.extend(transaction(payment));
            row
        }));
        table(&mut out, &rows);
    }
    if payments.left_out > 0 {
        let _ = writeln!(out, "  {} older", payments.left_out);
    }
    out
}

fn begin(payment: &PaymentView, now: u64) -> Vec<String> {
    let named = payment.shares.iter().take(NAMED);
    let mut names: Vec<String> = named.map(|share| short(&share.node).to_owned()).collect();
    let rest = payment.shares.len().saturating_sub(NAMED);
    if rest > 0 {
        names.push(format!("+{rest}"));
    }
    let to = match payment.kind {
        PaymentKind::Approval => "approval for batches".to_owned(),
        _ => names.join(" "),
    };
    vec![
        payment.nonce.to_string(),
        state(payment.state).to_owned(),
        payment.amount.to_string(),
        to,
        format!(
            "{} ago",
            duration(now.saturating_sub(payment.at_unix_ms / 1000))
        ),
    ]
}

fn transaction(payment: &PaymentView) -> Option<String> {
    let transaction = payment.transaction.as_ref();
    Some(transaction.map_or_else(|| "-".to_owned(), ToString::to_string))
}

pub(super) fn status(money: &MoneyStatus) -> String {
    let mut out = format!("{}\n", clean(&money.sentence()));
    let remedy = money.paying.as_ref().and_then(|paying| paying.halt);
    if let Some(halt) = remedy {
        let _ = writeln!(out, "{}", after(halt));
    }
    out.push('\n');
    let mut facts = Facts::default();
    facts.add("chain", &money.chain);
    if let Some(paying) = &money.paying {
        facts.add("pays from", paying.wallet.to_string());
        let balance = paying.balance.map(|balance| {
            let coins = coins(balance.coins, &money.coin);
            let ago = duration(balance.ago_seconds);
            format!("{} and {coins}, {ago} ago", balance.tokens)
        });
        facts.add(
            "which has",
            balance.unwrap_or_else(|| "not known yet".into()),
        );
        facts.add("under way", count(paying.under_way.into(), "payment"));
    }
    if let Some(earning) = &money.earning {
        facts.add("is paid to", earning.wallet.to_string());
        let looked = format!("up to block {}", earning.next_block.saturating_sub(1));
        facts.add("looked", looked);
    }
    facts.add("owes", owed_by_us(&money.totals));
    facts.add("is owed", owed_to_us(&money.totals));
    if let Some(fees) = money.fees {
        let mut text = format!("{} for a transfer", coins(fees.transfer, &money.coin));
        if fees.in_tokens.0 > 0 {
            let (tokens, least) = (fees.in_tokens, fees.least);
            let _ = write!(text, ", {tokens}; payments of {least} or more are worth it");
        }
        facts.add("fees", text);
    }
    for endpoint in &money.endpoints {
        let fault = endpoint.fault.as_deref().unwrap_or("no fault is known");
        facts.add("endpoint", format!("{}: {fault}", endpoint.number));
    }
    facts.write(&mut out);
    if !money.notices.is_empty() {
        out.push_str("\nLately\n");
        let rows = money.notices.iter().map(|notice| {
            let ago = format!("{} ago", duration(notice.ago_seconds));
            vec![ago, notice.what.clone()]
        });
        table(&mut out, &rows.collect::<Vec<_>>());
    }
    out
}

/// What to do about a halt.
fn after(halt: HaltView) -> String {
    use crate::chain::engine::Halt;
    crate::doctor::after_halt(match halt {
        HaltView::OldDatabase { noted } => Halt::OldDatabase { noted },
        HaltView::ChainAhead { chain, ours } => Halt::ChainAhead { chain, ours },
        HaltView::Foreign { nonce } => Halt::Foreign { nonce },
        HaltView::Astray { nonce } => Halt::Astray { nonce },
        HaltView::BooksDisagree => Halt::BooksDisagree,
    })
}

/// The lines about money in `masq status`.
pub(in super::super) fn status_facts(facts: &mut Facts, money: &MoneySummary) {
    facts.add("money", &money.state);
    facts.add("owes", owed_by_us(&money.totals));
    facts.add("is owed", owed_to_us(&money.totals));
    let (relay, exit) = (money.relay_gigabyte, money.exit_gigabyte);
    facts.add("asks", format!("{relay} for a GB as relay, {exit} as exit"));
}

pub(super) fn scan(scan: &ScanView) -> String {
    let mut out = String::new();
    for sentence in scan.begun.iter().chain(&scan.skipped) {
        let _ = writeln!(out, "{}", clean(sentence));
    }
    if !scan.begun.is_empty() {
        out.push_str("What is found shows in `masq financials` and in `masq events`.\n");
    }
    out
}

pub(super) fn quote(quote: &PrepayQuote) -> String {
    let mut facts = Facts::default();
    facts.add("to node", &quote.node);
    facts.add("at", quote.wallet.to_string());
    facts.add("in advance", quote.advance.to_string());
    if quote.due.0 > 0 {
        let due = format!("{}, paid by the same transaction", quote.due);
        facts.add("owed now", due);
    }
    facts.add("ahead so far", quote.ahead.to_string());
    if let Some(fee) = quote.fee {
        let mut text = coins(fee, &quote.coin);
        if let Some(tokens) = quote.fee_in_tokens.filter(|tokens| tokens.0 > 0) {
            let _ = write!(text, ", {tokens}");
        }
        facts.add("fee", text);
    }
    if let Some(balance) = quote.balance {
        facts.add("the wallet has", balance.to_string());
    }
    let gigabytes = |gb: u64, what: &str| format!("{} through it as {what}", whole_gb(gb));
    let bought: Vec<String> = (quote
        .relay_gb
        .map(|gb| gigabytes(gb, "a relay"))
        .into_iter())
    .chain(quote.exit_gb.map(|gb| gigabytes(gb, "the exit")))
    .collect();
    if !bought.is_empty() {
        facts.add("which buys", bought.join(", or "));
    }
    let mut out = String::new();
    facts.write(&mut out);
    for obstacle in &quote.obstacles {
        let _ = writeln!(out, "{}", clean(obstacle));
    }
    out
}

pub(super) fn prepaid(quote: &PrepayQuote) -> String {
    let node = clean(short(&quote.node)).clone();
    format!(
        "{} will be paid to node {node} in advance. `masq payments list` shows the transaction.\n",
        quote.advance
    )
}

pub(super) fn routes(view: &RoutesView) -> String {
    let mut out = String::new();
    if let Some(reason) = &view.reason {
        let _ = writeln!(out, "No route may be taken now: {}.", clean(reason));
    }
    if !view.routes.is_empty() {
        let mut rows = vec![row(&[
            "likely",
            "GB down",
            "GB up",
            "round",
            "score",
            "exit in",
            "route, [exit]",
            "",
        ])];
        rows.extend(view.routes.iter().map(route));
        table(&mut out, &rows);
    }
    more(&mut out, view.left_out);
    out
}

fn route(route: &RouteView) -> Vec<String> {
    let price = |price: Option<Amount>| {
        price.map_or_else(|| "beyond measure".to_owned(), |price| price.to_string())
    };
    let exit = (route.hops.iter())
        .position(|hop| hop.role == HopRole::Exit)
        .unwrap_or(0);
    let names = route.hops.iter().enumerate().map(|(at, hop)| {
        let name = short(&hop.node);
        match hop.leg {
            Leg::Over if at == exit => format!("[{name}]"),
            _ => name.to_owned(),
        }
    });
    let latency = route.latency_ms.map(|ms| format!("{ms} ms"));
    let ceiling = if route.within_ceiling {
        ""
    } else {
        "above your price ceiling: never taken"
    };
    vec![
        format!(
            "{}.{} %",
            route.per_ten_thousand / 100,
            route.per_ten_thousand % 100 / 10
        ),
        price(route.download_gigabyte),
        price(route.upload_gigabyte),
        latency.unwrap_or_else(|| "-".into()),
        route.score.to_string(),
        route.country.clone().unwrap_or_else(|| "-".into()),
        names.collect::<Vec<_>>().join(" "),
        ceiling.to_owned(),
    ]
}

fn rates(rates: &RatesView) -> String {
    format!(
        "{} a byte and {} a cell as relay, {} and {} as exit (wei)",
        rates.routing_byte.0, rates.routing_package.0, rates.exit_byte.0, rates.exit_package.0
    )
}

pub(super) fn settings(settings: &SettingsView, terms: Option<&TermsView>, coin: &str) -> String {
    let mut facts = Facts::default();
    facts.add("hops", &settings.hops);
    match terms {
        None => facts.add("payments", "off"),
        Some(terms) => terms_facts(&mut facts, terms, coin),
    }
    let mut out = String::new();
    facts.write(&mut out);
    if let Some(misfit) = terms.and_then(|terms| terms.misfit.as_ref()) {
        let _ = writeln!(out, "\nThis does not fit together: {}.", clean(misfit));
    }
    out
}

/// Gigabytes, which were rounded down.
fn whole_gb(gb: u64) -> String {
    match gb {
        0 => "less than 1 GB".to_owned(),
        gb => format!("{gb} GB"),
    }
}

fn terms_facts(facts: &mut Facts, terms: &TermsView, coin: &str) {
    let (relay, exit) = (terms.relay_gigabyte, terms.exit_gigabyte);
    facts.add("asks", format!("{relay} for a GB as relay, {exit} as exit"));
    facts.add("rates", rates(&terms.rates));
    let ceiling = terms.ceiling.as_ref().map(rates);
    facts.add(
        "price ceiling",
        ceiling.unwrap_or_else(|| "any price".into()),
    );
    facts.add("thresholds", &terms.thresholds);
    if let Ok(line) = terms.thresholds.parse::<Thresholds>() {
        facts.add("", described(&line));
    }
    if let (Some(relay), Some(exit)) = (terms.relay_gb, terms.exit_gb) {
        let (relay, exit) = (whole_gb(relay), whole_gb(exit));
        let text = format!("is {relay} through one relay, or {exit} through one exit");
        facts.add("smallest debt", text);
    }
    facts.add(
        "looks",
        format!("every {}", duration(terms.pay_every_seconds)),
    );
    if let Some(credit) = &terms.credit {
        let text = format!(
            "{} to a newcomer, {} to all of them, {} a day more, {} by one link",
            credit.first, credit.pool, credit.refill_per_day, credit.quota
        );
        facts.add("credit", text);
    }
    let (hop, day) = (terms.prepay_per_hop, terms.prepay_per_day);
    let prepay = match day.0 {
        0 => "only what you order".to_owned(),
        _ => format!("by itself up to {hop} a hop, {day} a day"),
    };
    facts.add("prepays", prepay);
    let cap = terms.day_cap.map(|cap| format!(", at most {cap} a day"));
    // A gwei of a coin is written as a coin would be.
    let gas = Amount(terms.gas_cap.0.saturating_mul(GWEI)).exact();
    let cap = cap.unwrap_or_default();
    facts.add("caps", format!("{gas} gwei for a unit of gas{cap}"));
    let price = match terms.token_price.0 {
        0 => "not compared: any fee is paid".to_owned(),
        _ => coins(terms.token_price, coin),
    };
    facts.add("1 MASQ is", price);
    let stop = if terms.settle_on_stop { "yes" } else { "no" };
    facts.add("pays at stop", stop);
}

/// The line in words.
fn described(line: &Thresholds) -> String {
    format!(
        "pays over {} after {}, falling to {} within {}; bans {} later, until below {}",
        Tokens(line.debt()),
        duration(line.maturity()),
        Tokens(line.permanent()),
        duration(line.interval()),
        duration(line.grace()),
        Tokens(line.unban())
    )
}
