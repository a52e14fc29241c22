//! The seam between the control API and the money: what a node with payments on must be able to
//! answer. The routes to it are in `payments`.

use futures::future::BoxFuture;

use super::NodeApiError;
use super::types::{
    MoneyBooks, MoneyStatus, OrderView, PaymentOrder, PaymentsView, PrepayQuote, PrepayRequest,
    ScanKind, ScanView,
};
use crate::doctor::MoneyFacts;

/// What a node whose payments are on answers to the control API.
///
/// As for [`NodeApi`](super::NodeApi): every method may be called at any time, and futures are
/// cancel-safe.
pub trait MoneyApi: Send + Sync {
    /// How it stands with payments, and by which terms.
    fn status(&self) -> BoxFuture<'_, Result<MoneyStatus, NodeApiError>>;

    /// Everything that is owed either way, in any order.
    fn books(&self) -> BoxFuture<'_, Result<MoneyBooks, NodeApiError>>;

    /// Payments under way, and the newest `done` final ones.
    fn payments(&self, done: usize) -> BoxFuture<'_, Result<PaymentsView, NodeApiError>>;

    /// Does what the operator orders. [`NodeApiError::Refused`] at a node that pays nobody, and
    /// for what makes no sense now: a nonce that is not under way, a decision that nobody waits
    /// for.
    fn order(&self, order: PaymentOrder) -> BoxFuture<'_, Result<OrderView, NodeApiError>>;

    /// Looks now and not when it is time. What this node does not do is told in
    /// [`ScanView::skipped`]; [`NodeApiError::Refused`] when nothing is left.
    fn scan(&self, what: ScanKind) -> BoxFuture<'_, Result<ScanView, NodeApiError>>;

    /// Pays a hop in advance, or tells only what that would come to
    /// ([`PrepayRequest::quote`]). [`NodeApiError::Refused`] for a hop that is not known by what
    /// was given, one without an earning wallet, an amount of 0, and, unless only a quote is
    /// wanted, with the first of the obstacles.
    fn prepay(&self, request: PrepayRequest) -> BoxFuture<'_, Result<PrepayQuote, NodeApiError>>;

    /// What `masq doctor` judges. Asks each endpoint; must answer within some seconds.
    fn facts(&self) -> BoxFuture<'_, Result<MoneyFacts, NodeApiError>>;
}
