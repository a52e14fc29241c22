//! Reading an address as a person gives it: with its checksum (EIP-55), because
//! a mistyped one is money for nobody.

use std::fmt;

use alloy_primitives::Address;

/// An address as it was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The address.
    pub address: Address,
    /// Whether its letters carried a checksum, and a right one. Without (all
    /// small or all capital), a slip of the finger goes unnoticed.
    pub checked: bool,
}

impl fmt::Debug for Written {
    /// Wallets stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written([scrubbed])")
    }
}

/// Why a text is no address. What was written is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It does not begin with 0x.
    #[error("an address begins with 0x, and then has 40 digits from 0 to 9 and a to f")]
    Prefix,
    /// It has the wrong length.
    #[error("an address has 40 digits after the 0x, this one has {0}: was it copied whole?")]
    Length(usize),
    /// A character is no digit.
    #[error("'{0}' is not a digit of an address: they go from 0 to 9 and from a to f")]
    Digit(char),
    /// The checksum is wrong.
    #[error(
        "the checksum of this address is wrong: a digit is mistyped, or a letter is small that \
         should be capital. Copy it again from your wallet"
    )]
    Checksum,
    /// Nobody has it.
    #[error("this is the zero address: what is sent there is lost")]
    Zero,
    /// It belongs to the chain itself.
    #[error("no wallet has an address as low as this: what is sent there is lost")]
    Reserved,
}

/// Addresses up to this one belong to the chain: precompiled contracts have them, and an address
/// that is made from a key is never so low.
const LAST_RESERVED: u16 = 0xffff;

/// Reads an address.
///
/// # Errors
///
/// When it is not one, its checksum is wrong, or nobody can have it.
pub fn parse_address(text: &str) -> Result<Written, AddressError> {
    let digits = text.trim().strip_prefix("0x").ok_or(AddressError::Prefix)?;
    if let Some(other) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(AddressError::Digit(other));
    }
    if digits.len() != 2 * Address::len_bytes() {
        return Err(AddressError::Length(digits.len()));
    }
    let mut bytes = [0; 20];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| AddressError::Length(digits.len()))?;
    let address = Address::new(bytes);
    if address.is_zero() {
        return Err(AddressError::Zero);
    }
    if address <= Address::left_padding_from(&LAST_RESERVED.to_be_bytes()) {
        return Err(AddressError::Reserved);
    }
    let small = digits.bytes().any(|byte| byte.is_ascii_lowercase());
    let capital = digits.bytes().any(|byte| byte.is_ascii_uppercase());
    if small && capital && address.to_checksum(None)[2..] != *digits {
        return Err(AddressError::Checksum);
    }
    // Without letters there is nothing that a checksum could be in.
    let checked = address.to_checksum(None)[2..] == *digits;
    Ok(Written { address, checked })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From EIP-55.
    const RIGHT: [&str; 5] = [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7",
    ];

    #[test]
    fn checksums_are_verified() {
        for text in RIGHT {
            let written = parse_address(&format!(" {text}\n")).unwrap();
            assert_eq!(written.address.to_checksum(None), text);
            assert!(written.checked);
            assert!(!format!("{written:?}").contains(&text[2..6]));
        }
        for text in &RIGHT[..4] {
            let small = parse_address(&text.to_lowercase()).unwrap();
            assert!(!small.checked);
            assert_eq!(small.address.to_checksum(None), *text);
            // One letter of the other case.
            let at = text.rfind(|c: char| c.is_ascii_alphabetic()).unwrap();
            let mut other = (*text).to_owned();
            let letter = other.remove(at);
            let swapped = if letter.is_ascii_lowercase() {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            };
            other.insert(at, swapped);
            assert_eq!(
                parse_address(&other),
                Err(AddressError::Checksum),
                "{other}"
            );
        }
        assert_eq!(
            parse_address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee"),
            Err(AddressError::Checksum)
        );
    }

    #[test]
    fn what_is_no_address_is_explained() {
        for (text, error) in [
            ("", AddressError::Prefix),
            (
                "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
                AddressError::Prefix,
            ),
            (
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
                AddressError::Length(39),
            ),
            (
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAedd",
                AddressError::Length(41),
            ),
            (
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeř",
                AddressError::Digit('ř'),
            ),
            ("0xvitalik.eth", AddressError::Digit('v')),
            (
                "0x0000000000000000000000000000000000000000",
                AddressError::Zero,
            ),
            (
                "0x0000000000000000000000000000000000000001",
                AddressError::Reserved,
            ),
            (
                "0x000000000000000000000000000000000000ffff",
                AddressError::Reserved,
            ),
        ] {
            assert_eq!(parse_address(text), Err(error), "{text}");
        }
        assert!(parse_address("0x0000000000000000000000000000000000010000").is_ok());
    }
}
