//! On which terms the nodes of a testnet do business: the settings of money in their
//! configurations. Low enough that somebody who watches sees payments.

use std::path::Path;

use alloy::primitives::Address;
use masq::ledger::limits::{FIRST_BYTES, POOL_BYTES, QUOTA_PARTS, REFILL_BYTES};
use masq::ledger::{Limits, PrepayBudget, TOKEN, Thresholds, Wei, fit, price};
use toml::{Table, Value};

use super::chain::Chain;
use super::wallets::key_file;
use crate::error::TestnetError;
use crate::plan::Options;

/// What a debt is paid by in a testnet, see [`Thresholds`]: from 20 gwei on, which is a third of a
/// second of a relay at 200 kB/s, five seconds after it came to be; ten gwei some seconds later. Who
/// does not pay is banned after ten minutes: killed and stopped nodes must come back first.
pub(super) const THRESHOLDS: [u64; 6] = [20, 5, 600, 10, 10, 10];
/// How often debts are held against them, in seconds.
pub const PAY_EVERY: u64 = 2;
/// The daemon's own default, in seconds.
const USUAL_PAY_EVERY: u64 = 600;
/// Tokens that a consuming wallet begins with: some hundred thousand GB.
pub(super) const TOKENS: Wei = 1_000 * TOKEN;
/// Coin that a consuming wallet begins with, in wei: a hundred thousand transfers.
pub(super) const COIN: u128 = 10 * 1_000_000_000_000_000_000;
/// Credit of a payer that a hop does not know, in tokens: hundreds of GB. A mesh has to go on while
/// payments are on their way, also when nodes are killed in between; with [`Options::credit`] it is
/// as small as in production.
const FIRST_CREDIT: Wei = TOKEN;

/// What all nodes of a testnet have in common.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The chain's endpoint.
    pub rpc: String,
    /// The token.
    pub token: Address,
    /// The disperse contract, when debts are to be paid in batches. Default: none.
    pub disperse: Option<Address>,
    /// When debts are paid. Default: low ones, so that payments happen within a minute.
    pub thresholds: Thresholds,
    /// Seconds between two looks at the debts. Default: [`PAY_EVERY`].
    pub pay_every: u64,
    /// How much credit hops give. Default: plenty.
    pub credit: Limits,
    /// What a node may prepay by itself on one day. Default: the daemon's own default.
    pub prepay_budget: Option<Wei>,
}

impl Terms {
    /// The terms of a testnet on the chain at `rpc`.
    ///
    /// # Panics
    /// Never: the numbers are constants that a test checks.
    #[must_use]
    pub fn new(rpc: String, token: Address) -> Self {
        Self {
            rpc,
            token,
            disperse: None,
            thresholds: Thresholds::new(THRESHOLDS).expect("numbers in order"),
            pay_every: PAY_EVERY,
            credit: Limits {
                first: FIRST_CREDIT,
                pool: 1_000 * FIRST_CREDIT,
                refill_per_day: 1_000 * FIRST_CREDIT,
                quota: 1_000 * FIRST_CREDIT,
                share: masq::ledger::limits::SHARE,
            },
            prepay_budget: None,
        }
    }

    /// The same, as the options of a testnet want them.
    ///
    /// # Errors
    /// When a daemon would not start with them, in its own words.
    pub fn wanted(self, options: &Options) -> Result<Self, TestnetError> {
        let mut terms = if options.pay_as_usual || options.credit.is_some() {
            self.as_usual()
        } else {
            self
        };
        let trust = options.credit.is_some() || options.prepay_budget.is_some();
        if trust && options.chain == Chain::None {
            return Err(TestnetError::Options(
                "nobody pays in a mesh with --chain none: leave --credit and --prepay-budget out"
                    .to_owned(),
            ));
        }
        if let Some(bytes) = options.credit {
            terms.credit = small(bytes).ok_or_else(|| {
                TestnetError::Options(format!("a credit of {bytes} bytes is too much (--credit)"))
            })?;
        }
        terms.prepay_budget = options.prepay_budget;
        let budget = terms.prepay_budget.map(PrepayBudget::of_a_day);
        let checked = fit::check(&fit::Terms {
            thresholds: &terms.thresholds,
            limits: Some(&terms.credit),
            prepay: budget.as_ref(),
            payee_day_cap: Wei::MAX,
            rates: &price::DEFAULT_RATES,
            fee: 0,
            token_price: 0,
        });
        match checked {
            Ok(_) => Ok(terms),
            Err(misfit) => Err(TestnetError::Options(format!("{misfit} (--credit)"))),
        }
    }

    /// The same with debts paid as the daemon's defaults have it, so rarely: for measurements in
    /// which payments would only be noise.
    #[must_use]
    pub fn as_usual(self) -> Self {
        Self {
            thresholds: Thresholds::default(),
            pay_every: USUAL_PAY_EVERY,
            ..self
        }
    }

    /// The settings of a node that pays and is paid. Rates are the daemon's defaults.
    #[must_use]
    pub fn settings(&self, data_dir: &Path) -> Table {
        let mut all = Table::new();
        let mut set = |key: &str, value: Value| {
            all.insert(key.to_owned(), value);
        };
        set("payments", true.into());
        set("rpc", Value::Array(vec![self.rpc.as_str().into()]));
        set("token", self.token.to_checksum(None).into());
        if let Some(disperse) = self.disperse {
            set("disperse", disperse.to_checksum(None).into());
        }
        set("key_file", key_file(data_dir).display().to_string().into());
        set("thresholds", self.thresholds.to_string().into());
        let Limits {
            first,
            pool,
            refill_per_day,
            quota,
            ..
        } = self.credit;
        let credit = format!("{first}|{pool}|{refill_per_day}|{quota}");
        set("credit", credit.into());
        if let Some(budget) = self.prepay_budget {
            let budget = format!("{}.{:018}", budget / TOKEN, budget % TOKEN);
            set("prepay_budget", budget.into());
        }
        set("pay_every", format!("{}s", self.pay_every).into());
        // A fee here is no part of anything: the rule that it be a small one is off.
        set("token_price", "0".into());
        all
    }
}

/// Limits that give a newcomer the price of so many bytes on trust, and all of them together as many
/// times more as the daemon's defaults do.
fn small(bytes: u64) -> Option<Limits> {
    let worth = |of: u64| {
        let bytes = u128::from(bytes) * u128::from(of) / u128::from(FIRST_BYTES);
        price::dearest(&price::DEFAULT_RATES, bytes.try_into().ok()?)
    };
    let pool = worth(POOL_BYTES)?;
    Some(Limits {
        first: worth(FIRST_BYTES)?,
        pool,
        refill_per_day: worth(REFILL_BYTES)?,
        quota: pool / QUOTA_PARTS,
        share: masq::ledger::limits::SHARE,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use masq::ledger::price;

    use super::*;

    #[test]
    fn a_second_of_a_slow_download_is_paid_within_half_a_minute() {
        let terms = Terms::new("http://127.0.0.1:1".into(), Address::repeat_byte(7));
        let second = price::dearest(&price::DEFAULT_RATES, 100_000).unwrap() / 4;
        let [_, maturity, _, _, interval, _] = THRESHOLDS;
        assert!(!terms.thresholds.over(second, maturity));
        assert!(terms.thresholds.over(second, maturity + interval));
        assert!(maturity + interval + 2 * PAY_EVERY <= 30);
    }

    fn with(credit: Option<u64>, prepay_budget: Option<Wei>) -> Result<Table, String> {
        let mut options = Options::new(crate::Program::Masqd("masqd".into()));
        (options.credit, options.prepay_budget) = (credit, prepay_budget);
        options.chain = Chain::Dev;
        let terms = Terms::new("http://127.0.0.1:1".into(), Address::repeat_byte(7));
        let wanted = terms.wanted(&options).map_err(|error| error.to_string());
        Ok(wanted?.settings(Path::new("/d")))
    }

    #[test]
    fn a_small_credit_is_that_of_the_daemon_on_the_terms_of_the_daemon() {
        let settings = with(Some(FIRST_BYTES), Some(TOKEN / 2)).unwrap();
        let usual = Limits::from_rates(&price::DEFAULT_RATES).unwrap();
        let Limits {
            first,
            pool,
            refill_per_day,
            quota,
            ..
        } = usual;
        let credit = format!("{first}|{pool}|{refill_per_day}|{quota}");
        assert_eq!(settings["credit"].as_str(), Some(&*credit));
        assert_eq!(settings["pay_every"].as_str(), Some("600s"));
        assert_eq!(
            settings["prepay_budget"].as_str(),
            Some("0.500000000000000000")
        );
        assert!(!with(None, None).unwrap().contains_key("prepay_budget"));
    }

    #[test]
    fn a_credit_with_which_no_daemon_would_start_is_refused_in_its_words() {
        let said = with(Some(5_000), None).unwrap_err();
        assert!(
            said.contains("not one full cell") && said.ends_with("(--credit)"),
            "{said}"
        );
        assert!(with(Some(u64::MAX), None).unwrap_err().contains("too much"));
    }

    #[test]
    fn the_settings_are_those_that_the_daemon_knows() {
        let mut terms = Terms::new("http://127.0.0.1:1".into(), Address::repeat_byte(7));
        terms.disperse = Some(Address::repeat_byte(8));
        let settings = terms.settings(Path::new("/d"));
        let text = |key: &str| settings[key].as_str().unwrap();
        assert_eq!(text("thresholds"), "20|5|600|10|10|10");
        assert_eq!(text("key_file"), "/d/store.key");
        assert_eq!(text("pay_every"), "2s");
        assert!(text("token").starts_with("0x07"));
        assert_eq!(text("credit").split('|').count(), 4);
        let usual = terms.clone().as_usual().settings(Path::new("/d"));
        assert_eq!(usual["pay_every"].as_str(), Some("600s"));
        assert_eq!(
            usual["thresholds"].as_str(),
            Some("1000000000|1200|1200|500000000|21600|500000000")
        );
        assert_eq!(settings["payments"].as_bool(), Some(true));
    }
}
