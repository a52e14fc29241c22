//! The contracts' questions, as bytes.

use alloy_primitives::{Address, Bytes, U256, address, keccak256};

/// The OP stack's price list for bytes.
pub(super) const DATA_PRICES: Address = address!("420000000000000000000000000000000000000F");
/// Bytes of a signed transfer, rounded up; a batch pays for more, which the caps leave room for.
const TRANSFER_BYTES: u64 = 200;

fn call(signature: &str, words: &[[u8; 32]]) -> Bytes {
    let selector = keccak256(signature);
    let mut data = selector[..4].to_vec();
    data.extend(words.iter().flatten());
    data.into()
}

pub(super) fn balance_of(wallet: Address) -> Bytes {
    call("balanceOf(address)", &[wallet.into_word().0])
}

pub(super) fn allowance(owner: Address, spender: Address) -> Bytes {
    let words = [owner.into_word().0, spender.into_word().0];
    call("allowance(address,address)", &words)
}

pub(super) fn decimals() -> Bytes {
    call("decimals()", &[])
}

pub(super) fn symbol() -> Bytes {
    call("symbol()", &[])
}

pub(super) fn data_fee() -> Bytes {
    let size = U256::from(TRANSFER_BYTES).to_be_bytes();
    call("getL1FeeUpperBound(uint256)", &[size])
}

/// A text as contracts answer it: offset, length, bytes; or, in old tokens, 32 bytes.
pub(super) fn text(answer: &[u8]) -> Option<String> {
    let bytes = match answer.len() {
        32 => answer,
        64.. => {
            let length: usize = U256::from_be_slice(&answer[32..64]).try_into().ok()?;
            answer[64..].get(..length).filter(|text| text.len() <= 32)?
        }
        _ => return None,
    };
    let text = String::from_utf8(bytes.to_vec()).ok()?;
    let text = text.trim_end_matches('\0');
    let shown = !text.is_empty() && text.chars().all(|c| !c.is_control());
    shown.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    #[test]
    fn calls_begin_with_the_known_selectors() {
        assert_eq!(hex::encode(&balance_of(Address::ZERO)[..4]), "70a08231");
        assert_eq!(
            hex::encode(&allowance(Address::ZERO, Address::ZERO)[..4]),
            "dd62ed3e"
        );
        assert_eq!(hex::encode(decimals()), "313ce567");
        assert_eq!(hex::encode(symbol()), "95d89b41");
    }

    #[test]
    fn texts_are_read_in_both_forms() {
        let mut long = vec![0; 96];
        (long[31], long[63]) = (32, 4);
        long[64..68].copy_from_slice(b"MASQ");
        assert_eq!(text(&long).as_deref(), Some("MASQ"));
        let mut short = [0; 32];
        short[..4].copy_from_slice(b"MASQ");
        assert_eq!(text(&short).as_deref(), Some("MASQ"));
        long[63] = 0xff;
        assert_eq!(text(&long), None);
        long[32..64].fill(0xff);
        assert_eq!(text(&long), None);
        assert_eq!(text(&[0; 31]), None);
    }
}
