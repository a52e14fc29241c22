//! The three calls that the engine makes, as bytes.

use alloy_primitives::{Address, Bytes, U256, keccak256};

use crate::ledger::Wei;

const WORD: usize = 32;

struct Call(Vec<u8>);

impl Call {
    fn new(signature: &str) -> Self {
        Self(keccak256(signature)[..4].to_vec())
    }

    fn number(mut self, value: U256) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes::<WORD>());
        self
    }

    fn address(mut self, value: Address) -> Self {
        self.0.extend_from_slice(value.into_word().as_slice());
        self
    }

    fn done(self) -> Bytes {
        self.0.into()
    }
}

/// `transfer(to, amount)` of the token.
pub(super) fn transfer(to: Address, amount: Wei) -> Bytes {
    Call::new("transfer(address,uint256)")
        .address(to)
        .number(U256::from(amount))
        .done()
}

/// `approve(spender, amount)` of the token.
pub(super) fn approve(spender: Address, amount: Wei) -> Bytes {
    Call::new("approve(address,uint256)")
        .address(spender)
        .number(U256::from(amount))
        .done()
}

/// `disperseToken(token, to[], amounts[])` of the disperse contract.
pub(super) fn disperse(token: Address, to: &[(Address, Wei)]) -> Bytes {
    // Three words of the head, then the length and the items of each array.
    let amounts_at = (3 + 1 + to.len()) * WORD;
    let mut call = Call::new("disperseToken(address,address[],uint256[])")
        .address(token)
        .number(U256::from(3 * WORD))
        .number(U256::from(amounts_at))
        .number(U256::from(to.len()));
    for (wallet, _) in to {
        call = call.address(*wallet);
    }
    call = call.number(U256::from(to.len()));
    for (_, amount) in to {
        call = call.number(U256::from(*amount));
    }
    call.done()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    #[test]
    fn calls_begin_with_the_known_selectors() {
        let to = Address::repeat_byte(0x11);
        let call = transfer(to, 5);
        assert_eq!(hex::encode(&call[..4]), "a9059cbb");
        assert_eq!(call.len(), 4 + 64);
        assert_eq!(hex::encode(&approve(to, 5)[..4]), "095ea7b3");
    }

    #[test]
    fn arrays_lie_where_the_head_says() {
        let two = [(Address::repeat_byte(1), 7), (Address::repeat_byte(2), 8)];
        let call = disperse(Address::repeat_byte(9), &two);
        let word = |at: usize| U256::from_be_slice(&call[4 + at..4 + at + WORD]);
        let to_at = usize::try_from(word(WORD)).unwrap();
        let amounts_at = usize::try_from(word(2 * WORD)).unwrap();
        assert_eq!(word(to_at), U256::from(2));
        assert_eq!(
            word(to_at + WORD),
            U256::from_be_bytes(two[0].0.into_word().0)
        );
        assert_eq!(word(amounts_at), U256::from(2));
        assert_eq!(word(amounts_at + 2 * WORD), U256::from(8));
        assert_eq!(call.len(), 4 + amounts_at + 3 * WORD);
    }
}
