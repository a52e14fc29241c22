//! The settings whose grammar belongs to other parts of the program: chains
//! and descriptors (crate `masq-gossip`), policy rules (`crate::exit`), wallets
//! (`crate::wallet`), RPC endpoints (`crate::chain`). The only file of the
//! configuration that knows how those are read.

pub use masq_gossip::{Chain, Descriptor};

use alloy_primitives::Address;

use super::{money::RpcUrl, values::BadValue};
use crate::{
    chain::provider::{self, MAX_ENDPOINTS},
    exit::ExitPolicy,
    wallet::{AddressError, parse_address},
};

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

/// Reads an address on the chain, with its checksum where it has one. What was
/// written is not repeated.
pub(super) fn address(text: &str) -> Result<Address, BadValue> {
    let written = parse_address(text).map_err(|error| {
        let what = match error {
            AddressError::Prefix => "An address begins with 0x.".to_owned(),
            AddressError::Length(length) => {
                format!("An address has 40 digits, this one has {length}.")
            }
            AddressError::Digit(c) => format!("'{c}' is not a hexadecimal digit."),
            AddressError::Checksum => {
                "The checksum of this address is wrong: a digit is mistyped, \
                                       or a letter is small that should be capital."
                    .to_owned()
            }
            AddressError::Zero => "Nobody has the zero address.".to_owned(),
            AddressError::Reserved => "No wallet has an address as low as this.".to_owned(),
        };
        let remedy = "Write 0x and 40 hexadecimal digits, as your wallet shows it.";
        BadValue::new(what, remedy)
    })?;
    Ok(written.address)
}

/// Reads the URL of an RPC endpoint. It may contain a key: it is not repeated.
pub(super) fn rpc_url(text: &str) -> Result<RpcUrl, BadValue> {
    let text = text.trim();
    provider::check_url(text)
        .map(|()| RpcUrl::checked(text))
        .map_err(|_| {
            BadValue::new(
                "This is not the URL of an RPC endpoint.",
                "Write it like \"https://rpc.example.org/KEY\"; it begins with http:// or https://.",
            )
        })
}

/// Bounds the list of endpoints.
pub(super) fn rpc(urls: Vec<RpcUrl>) -> Result<Vec<RpcUrl>, BadValue> {
    if urls.len() > MAX_ENDPOINTS {
        return Err(BadValue::new(
            format!("These are {} endpoints.", urls.len()),
            format!("Give at most {MAX_ENDPOINTS}."),
        ));
    }
    let twice = |at: usize| urls[..at].contains(&urls[at]);
    if (1..urls.len()).any(twice) {
        return Err(BadValue::new(
            "An endpoint is there twice.",
            "Give each once: two answers of one endpoint are one opinion.",
        ));
    }
    Ok(urls)
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
