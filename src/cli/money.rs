//! `masq financials`, `payments`, `scan`, `prepay`, `route` and `settings`: what is owed, what is
//! paid, by which terms, and what routes would cost. What they show is in `view`.

mod csv;
mod view;

use std::io::{BufRead, IsTerminal as _, Read as _, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::text::{clean, seconds};
use super::{Answer, Failure, code};
use crate::control::types::{
    Amount, Order, PaymentOrder, PrepayQuote, PrepayRequest, RouteRequest, ScanKind, Selection,
    SettingsView, TermsView,
};
use crate::control::{Client, ClientError};

pub(super) use view::status_facts;

/// Longest answer to a question, in bytes (guess: yes or no).
const MAX_ANSWER: u64 = 256;
/// Final payments shown when nobody says how many.
const DONE: usize = 20;

#[derive(Debug, Args)]
pub(super) struct FinancialsArgs {
    /// Only what this node owes to hops
    #[arg(long)]
    payables: bool,
    /// Only what payers owe to this node
    #[arg(long)]
    receivables: bool,
    /// At most so many of each
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// The largest or the oldest first
    #[arg(long, value_enum, default_value = "balance")]
    order: OrderArg,
    /// Only debts that are so old: 90s, 30m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    min_age: Option<u64>,
    /// Only what is not older
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    max_age: Option<u64>,
    /// Only where so much is unpaid, in MASQ: 0.25
    #[arg(long, value_name = "MASQ", value_parser = Amount::of_tokens)]
    min_balance: Option<Amount>,
    /// Only where no more is unpaid
    #[arg(long, value_name = "MASQ", value_parser = Amount::of_tokens)]
    max_balance: Option<Amount>,
    /// As a table for other programs, into a file or to standard output (-)
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    csv: Option<PathBuf>,
    /// Payments with their transactions instead: those under way, and the newest 20 final ones, or
    /// as many as --top says
    #[arg(long, conflicts_with_all = [
        "payables", "receivables", "order", "min_age", "max_age", "min_balance", "max_balance",
        "csv",
    ])]
    payments: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OrderArg {
    Balance,
    Age,
}

#[derive(Debug, Subcommand)]
pub(super) enum PaymentsCommand {
    /// Whether payments are made, from which wallet, at which fees, and what happened lately
    Status,
    /// Payments under way, and the newest final ones, with their transactions
    List {
        /// At most so many final ones (up to 1000)
        #[arg(long, value_name = "N", default_value_t = DONE)]
        top: usize,
    },
    /// Begin no payments until you say so; those under way go on. Outlives restarts
    Pause,
    /// Begin payments again
    Resume,
    /// Pay now everything that is owed and worth its fee, whatever the thresholds say
    #[command(visible_alias = "now")]
    Settle,
    /// Only report what would be paid, until the daemon stops
    DryRun {
        /// Only report, or pay again
        #[arg(value_enum, default_value = "on")]
        switch: Switch,
    },
    /// Try to replace a payment under way by nothing; what it paid is owed again
    Cancel {
        /// Its nonce, as `masq payments list` shows it
        nonce: u64,
    },
    /// After a halt: you have looked at the wallet's transactions, and the chain's nonce is right
    ///
    /// What was paid by transactions that the node does not know is still owed in its books, and
    /// would be paid again.
    AdoptNonce,
    /// After a halt for a transaction that is not as it should be: say whether the hops have their money
    Decide {
        /// The payment's nonce
        nonce: u64,
        /// Whether they have
        #[arg(value_enum)]
        outcome: Paid,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Paid {
    Paid,
    Unpaid,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ScanArg {
    /// Own debts: those over the line are paid
    Payables,
    /// The chain, for payments that came in
    Receivables,
    /// The chain, for what became of payments under way
    #[value(alias = "pendingpayables")]
    Pending,
    /// All three
    All,
}

#[derive(Debug, Args)]
pub(super) struct PrepayArgs {
    /// The hop: its key, the first 8 or more characters of it, or its descriptor
    node: String,
    /// How much beyond what is owed, in MASQ: 0.5
    #[arg(value_name = "MASQ", value_parser = Amount::of_tokens)]
    amount: Amount,
    /// Only show what it would come to
    #[arg(long)]
    quote: bool,
    /// Don't ask
    #[arg(long, short, conflicts_with = "quote")]
    yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct RouteArgs {
    /// The destination, with a port if you like: example.org:443
    host: String,
    /// 1 to 6, or a range such as 3-4 [default: as for circuits built now]
    #[arg(long, value_name = "NUMBER")]
    hops: Option<String>,
    /// At most so many routes, the likeliest first (up to 100)
    #[arg(long, value_name = "K", default_value_t = 10)]
    count: usize,
}

/// What `masq settings` shows.
#[derive(Serialize)]
struct Settings {
    #[serde(flatten)]
    settings: SettingsView,
    /// Absent when payments are off.
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<TermsView>,
}

impl FinancialsArgs {
    fn selection(&self) -> Selection {
        Selection {
            payables: self.payables,
            receivables: self.receivables,
            order: match self.order {
                OrderArg::Balance => Order::Balance,
                OrderArg::Age => Order::Age,
            },
            top: self.top,
            min_age: self.min_age,
            max_age: self.max_age,
            min_balance: self.min_balance,
            max_balance: self.max_balance,
        }
    }
}

pub(super) async fn financials(
    arguments: &FinancialsArgs,
    client: &Client,
    answer: &mut Answer<'_>,
) -> Result<(), Failure> {
    if arguments.payments {
        return list(arguments.top.unwrap_or(DONE), client, answer).await;
    }
    let selection = arguments.selection();
    let financials = client.financials(&selection).await?;
    let Some(file) = &arguments.csv else {
        return answer.show(&financials, |shown| view::financials(shown, &selection));
    };
    let left = financials.left_out.payables + financials.left_out.receivables;
    if left > 0 && selection.top.is_none() {
        let what = format!("there are {left} rows more than one answer holds");
        let hint = "Ask for a part, for example with --payables or --min-balance.".to_owned();
        return Err(Failure::new(code::REFUSED, what, hint));
    }
    csv::write(file, &financials, answer)
}

async fn list(done: usize, client: &Client, answer: &mut Answer<'_>) -> Result<(), Failure> {
    let payments = client.payments(done).await?;
    let coin = if answer.json {
        String::new()
    } else {
        client.money().await?.coin
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    answer.show(&payments, |shown| view::payments(shown, &coin, now))
}

pub(super) async fn payments(
    command: &PaymentsCommand,
    client: &Client,
    answer: &mut Answer<'_>,
) -> Result<(), Failure> {
    let order = match *command {
        PaymentsCommand::Status => return answer.show(&client.money().await?, view::status),
        PaymentsCommand::List { top } => return list(top, client, answer).await,
        PaymentsCommand::Pause => PaymentOrder::Pause {},
        PaymentsCommand::Resume => PaymentOrder::Resume {},
        PaymentsCommand::Settle => PaymentOrder::Settle {},
        PaymentsCommand::DryRun { switch } => PaymentOrder::DryRun {
            on: matches!(switch, Switch::On),
        },
        PaymentsCommand::Cancel { nonce } => PaymentOrder::Cancel { nonce },
        PaymentsCommand::AdoptNonce => PaymentOrder::AdoptNonce {},
        PaymentsCommand::Decide { nonce, outcome } => PaymentOrder::Decide {
            nonce,
            paid: matches!(outcome, Paid::Paid),
        },
    };
    let ordered = client.order_payments(&order).await?;
    answer.show(&ordered, |ordered| format!("{}\n", clean(&ordered.done)))
}

pub(super) async fn scan(
    what: ScanArg,
    client: &Client,
    answer: &mut Answer<'_>,
) -> Result<(), Failure> {
    let what = match what {
        ScanArg::Payables => ScanKind::Payables,
        ScanArg::Receivables => ScanKind::Receivables,
        ScanArg::Pending => ScanKind::Pending,
        ScanArg::All => ScanKind::All,
    };
    answer.show(&client.scan(what).await?, view::scan)
}

pub(super) async fn prepay(
    arguments: &PrepayArgs,
    client: &Client,
    answer: &mut Answer<'_>,
) -> Result<(), Failure> {
    if arguments.amount.0 == 0 {
        let hint = "Give an amount, for example 0.5.".to_owned();
        return Err(Failure::new(code::USAGE, "nothing is to be paid", hint));
    }
    let mut request = PrepayRequest {
        node: arguments.node.clone(),
        amount: arguments.amount,
        quote: true,
    };
    if !arguments.yes {
        let quote = client.prepay(&request).await?;
        if arguments.quote {
            return answer.show(&quote, view::quote);
        }
        // What is paid is what was shown, also when another key begins like that meanwhile.
        request.node.clone_from(&quote.node);
        let terminal = std::io::stdin().is_terminal();
        let mut input = std::io::stdin().lock();
        confirm(&quote, terminal, &mut input, &mut std::io::stderr())?;
    }
    request.quote = false;
    answer.show(&client.prepay(&request).await?, view::prepaid)
}

/// Shows the figures to a person and waits for a yes.
fn confirm(
    quote: &PrepayQuote,
    terminal: bool,
    input: &mut dyn BufRead,
    question: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(what) = quote.obstacles.first() {
        let what = what.trim_end_matches('.');
        return Err(Failure::new(code::REFUSED, what, None));
    }
    if !terminal {
        let hint = "With --yes it pays without a question, with --quote it only tells.".to_owned();
        return Err(Failure::new(
            code::USAGE,
            "nobody is there to say yes",
            hint,
        ));
    }
    write!(question, "{}\nPay that? Type yes: ", view::quote(quote))?;
    question.flush()?;
    let mut said = String::new();
    input.take(MAX_ANSWER).read_line(&mut said)?;
    if said.trim().eq_ignore_ascii_case("yes") {
        return Ok(());
    }
    Err(Failure::new(code::REFUSED, "nothing was paid", None))
}

pub(super) async fn route(
    arguments: &RouteArgs,
    client: &Client,
    answer: &mut Answer<'_>,
) -> Result<(), Failure> {
    if arguments.host.trim().is_empty() {
        return Err(Failure::new(
            code::USAGE,
            "no destination was named",
            "Give a host name or an address, with a port if you like: example.org:443.".to_owned(),
        ));
    }
    let request = RouteRequest {
        host: arguments.host.clone(),
        hops: arguments.hops.clone(),
        count: Some(arguments.count),
    };
    answer.show(&client.routes(&request).await?, view::routes)
}

pub(super) async fn settings(client: &Client, answer: &mut Answer<'_>) -> Result<(), Failure> {
    let settings = client.settings().await?;
    let money = match client.money().await {
        Ok(money) => Some(money),
        Err(ClientError::Refused { status: 404, .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let coin = money.as_ref().map(|money| money.coin.clone());
    let coin = coin.unwrap_or_default();
    let shown = Settings {
        settings,
        terms: money.map(|money| money.terms),
    };
    answer.show(&shown, |shown| {
        view::settings(&shown.settings, shown.terms.as_ref(), &coin)
    })
}

#[cfg(test)]
mod tests;
