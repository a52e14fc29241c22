//! What a running node answers about its money.

use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use masq_gossip::{Descriptor, NodeKey, RatePack};

use super::{Billing, Inner};
use crate::chain::driver::{Books, Gone};
use crate::chain::engine::{Halt, Phase};
use crate::control::types::{
    Amount, EarningView, EndpointView, FeesView, HaltView, MoneyBooks, MoneyStatus, Notice,
    OrderView, PayState, PayableView, PayingView, PaymentOrder, PaymentsView, PrepayQuote,
    PrepayRequest, Private, ReceivableView, ScanKind, ScanView, TermsView,
};
use crate::control::types::{BalanceView, RatesView};
use crate::control::{MoneyApi, NodeApiError};
use crate::doctor::MoneyFacts;
use crate::ledger::{Limits, Payee, Thresholds, Wei, fit, limits, price};

/// The terms by which this node pays and is paid, for those who ask.
#[derive(Clone)]
pub(crate) struct TermsOf {
    /// The chain's name.
    pub(crate) chain: String,
    /// The symbol of its coin.
    pub(crate) coin: &'static str,
    pub(crate) rates: RatePack,
    pub(crate) ceiling: Option<RatePack>,
    pub(crate) thresholds: Thresholds,
    pub(crate) limits: Limits,
    pub(crate) gas_cap: Wei,
    pub(crate) day_cap: Option<Wei>,
    pub(crate) pay_every: Duration,
    pub(crate) settle_on_stop: bool,
}

/// What happened lately, in words.
pub(super) struct Happened {
    pub(super) what: String,
    pub(super) at: Instant,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, NodeApiError>>;

fn refused(what: impl Into<String>, hint: impl Into<String>) -> NodeApiError {
    NodeApiError::Refused {
        what: what.into(),
        hint: hint.into(),
    }
}

impl From<Gone> for NodeApiError {
    fn from(_: Gone) -> Self {
        refused(
            "Payments are not running any more.",
            "The daemon's log says why. Restart the daemon.",
        )
    }
}

fn pays_nobody() -> NodeApiError {
    refused(
        "This node pays nobody: it originates no circuits.",
        "Ask a node in mode standard or consume-only.",
    )
}

impl Inner {
    fn fit_terms(&self, fee: u128) -> fit::Terms<'_> {
        fit::Terms {
            thresholds: &self.terms.thresholds,
            limits: self.earning.is_some().then_some(&self.terms.limits),
            prepay: self.signer.is_some().then_some(&self.budget),
            payee_day_cap: limits::payee_day_cap(self.terms.day_cap),
            rates: &self.terms.rates,
            fee,
            token_price: self.token_price,
        }
    }

    fn views(&self, books: &Books) -> MoneyBooks {
        let now = self.unix();
        let of = |row| PayableView::of(row, &self.terms.thresholds, now);
        let receivables = self.money.receivables();
        let owed = receivables
            .iter()
            .map(|row| ReceivableView::of(row, &receivables, now));
        MoneyBooks {
            payables: books.payables.iter().map(of).collect(),
            receivables: owed.collect(),
        }
    }

    fn paying_view(&self, books: &Books) -> Option<PayingView> {
        let wallet = self.signer.as_ref()?.address();
        let (state, halt) = match books.phase? {
            Phase::Reconciling => (PayState::Reconciling, None),
            Phase::Running => (PayState::Running, None),
            Phase::Halted(halt) => (PayState::Halted, Some(halt)),
        };
        let balance = |(funds, ago): (crate::ledger::Funds, Duration)| BalanceView {
            tokens: Amount(funds.token),
            coins: Amount(funds.native),
            ago_seconds: ago.as_secs(),
        };
        let view = PayingView {
            wallet: Private(wallet.to_checksum(None)),
            state,
            halt: halt.map(|halt| match halt {
                Halt::OldDatabase { noted } => HaltView::OldDatabase { noted },
                Halt::ChainAhead { chain, ours } => HaltView::ChainAhead { chain, ours },
                Halt::Foreign { nonce } => HaltView::Foreign { nonce },
                Halt::Astray { nonce } => HaltView::Astray { nonce },
                Halt::BooksDisagree => HaltView::BooksDisagree,
            }),
            halt_reason: halt.map(|halt| halt.to_string()),
            paused: books.paused,
            dry_run: books.dry_run,
            under_way: u32::try_from(books.under_way.len()).unwrap_or(u32::MAX),
            balance: books.purse.map(balance),
            waiting: 0,
        };
        Some(view.with_waiting(&self.views(books).payables, books.fee))
    }

    /// Why no payment would begin now, one sentence each.
    fn obstacles(books: &Books) -> Vec<String> {
        let mut obstacles = Vec::new();
        if let Some(Phase::Halted(halt)) = books.phase {
            obstacles.push(format!("Payments are halted: {halt}."));
        }
        if books.paused {
            obstacles.push("Payments are paused.".into());
        }
        if books.dry_run {
            obstacles.push("Payments are only reported (dry run).".into());
        }
        obstacles
    }

    fn notices(&self) -> Vec<Notice> {
        let happened = self.happened.lock();
        let happened = happened.unwrap_or_else(std::sync::PoisonError::into_inner);
        let notice = |happened: &Happened| Notice {
            ago_seconds: happened.at.elapsed().as_secs(),
            what: happened.what.clone(),
        };
        happened.iter().map(notice).collect()
    }

    async fn make_status(&self) -> Result<MoneyStatus, NodeApiError> {
        let books = self.money.books().await?;
        let fee = books.fee;
        let terms = self.fit_terms(fee.unwrap_or(0));
        let of = &self.terms;
        let terms = TermsView {
            ceiling: of.ceiling.as_ref().map(RatesView::from),
            gas_cap: Amount(of.gas_cap),
            day_cap: of.day_cap.map(Amount),
            pay_every_seconds: of.pay_every.as_secs(),
            settle_on_stop: of.settle_on_stop,
            ..TermsView::of(&terms)
        };
        let faults = self.provider.faults();
        let endpoint = |(number, fault): (u32, &Option<crate::chain::provider::Fault>)| {
            let fault = fault.as_ref().map(ToString::to_string);
            EndpointView { number, fault }
        };
        Ok(MoneyStatus {
            chain: of.chain.clone(),
            coin: of.coin.into(),
            paying: self.paying_view(&books),
            earning: self.earning.map(|wallet| EarningView {
                wallet: Private(wallet.to_checksum(None)),
                next_block: books.scanned.unwrap_or(0),
            }),
            totals: self.views(&books).totals(),
            terms,
            fees: fee.map(|fee| FeesView {
                transfer: Amount(fee),
                in_tokens: Amount(fit::in_tokens(fee, self.token_price).unwrap_or(Wei::MAX)),
                least: Amount(fit::least_payment(fee, self.token_price)),
            }),
            endpoints: (1..).zip(&faults).map(endpoint).collect(),
            notices: self.notices(),
        })
    }

    async fn give_order(&self, order: PaymentOrder) -> Result<OrderView, NodeApiError> {
        if self.signer.is_none() {
            return Err(pays_nobody());
        }
        let money = &self.money;
        let books = money.books().await?;
        let done = match order {
            PaymentOrder::Pause {} => {
                money.set_paused(true).await?;
                "No payment begins until you resume; those under way go on.".to_owned()
            }
            PaymentOrder::Resume {} => {
                money.set_paused(false).await?;
                "Payments begin again.".into()
            }
            PaymentOrder::Settle {} => {
                if let Some(what) = Self::obstacles(&books).into_iter().next() {
                    return Err(refused(
                        what,
                        "Nothing was ordered. `masq payments status` says how it stands.",
                    ));
                }
                money.settle_now().await?;
                let paying = self.paying_view(&books);
                if paying.is_some_and(|p| p.balance.is_some_and(|b| b.tokens.0 == 0)) {
                    "The wallet that pays has no MASQ: debts wait until it has some.".into()
                } else if books.phase == Some(Phase::Running) {
                    "Everything that is owed and worth its fee is being paid.".into()
                } else {
                    "Everything that is owed and worth its fee is paid once the chain was compared \
                     with the books."
                        .into()
                }
            }
            PaymentOrder::DryRun { on } => {
                money.set_dry_run(on).await?;
                if on {
                    "Payments are only reported, until the daemon stops or you switch it off."
                } else {
                    "Payments are made again."
                }
                .into()
            }
            PaymentOrder::Cancel { nonce } => {
                if !books.under_way.iter().any(|intent| intent.nonce == nonce) {
                    return Err(refused(
                        format!("No payment {nonce} is under way."),
                        "`masq payments list` shows those that are.",
                    ));
                }
                money.cancel(nonce).await?;
                format!(
                    "Payment {nonce} is being replaced by nothing; it is paid all the same if it \
                     comes into a block first."
                )
            }
            PaymentOrder::AdoptNonce {} => {
                if !matches!(
                    books.phase,
                    Some(Phase::Halted(
                        Halt::OldDatabase { .. } | Halt::ChainAhead { .. }
                    ))
                ) {
                    return Err(refused(
                        "Payments are not halted for a nonce.",
                        "`masq payments status` says how it stands with them.",
                    ));
                }
                money.adopt_nonce().await?;
                "The chain's nonce is taken for right; payments go on from it.".into()
            }
            PaymentOrder::Decide { nonce, paid } => {
                if books.phase != Some(Phase::Halted(Halt::Foreign { nonce })) {
                    return Err(refused(
                        format!("Nobody waits for a decision about payment {nonce}."),
                        "`masq payments status` says how it stands with payments.",
                    ));
                }
                money.decide(nonce, paid).await?;
                if paid {
                    format!("Payment {nonce} is taken for paid.")
                } else {
                    format!("Payment {nonce} is owed again.")
                }
            }
        };
        Ok(OrderView { done })
    }

    async fn look_now(&self, what: ScanKind) -> Result<ScanView, NodeApiError> {
        let (mut begun, mut skipped) = (Vec::new(), Vec::new());
        let wants = |kind| what == kind || what == ScanKind::All;
        let pays = self.signer.is_some();
        let mut note = |here: bool, done: &str, not: &str| {
            if here {
                begun.push(done.to_owned());
            } else {
                skipped.push(not.to_owned());
            }
        };
        if wants(ScanKind::Payables) {
            if pays {
                self.money.scan_debts().await?;
            }
            let obstacle = if pays {
                Self::obstacles(&self.money.books().await?)
                    .into_iter()
                    .next()
            } else {
                None
            };
            let looked = match obstacle {
                Some(why) => {
                    format!("Debts are held against the thresholds, and none is paid. {why}")
                }
                None => "Debts are held against the thresholds, and paid where they are over them."
                    .to_owned(),
            };
            note(pays, &looked, "Debts: this node pays nobody.");
        }
        if wants(ScanKind::Receivables) {
            let earns = self.earning.is_some();
            if earns {
                self.money.look_for_payments().await?;
            }
            note(
                earns,
                "The chain is looked through for payments to this node.",
                "Payments coming in: this node has no earning wallet.",
            );
        }
        if wants(ScanKind::Pending) {
            if pays {
                self.money.look_at_pending().await?;
            }
            note(
                pays,
                "What became of the payments under way is asked.",
                "Payments under way: this node pays nobody.",
            );
        }
        if begun.is_empty() {
            return Err(refused(
                skipped.join(" "),
                "Look at something that this node does; `masq financials` shows what it has.",
            ));
        }
        Ok(ScanView { begun, skipped })
    }

    /// The hop that is meant, and what it asks for.
    fn find_hop(&self, text: &str) -> Result<(NodeKey, RatePack, Payee), NodeApiError> {
        let prices = self.prices();
        let known = prices.map(|prices| prices.known()).unwrap_or_default();
        let node = if text.contains("://") {
            let descriptor: Descriptor = text.parse().map_err(|error| {
                let what = format!("That is no descriptor: {error}.");
                refused(what, "Copy the whole line, or give the node's key.")
            })?;
            descriptor.node
        } else {
            // This node is not among those that it knows.
            let own = NodeKey::from(self.me.0);
            let mut among = known.clone();
            among.insert(own);
            let hint = "`masq neighborhood-graph` shows the nodes that this one knows.";
            crate::node::find(text, &among, "known node", hint)?
        };
        if *node.as_bytes() == self.me.0 {
            return Err(refused(
                "That is this node itself.",
                "Name the hop that is to be paid: `masq neighborhood-graph` shows whom this node knows.",
            ));
        }
        if !known.contains(&node) {
            return Err(refused(
                format!("Node {} is not one that this node knows.", node.short()),
                "What it asks for is in its record; `masq neighborhood-graph` shows whose are known.",
            ));
        }
        let key = masq_cores::NodeKey(*node.as_bytes());
        let terms = prices.and_then(|prices| prices.of(&key));
        let Some((rates, Some(wallet))) = terms else {
            return Err(refused(
                format!("Node {} asks for no money.", node.short()),
                "Nothing has to be paid to it.",
            ));
        };
        let hop = *node.as_bytes();
        Ok((node, rates, Payee { wallet, hop }))
    }

    async fn advance(&self, request: PrepayRequest) -> Result<PrepayQuote, NodeApiError> {
        if self.signer.is_none() {
            return Err(pays_nobody());
        }
        if request.amount.0 == 0 {
            return Err(refused("An advance of nothing is none.", "Name an amount."));
        }
        let (node, rates, payee) = self.find_hop(&request.node)?;
        let books = self.money.books().await?;
        let row = books.payables.iter().find(|row| row.payee == payee);
        let fee = books.fee;
        let balance = books.purse.map(|(funds, _)| funds);
        let amount = request.amount.0;
        let due = row.map_or(0, |row| row.due());
        let gigabytes = |role| {
            let one = price::hop(role, &rates, price::Direction::Download, price::GIGABYTE)?;
            u64::try_from(amount.checked_div(one)?).ok()
        };
        let mut obstacles = Vec::new();
        let least = fee.map(|fee| fit::least_payment(fee, self.token_price));
        if let Some(least) = least.filter(|least| amount.saturating_add(due) < *least) {
            obstacles.push(format!(
                "A payment below {} is not worth its fee at present.",
                Amount(least)
            ));
        }
        let needed = amount.saturating_add(due);
        if let Some(funds) = balance.filter(|funds| funds.token < needed) {
            obstacles.push(format!(
                "The wallet that pays has {}, and {} would be paid.",
                Amount(funds.token),
                Amount(needed)
            ));
        }
        if balance
            .zip(fee)
            .is_some_and(|(funds, fee)| funds.native < fee)
        {
            obstacles.push(format!(
                "The wallet that pays has too little {} for the fee.",
                self.terms.coin
            ));
        }
        obstacles.extend(Self::obstacles(&books));
        let mut quote = PrepayQuote {
            node: node.to_string(),
            wallet: Private(payee.wallet.to_checksum(None)),
            advance: request.amount,
            due: Amount(due),
            ahead: Amount(row.map_or(0, |row| row.ahead())),
            fee: fee.map(Amount),
            fee_in_tokens: fee
                .and_then(|fee| fit::in_tokens(fee, self.token_price))
                .map(Amount),
            least: least.map(Amount),
            balance: balance.map(|funds| Amount(funds.token)),
            relay_gb: gigabytes(masq_cores::Role::BackRelay),
            exit_gb: gigabytes(masq_cores::Role::Exit),
            obstacles,
            coin: self.terms.coin.into(),
            ordered: false,
        };
        if request.quote {
            return Ok(quote);
        }
        if let Some(what) = quote.obstacles.first() {
            return Err(refused(what.clone(), "Nothing was ordered."));
        }
        self.money.prepay(payee, amount).await?;
        quote.ordered = true;
        Ok(quote)
    }

    async fn make_facts(&self) -> Result<MoneyFacts, NodeApiError> {
        let books = self.money.books().await?;
        let endpoints = self.provider.check_all().await;
        let due = books.payables.iter().map(|row| row.due());
        Ok(MoneyFacts {
            coin: self.terms.coin.into(),
            endpoints: endpoints.into_iter().map(|one| one.map(drop)).collect(),
            pays: self.signer.is_some(),
            serves: self.earning.is_some(),
            funds: books.purse.map(|(funds, _)| funds),
            owed: due.fold(0, Wei::saturating_add),
            fee: books.fee,
            phase: books.phase,
            paused: books.paused,
            dry_run: books.dry_run,
            earning_wallet: self.earning.is_some(),
            fit: fit::check(&self.fit_terms(books.fee.unwrap_or(0))),
        })
    }
}

impl MoneyApi for Billing {
    fn status(&self) -> Answer<'_, MoneyStatus> {
        self.0.make_status().boxed()
    }

    fn books(&self) -> Answer<'_, MoneyBooks> {
        async { Ok(self.0.views(&self.0.money.books().await?)) }.boxed()
    }

    fn payments(&self, done: usize) -> Answer<'_, PaymentsView> {
        async move {
            let books = self.0.money.books().await?;
            let history = self.0.money.history(done).await;
            let history = history
                .map_err(|error| refused(format!("{error}."), "The daemon's log may say more."))?;
            Ok(PaymentsView::of(&books, &history))
        }
        .boxed()
    }

    fn order(&self, order: PaymentOrder) -> Answer<'_, OrderView> {
        self.0.give_order(order).boxed()
    }

    fn scan(&self, what: ScanKind) -> Answer<'_, ScanView> {
        self.0.look_now(what).boxed()
    }

    fn prepay(&self, request: PrepayRequest) -> Answer<'_, PrepayQuote> {
        self.0.advance(request).boxed()
    }

    fn facts(&self) -> Answer<'_, MoneyFacts> {
        self.0.make_facts().boxed()
    }
}
