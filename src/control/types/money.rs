//! What travels about money: amounts, what is owed either way, payments, terms, and what the user
//! asks for.
//!
//! Amounts are whole numbers of the smallest unit (wei), as strings of decimal digits, because
//! programs that read JSON lose digits of large numbers. Ages and intervals are whole seconds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ledger::{TOKEN, Tokens, Wei};

mod books;
mod orders;
mod state;

pub use books::{
    Financials, LeftOut, MoneyBooks, Order, PayableTotals, PayableView, ReceivableTotals,
    ReceivableView, Selection, Totals,
};
pub use orders::{
    OrderView, PaymentKind, PaymentOrder, PaymentState, PaymentView, PaymentsView, PrepayQuote,
    PrepayRequest, ScanKind, ScanRequest, ScanView, ShareView,
};
pub(crate) use state::debts_wait;
pub use state::{
    BalanceView, CreditView, EarningView, EndpointView, FeesView, HaltView, MoneyStatus,
    MoneySummary, Notice, PayState, PayingView, RatesView, TermsView,
};

/// Decimals of the token, and of the coin of every chain that is known.
const DECIMALS: usize = 18;

/// An amount of the token, or of the chain's own coin where a field says so, in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub Wei);

/// A text that is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// It is no decimal number.
    #[error("an amount is a decimal number such as 0.25, or a whole number of wei such as 1000wei")]
    Form,
    /// It has digits behind the eighteenth decimal.
    #[error("an amount has at most 18 decimals")]
    TooFine,
    /// It does not fit.
    #[error("the amount is too large")]
    TooLarge,
}

impl Amount {
    /// Reads what a person writes: `0.25` or `0.25 MASQ` in tokens, `1000wei` in wei.
    ///
    /// # Errors
    /// [`AmountError`]; nothing is rounded.
    pub fn of_tokens(text: &str) -> Result<Self, AmountError> {
        let text = text.trim();
        if let Some(wei) = text.strip_suffix("wei") {
            return wei.trim_end().parse();
        }
        let text = text.strip_suffix("MASQ").unwrap_or(text).trim_end();
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let nothing = whole.is_empty() && part.is_empty();
        if nothing || !digits(whole) || !digits(part) || text.ends_with('.') {
            return Err(AmountError::Form);
        }
        let part = part.trim_end_matches('0');
        if part.len() > DECIMALS {
            return Err(AmountError::TooFine);
        }
        let number = |text: &str| match text {
            "" => Ok(0),
            text => text.parse::<Wei>().map_err(|_| AmountError::TooLarge),
        };
        let whole = number(whole)?.checked_mul(TOKEN);
        let part = number(&format!("{part:0<DECIMALS$}"))?;
        let wei = whole.and_then(|whole| whole.checked_add(part));
        wei.map(Self).ok_or(AmountError::TooLarge)
    }

    /// The same in whole and decimal units with every digit that it has: `0.000000306`.
    #[must_use]
    pub fn exact(self) -> String {
        let (whole, rest) = (self.0 / TOKEN, self.0 % TOKEN);
        if rest == 0 {
            return whole.to_string();
        }
        let rest = format!("{rest:0DECIMALS$}");
        format!("{whole}.{}", rest.trim_end_matches('0'))
    }
}

/// In tokens, with nine decimals at most.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Tokens(self.0).to_string())
    }
}

/// Whole wei.
impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::Form);
        }
        text.parse().map(Self).map_err(|_| AmountError::TooLarge)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A wallet or the hash of a transaction, as `0x…`: for the operator's eyes, and so never in
/// `Debug`, which might end up in a log.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private(pub String);

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Private(…)")
    }
}

/// As it is: whoever shows it has to mean it.
impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests;
