//! What an endpoint can do wrong, on demand. Faults are of the endpoint, never of the chain: what
//! is in a block stays true, and the in-process [`Handle`](super::Handle) always sees it.

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::MAX_FAULT_RULES;
use super::error::RpcError;

/// Everything that the endpoint does wrong at present. The default is an honest endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Faults {
    /// Rules for single calls; of those that fit a call, the first counts.
    pub rules: Vec<FaultRule>,
    /// The endpoint is this many blocks behind: `latest` and all other tags, receipts, logs, the
    /// block number. Transactions that it is sent reach the network all the same.
    pub lag: u64,
    /// The endpoint says that it is on this chain. It still checks transactions for the true one.
    pub chain_id: Option<u64>,
    /// What `eth_getBalance` says of these accounts, in wei.
    pub balances: BTreeMap<Address, U256>,
    /// What a call of `balanceOf` says of these accounts at any contract, in the token's smallest
    /// unit.
    pub token_balances: BTreeMap<Address, U256>,
    /// What is wrong with answers of `eth_getLogs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogLie>,
    /// Most blocks in one `eth_getLogs`, instead of the configured number.
    pub log_range: Option<u64>,
    /// The endpoint does not answer at all, except to controls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
}

/// What is wrong with answers of `eth_getLogs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLie {
    /// There are none.
    Empty,
    /// Those of blocks before and after the range are in it, too.
    Beyond {
        /// How many blocks on either side.
        blocks: u64,
    },
    /// Only the first blocks of the range are looked at.
    Clip {
        /// How many.
        blocks: u64,
    },
    /// Address and topics of the filter are ignored.
    Unfiltered,
    /// All say that a reorganisation has removed them.
    Removed,
    /// Each is there twice.
    Twice,
}

/// How an endpoint that is out of order behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// Connections are closed without an answer.
    Close,
    /// The answer is an HTTP status, such as 503.
    Http(u16),
}

/// A fault of some calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FaultRule {
    /// The method it is for, or `*` for all but the controls.
    pub method: String,
    /// Only calls whose parameters, as JSON, contain this text (upper and lower case are the
    /// same): an address, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params_contain: Option<String>,
    /// This many fitting calls go well first.
    #[serde(default)]
    pub skip: u32,
    /// This many fail then; all, when there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What happens.
    pub fault: Fault,
}

/// What happens to a call. Where it says *after*, the call has had its effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// An error, and nothing was done.
    Fail(Failure),
    /// The call is done; the answer is an error all the same.
    FailAfter(Failure),
    /// The connection is closed, and nothing was done.
    Close,
    /// The call is done, and the connection closed without an answer.
    CloseAfter,
    /// Nothing is done for a while, then the call is.
    Delay {
        /// Milliseconds, up to ten minutes.
        ms: u64,
    },
    /// The call is done at once, and the answer comes later.
    DelayAfter {
        /// Milliseconds, up to ten minutes.
        ms: u64,
    },
    /// An HTTP status such as 429, and nothing was done.
    Http(u16),
    /// The call is done; the answer is an HTTP status such as 504.
    HttpAfter(u16),
    /// The call is done; the answer is half a line of JSON.
    Garbage,
    /// Nothing is done; the answer is this result.
    Answer(Value),
}

/// The error of a [`Fault::Fail`] or [`Fault::FailAfter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failure {
    /// Default: −32000.
    pub code: i64,
    /// Default: "request timed out".
    pub message: String,
}

impl Default for Failure {
    fn default() -> Self {
        Self {
            code: -32_000,
            message: "request timed out".to_owned(),
        }
    }
}

impl From<Failure> for RpcError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code, failure.message)
    }
}

impl FaultRule {
    /// A rule for the next call of a method, once.
    #[must_use]
    pub fn once(method: &str, fault: Fault) -> Self {
        Self {
            times: Some(1),
            ..Self::always(method, fault)
        }
    }

    /// A rule for all calls of a method.
    #[must_use]
    pub fn always(method: &str, fault: Fault) -> Self {
        Self {
            method: method.to_owned(),
            params_contain: None,
            skip: 0,
            times: None,
            fault,
        }
    }

    fn fits(&self, method: &str, params: &str) -> bool {
        (self.method == "*" || self.method == method)
            && self.times != Some(0)
            && self
                .params_contain
                .as_ref()
                .is_none_or(|text| params.contains(&text.to_ascii_lowercase()))
    }
}

impl Faults {
    /// An endpoint that is honest but for one rule.
    #[must_use]
    pub fn with(rule: FaultRule) -> Self {
        Self {
            rules: vec![rule],
            ..Self::default()
        }
    }

    /// Refuses what is too much or cannot be done.
    pub(super) fn check(&self) -> Result<(), RpcError> {
        if self.rules.len() > MAX_FAULT_RULES {
            return Err(RpcError::params(format!(
                "more than {MAX_FAULT_RULES} rules"
            )));
        }
        let statuses = self.rules.iter().filter_map(|rule| match rule.fault {
            Fault::Http(status) | Fault::HttpAfter(status) => Some(status),
            _ => None,
        });
        let outage = match self.outage {
            Some(Outage::Http(status)) => Some(status),
            _ => None,
        };
        match statuses.chain(outage).find(|s| !(400..600).contains(s)) {
            Some(status) => Err(RpcError::params(format!(
                "{status} is not an HTTP status of failure (400 to 599)"
            ))),
            None => Ok(()),
        }
    }

    /// The fault that a call is to have, which is then used up once.
    pub(super) fn take(&mut self, method: &str, params: Option<&Value>) -> Option<Fault> {
        if self.rules.is_empty() {
            return None;
        }
        let params = params.map(Value::to_string).unwrap_or_default();
        let params = params.to_ascii_lowercase();
        let rule = self
            .rules
            .iter_mut()
            .find(|rule| rule.fits(method, &params))?;
        if let Some(rest) = rule.skip.checked_sub(1) {
            rule.skip = rest;
            return None;
        }
        if let Some(times) = &mut rule.times {
            *times = times.saturating_sub(1);
        }
        Some(rule.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_skips_then_counts_then_ends() {
        let mut faults = Faults::with(FaultRule {
            skip: 1,
            times: Some(2),
            ..FaultRule::always("eth_call", Fault::Close)
        });
        let mut take = || faults.take("eth_call", None);
        assert_eq!(take(), None);
        assert_eq!(take(), Some(Fault::Close));
        assert_eq!(take(), Some(Fault::Close));
        assert_eq!(take(), None);
    }

    #[test]
    fn a_rule_is_for_its_method_and_its_parameters() {
        let mut faults = Faults::with(FaultRule {
            params_contain: Some("0xAbC".to_owned()),
            ..FaultRule::always("*", Fault::Close)
        });
        assert_eq!(faults.take("eth_call", Some(&json!(["0xdef"]))), None);
        assert_eq!(
            faults.take("eth_call", Some(&json!(["0xaBcd"]))),
            Some(Fault::Close)
        );
        let mut faults = Faults::with(FaultRule::always("eth_call", Fault::Close));
        assert_eq!(faults.take("eth_getLogs", None), None);
    }

    #[test]
    fn faults_are_written_as_the_page_says() {
        let faults: Faults = serde_json::from_value(json!({
            "rules": [
                { "method": "eth_sendRawTransaction", "fault": { "fail-after": {} }, "times": 1 },
                { "method": "eth_call", "fault": "close-after", "paramsContain": "0xab" },
                { "method": "*", "fault": { "delay": { "ms": 20 } } },
                { "method": "eth_gasPrice", "fault": { "answer": "0x1" } },
                { "method": "eth_getLogs", "fault": { "http": 429 } }
            ],
            "lag": 3,
            "chainId": 1,
            "balances": { "0x000000000000000000000000000000006d617371": "0x10" },
            "logs": { "beyond": { "blocks": 2 } },
            "outage": "close"
        }))
        .unwrap();
        assert_eq!(faults.rules[0].fault, Fault::FailAfter(Failure::default()));
        assert_eq!(faults.rules[2].fault, Fault::Delay { ms: 20 });
        assert_eq!(faults.logs, Some(LogLie::Beyond { blocks: 2 }));
        assert_eq!(faults.outage, Some(Outage::Close));
        assert!(faults.check().is_ok());
        let again = serde_json::from_value(serde_json::to_value(&faults).unwrap()).unwrap();
        assert_eq!(faults, again);
        assert!(serde_json::from_value::<Faults>(json!({ "lagg": 3 })).is_err());
    }

    #[test]
    fn a_status_of_success_is_no_fault() {
        let faults = Faults {
            outage: Some(Outage::Http(200)),
            ..Faults::default()
        };
        assert!(faults.check().is_err());
    }
}
