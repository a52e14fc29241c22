//! The money side of the made-up node, with fixed figures.

use std::sync::Mutex;

use futures::future::{BoxFuture, FutureExt, ready};

use super::{key, now};
use crate::chain::engine::Phase;
use crate::control::types::{
    Amount, BalanceView, EarningView, EndpointView, FeesView, HaltView, MoneyBooks, MoneyStatus,
    Notice, OrderView, PayState, PayableView, PayingView, PaymentKind, PaymentOrder, PaymentState,
    PaymentView, PaymentsView, PrepayQuote, PrepayRequest, Private, ReceivableView, ScanKind,
    ScanView, ShareView, TermsView,
};
use crate::control::{MoneyApi, NodeApiError};
use crate::doctor::MoneyFacts;
use crate::ledger::price::DEFAULT_RATES;
use crate::ledger::{Funds, Limits, TOKEN, Thresholds, Wei, fit};

/// One token for 0.00002 of the coin.
const PRICE: u128 = 20_000_000_000_000;
/// A transfer: 51,000 gas at 0.006 gwei.
const FEE: u128 = 306_000_000_000;

/// A made-up wallet of one repeated digit.
pub(crate) fn wallet(digit: char) -> Private {
    Private(format!("0x{}", digit.to_string().repeat(40)))
}

/// A made-up transaction of one repeated digit.
pub(crate) fn transaction(digit: char) -> Private {
    Private(format!("0x{}", digit.to_string().repeat(64)))
}

fn milli(thousandths: Wei) -> Amount {
    Amount(TOKEN / 1_000 * thousandths)
}

/// The money side.
#[derive(Debug, Default)]
pub(crate) struct FakeMoney {
    /// What was ordered, in order.
    pub(crate) orders: Mutex<Vec<PaymentOrder>>,
    /// Hops that were prepaid, and what.
    pub(crate) prepaid: Mutex<Vec<(String, Amount)>>,
    /// Halts payments.
    pub(crate) halted: bool,
    /// Debts that wait because the wallet has too little.
    pub(crate) waiting: u64,
}

/// Hops C (0.3 MASQ, 2 h old) and D (1.2 MASQ, over the line); payers 3 (0.25), 4 (banned) and 5,
/// who only paid.
pub(crate) fn books() -> MoneyBooks {
    let payable = |node, digit, unpaid, age| PayableView {
        node: key(node),
        wallet: wallet(digit),
        unpaid: milli(unpaid),
        pending: milli(0),
        paid: milli(500),
        ahead: milli(0),
        age_seconds: age,
        over_line: false,
        held_seconds: None,
    };
    let receivable = |digit, unpaid, age| ReceivableView {
        wallet: wallet(digit),
        unpaid: milli(unpaid),
        paid: milli(100),
        provisional: milli(0),
        prepaid: milli(0),
        unclaimed: false,
        banned: false,
        limit: milli(50),
        age_seconds: age,
        seen_seconds: 60,
    };
    MoneyBooks {
        payables: vec![
            payable('C', '1', 300, Some(7_200)),
            PayableView {
                over_line: true,
                pending: milli(10),
                held_seconds: Some(60),
                ..payable('D', '2', 1_200, Some(3_600))
            },
            PayableView {
                ahead: milli(400),
                ..payable('B', '6', 0, None)
            },
        ],
        receivables: vec![
            receivable('3', 250, Some(600)),
            ReceivableView {
                banned: true,
                ..receivable('4', 600, Some(90_000))
            },
            ReceivableView {
                unclaimed: true,
                prepaid: milli(100),
                ..receivable('5', 0, None)
            },
        ],
    }
}

/// A transfer in a block, and one that is final.
pub(crate) fn payments() -> PaymentsView {
    let payment = |nonce, state, digit| PaymentView {
        nonce,
        kind: PaymentKind::Transfer,
        state,
        amount: milli(510),
        shares: vec![ShareView {
            node: key('D'),
            wallet: wallet('2'),
            due: milli(500),
            advance: milli(10),
        }],
        transaction: Some(transaction(digit)),
        variants: 0,
        most_fee: None,
        at_unix_ms: 1_767_225_600_000,
    };
    PaymentsView {
        under_way: vec![PaymentView {
            variants: 2,
            most_fee: Some(Amount(2 * FEE)),
            ..payment(8, PaymentState::Included, 'a')
        }],
        done: vec![payment(7, PaymentState::Paid, 'b')],
        left_out: 5,
    }
}

fn thresholds() -> Thresholds {
    Thresholds::default()
}

impl FakeMoney {
    fn terms() -> TermsView {
        let limits = Limits::from_rates(&DEFAULT_RATES).expect("default rates fit");
        TermsView {
            gas_cap: Amount(100_000_000),
            day_cap: Some(milli(5_000)),
            pay_every_seconds: 600,
            ..TermsView::of(&fit::Terms {
                payee_day_cap: crate::ledger::Wei::MAX,
                thresholds: &thresholds(),
                limits: Some(&limits),
                prepay: None,
                rates: &DEFAULT_RATES,
                fee: FEE,
                token_price: PRICE,
            })
        }
    }

    fn now_status(&self) -> MoneyStatus {
        let halted = self.halted;
        let paused = self.orders.lock().expect("no test panics with it");
        let paused = paused.iter().rev().find_map(|order| match order {
            PaymentOrder::Pause {} => Some(true),
            PaymentOrder::Resume {} => Some(false),
            _ => None,
        });
        MoneyStatus {
            chain: "base-mainnet".into(),
            coin: "ETH".into(),
            paying: Some(PayingView {
                waiting: self.waiting,
                wallet: wallet('7'),
                state: if halted {
                    PayState::Halted
                } else {
                    PayState::Running
                },
                halt: halted.then_some(HaltView::Foreign { nonce: 7 }),
                halt_reason: halted
                    .then(|| "another transaction took the place of payment 7".to_owned()),
                paused: paused.unwrap_or(false),
                dry_run: false,
                under_way: 1,
                balance: Some(BalanceView {
                    tokens: milli(2_500),
                    coins: Amount(3_000_000_000_000_000),
                    ago_seconds: 30,
                }),
            }),
            earning: Some(EarningView {
                wallet: wallet('8'),
                next_block: 19_800_000,
            }),
            totals: books().totals(),
            terms: Self::terms(),
            fees: Some(FeesView {
                transfer: Amount(FEE),
                in_tokens: Amount(fit::in_tokens(FEE, PRICE).expect("fits")),
                least: Amount(fit::least_payment(FEE, PRICE)),
            }),
            endpoints: vec![
                EndpointView {
                    number: 1,
                    fault: None,
                },
                EndpointView {
                    number: 2,
                    fault: Some("no answer\u{1b}[2J".into()),
                },
            ],
            notices: vec![Notice {
                ago_seconds: 90,
                what: "Payment 7 is final: paid.".into(),
            }],
        }
    }
}

impl MoneyApi for FakeMoney {
    fn status(&self) -> BoxFuture<'_, Result<MoneyStatus, NodeApiError>> {
        now(self.now_status())
    }

    fn books(&self) -> BoxFuture<'_, Result<MoneyBooks, NodeApiError>> {
        now(books())
    }

    fn payments(&self, done: usize) -> BoxFuture<'_, Result<PaymentsView, NodeApiError>> {
        let mut view = payments();
        view.done.truncate(done);
        now(view)
    }

    fn order(&self, order: PaymentOrder) -> BoxFuture<'_, Result<OrderView, NodeApiError>> {
        if let PaymentOrder::Cancel { nonce: 99 } = order {
            let refused = NodeApiError::Refused {
                what: "No payment 99 is under way.".into(),
                hint: "`masq payments` shows those that are.".into(),
            };
            return ready(Err(refused)).boxed();
        }
        let mut orders = self.orders.lock().expect("no test panics with it");
        orders.push(order);
        now(OrderView {
            done: "Done\u{1b}[2J.".into(),
        })
    }

    fn scan(&self, what: ScanKind) -> BoxFuture<'_, Result<ScanView, NodeApiError>> {
        now(ScanView {
            begun: vec![format!("{what:?}: begun.")],
            skipped: vec!["One thing is skipped.".into()],
        })
    }

    fn prepay(&self, request: PrepayRequest) -> BoxFuture<'_, Result<PrepayQuote, NodeApiError>> {
        let mut quote = PrepayQuote {
            node: key('D'),
            wallet: wallet('2'),
            advance: request.amount,
            due: milli(1_200),
            ahead: milli(0),
            fee: Some(Amount(FEE)),
            fee_in_tokens: fit::in_tokens(FEE, PRICE).map(Amount),
            least: Some(Amount(fit::least_payment(FEE, PRICE))),
            balance: Some(milli(2_500)),
            relay_gb: Some(1_709),
            exit_gb: Some(852),
            obstacles: Vec::new(),
            coin: "ETH".into(),
            ordered: false,
        };
        if request.node != quote.node && !quote.node.starts_with(&request.node) {
            let refused = NodeApiError::Refused {
                what: format!("The key of no known node begins with {}.", request.node),
                hint: "`masq neighborhood-graph` shows them.".into(),
            };
            return ready(Err(refused)).boxed();
        }
        if request.amount > milli(1_300) {
            let short = "The wallet that pays has 2.5 MASQ, and more would be paid.";
            quote.obstacles.push(short.into());
        }
        if request.quote {
            return now(quote);
        }
        if let Some(what) = quote.obstacles.first() {
            let refused = NodeApiError::Refused {
                what: what.clone(),
                hint: "Pay less.".into(),
            };
            return ready(Err(refused)).boxed();
        }
        let mut prepaid = self.prepaid.lock().expect("no test panics with it");
        prepaid.push((quote.node.clone(), request.amount));
        quote.ordered = true;
        now(quote)
    }

    fn facts(&self) -> BoxFuture<'_, Result<MoneyFacts, NodeApiError>> {
        now(MoneyFacts {
            coin: "ETH".into(),
            endpoints: vec![Ok(()), Ok(())],
            pays: true,
            serves: true,
            funds: Some(Funds {
                token: 3 * TOKEN,
                native: 3_000_000_000_000_000,
            }),
            owed: TOKEN,
            fee: Some(FEE),
            phase: Some(Phase::Running),
            paused: false,
            dry_run: false,
            earning_wallet: true,
            fit: fit::check(&fit::Terms {
                payee_day_cap: crate::ledger::Wei::MAX,
                thresholds: &thresholds(),
                limits: None,
                prepay: None,
                rates: &DEFAULT_RATES,
                fee: FEE,
                token_price: PRICE,
            }),
        })
    }
}
