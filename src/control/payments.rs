//! The routes about money, and about routes that could be taken: each takes a request apart and
//! asks the money side of the node.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    routing::{get, post},
};

use super::{
    MoneyApi, NodeApiError,
    guard::ApiError,
    routes::{Answer, Node, asked, body},
    server::Shared,
    types::{
        Financials, MoneyStatus, Order, OrderView, PaymentOrder, PaymentsView, PrepayQuote,
        PrepayRequest, RouteRequest, RoutesView, ScanRequest, ScanView, Selection,
    },
};

/// Final payments in an answer when nobody says how many.
const DEFAULT_DONE: usize = 20;
/// Most final payments in an answer: each may have fifty payees (guess).
const MAX_DONE: usize = 1_000;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/money", get(status))
        .route("/v1/financials", get(financials))
        .route("/v1/payments", get(payments).post(order))
        .route("/v1/scan", post(scan))
        .route("/v1/prepay", post(prepay))
        .route("/v1/routes", post(candidates))
}

/// The money side, or why there is none.
fn money(shared: &Shared) -> Result<&dyn MoneyApi, ApiError> {
    let off = || NodeApiError::SwitchedOff {
        what: "Payments are off: this node pays nobody and is paid by nobody.".into(),
        hint:
            "Set `payments = true` and name the chain's endpoints in `rpc`, in a mode that joins \
               the mesh, and restart the daemon."
                .into(),
    };
    Ok(shared.node.money().ok_or_else(off)?)
}

async fn status(State(shared): Node) -> Answer<MoneyStatus> {
    asked(money(&shared)?.status()).await
}

async fn financials(State(shared): Node, RawQuery(query): RawQuery) -> Answer<Financials> {
    let money = money(&shared)?;
    let selection = selection(query.as_deref().unwrap_or_default())?;
    let Json(books) = asked(money.books()).await?;
    Ok(Json(selection.of(books)))
}

async fn payments(State(shared): Node, RawQuery(query): RawQuery) -> Answer<PaymentsView> {
    let money = money(&shared)?;
    let done = match query.as_deref().unwrap_or_default() {
        "" => DEFAULT_DONE,
        query => {
            let number = query.strip_prefix("done=").and_then(|n| n.parse().ok());
            number
                .filter(|number| *number <= MAX_DONE)
                .ok_or_else(|| misread("The only one is ?done=N, at most 1000."))?
        }
    };
    asked(money.payments(done)).await
}

async fn order(State(shared): Node, bytes: Bytes) -> Answer<OrderView> {
    let money = money(&shared)?;
    let order: PaymentOrder = serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("The body is no order about payments: {error}."),
            "Send for example {\"order\": \"pause\"}; GET /v1/openapi.json has all of them.",
        )
    })?;
    asked(money.order(order)).await
}

async fn scan(State(shared): Node, bytes: Bytes) -> Answer<ScanView> {
    let money = money(&shared)?;
    let request: ScanRequest = body(&bytes)?;
    asked(money.scan(request.what)).await
}

async fn prepay(State(shared): Node, bytes: Bytes) -> Answer<PrepayQuote> {
    let money = money(&shared)?;
    let request: PrepayRequest = body(&bytes)?;
    let missing = |what: &str| {
        let hint = "Send for example {\"node\": \"KEY\", \"amount\": \"500000000000000000\"}, in \
                    wei of the token.";
        ApiError::new(StatusCode::BAD_REQUEST, what, hint)
    };
    if request.node.is_empty() {
        return Err(missing("The body names no node."));
    }
    if request.amount.0 == 0 {
        return Err(missing("The body names no amount."));
    }
    asked(money.prepay(request)).await
}

async fn candidates(State(shared): Node, bytes: Bytes) -> Answer<RoutesView> {
    let request: RouteRequest = body(&bytes)?;
    if request.host.is_empty() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "The body names no host.",
            "Send for example {\"host\": \"example.org:443\"}.",
        ));
    }
    asked(shared.node.candidates(request)).await
}

fn misread(hint: &str) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "The query is not understood.",
        hint,
    )
}

/// The selection that a query names; each of its names once at most.
fn selection(query: &str) -> Result<Selection, ApiError> {
    let mut selection = Selection::default();
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = !seen.contains(&name) && take(&mut selection, name, value).is_some();
        if !known {
            return Err(misread(
                "It takes payables, receivables (true or false), order (balance, age), top, \
                 min_age_seconds, max_age_seconds, min_balance, max_balance (wei), each once.",
            ));
        }
        seen.push(name);
    }
    Ok(selection)
}

/// Takes one name of a query; `None` when it makes no sense.
fn take(selection: &mut Selection, name: &str, value: &str) -> Option<()> {
    match name {
        "payables" => selection.payables = value.parse().ok()?,
        "receivables" => selection.receivables = value.parse().ok()?,
        "order" => {
            selection.order = match value {
                "balance" => Order::Balance,
                "age" => Order::Age,
                _ => return None,
            }
        }
        "top" => selection.top = Some(value.parse().ok()?),
        "min_age_seconds" => selection.min_age = Some(value.parse().ok()?),
        "max_age_seconds" => selection.max_age = Some(value.parse().ok()?),
        "min_balance" => selection.min_balance = Some(value.parse().ok()?),
        "max_balance" => selection.max_balance = Some(value.parse().ok()?),
        _ => return None,
    }
    Some(())
}

/// The query of a selection, with its question mark; empty for the default.
pub(super) fn query_of(selection: &Selection) -> String {
    let mut parts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        parts.extend(value.map(|value| format!("{name}={value}")));
    };
    let default = Selection::default();
    add("payables", selection.payables.then(|| "true".into()));
    add("receivables", selection.receivables.then(|| "true".into()));
    let order = match selection.order {
        Order::Balance => "balance",
        Order::Age => "age",
    };
    add(
        "order",
        (selection.order != default.order).then(|| order.into()),
    );
    add("top", selection.top.map(|top| top.to_string()));
    add(
        "min_age_seconds",
        selection.min_age.map(|age| age.to_string()),
    );
    add(
        "max_age_seconds",
        selection.max_age.map(|age| age.to_string()),
    );
    let wei = |amount: super::types::Amount| amount.0.to_string();
    add("min_balance", selection.min_balance.map(wei));
    add("max_balance", selection.max_balance.map(wei));
    if parts.is_empty() {
        return String::new();
    }
    format!("?{}", parts.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::types::Amount;

    #[test]
    fn a_selection_survives_its_query() {
        let full = Selection {
            payables: true,
            receivables: false,
            order: Order::Age,
            top: Some(3),
            min_age: Some(3_600),
            max_age: Some(u64::MAX),
            min_balance: Some(Amount(1)),
            max_balance: Some(Amount(u128::MAX)),
        };
        for wanted in [full, Selection::default()] {
            let query = query_of(&wanted);
            let read = selection(query.trim_start_matches('?'));
            assert_eq!(read.ok(), Some(wanted), "{query}");
        }
    }

    #[test]
    fn queries_that_make_no_sense_are_refused() {
        for bad in [
            "top",
            "top=-1",
            "top=1&top=1",
            "order=size",
            "payables=yes",
            "min_balance=0.5",
            "min_balance=340282366920938463463374607431768211456",
            "min_age_seconds=1h",
            "who=me",
            "=",
        ] {
            assert!(selection(bad).is_err(), "{bad}");
        }
    }
}
