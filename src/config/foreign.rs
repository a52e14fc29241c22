//! The settings whose grammar belongs to other parts of the program: chains
//! and descriptors (crate `masq-gossip`), policy rules (`crate::exit`). The
//! only file of the configuration that knows how those are read.

pub use masq_gossip::{Chain, Descriptor};

use super::values::BadValue;
use crate::exit::ExitPolicy;

/// Reads the name of a chain.
pub(super) fn chain(text: &str) -> Result<Chain, BadValue> {
    text.trim()
        .to_ascii_lowercase()
        .parse::<Chain>()
        .map_err(|_| {
            let names = Chain::ALL.map(Chain::name).join(", ");
            BadValue::new(
                format!("There is no chain \"{}\".", text.trim()),
                format!("Write one of: {names}."),
            )
        })
}

/// Reads a descriptor. Whether it is of the right chain is checked later, when
/// the chain is known.
pub(super) fn descriptor(text: &str) -> Result<Descriptor, BadValue> {
    let text = text.trim();
    text.parse::<Descriptor>().map_err(|error| {
        BadValue::new(
            format!("\"{}\" is not a descriptor: {error}.", shorten(text)),
            "A descriptor looks like masq://base-mainnet:KEY@HOST:PORT; copy it whole.",
        )
    })
}

/// Checks a policy rule and gives it back without spaces around it.
pub(super) fn policy_rule(text: &str) -> Result<String, BadValue> {
    let text = text.trim();
    ExitPolicy::parse(&[text], false).map_err(|error| {
        BadValue::new(
            format!("\"{text}\" is not a rule."),
            format!(
                "{}{}.",
                error.reason[..1].to_uppercase(),
                &error.reason[1..]
            ),
        )
    })?;
    Ok(text.to_owned())
}

/// Descriptors hold an address: error messages show their beginning only.
fn shorten(text: &str) -> String {
    /// Enough to recognise it by: `masq://`, the longest chain name, a bit of
    /// the key.
    const SHOWN: usize = 32;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
