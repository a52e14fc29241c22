//! Making signed transactions.

use alloy::consensus::{SignableTransaction as _, TxEip1559};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};

use crate::chain::engine::TxRequest;

/// Signs for one wallet.
pub trait Signer: Send + Sync {
    /// The wallet.
    fn wallet(&self) -> Address;

    /// The signed transaction and its hash; nothing when it can't be signed. Quick: some 60 µs.
    fn sign(&self, request: &TxRequest) -> Option<(B256, Bytes)>;
}

/// Signs with a key in memory.
pub struct WalletSigner(PrivateKeySigner);

crate::ledger::opaque_debug!(WalletSigner);

impl WalletSigner {
    /// From the 32 bytes of a secret key; nothing when they are none.
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        PrivateKeySigner::from_slice(key).ok().map(Self)
    }
}

impl Signer for WalletSigner {
    fn wallet(&self) -> Address {
        self.0.address()
    }

    fn sign(&self, request: &TxRequest) -> Option<(B256, Bytes)> {
        sign_with(request, |hash| self.0.sign_hash_sync(&hash).ok())
    }
}

/// The signed transaction and its hash, given what signs a hash.
pub(crate) fn sign_with(
    request: &TxRequest,
    sign: impl FnOnce(B256) -> Option<Signature>,
) -> Option<(B256, Bytes)> {
    // Every field is given: nothing is filled in by a library that knows less.
    let tx = TxEip1559 {
        chain_id: request.chain_id,
        nonce: request.nonce,
        gas_limit: request.gas,
        max_fee_per_gas: request.max_fee,
        max_priority_fee_per_gas: request.tip,
        to: TxKind::Call(request.to),
        value: U256::ZERO,
        access_list: Default::default(),
        input: request.data.clone(),
    };
    let signed = tx.clone().into_signed(sign(tx.signature_hash())?);
    Some((*signed.hash(), signed.encoded_2718().into()))
}

#[cfg(test)]
mod tests {
    use alloy::consensus::TxEnvelope;
    use alloy::eips::eip2718::Decodable2718 as _;

    use super::*;

    #[test]
    fn what_is_signed_is_what_was_asked_for_and_the_hash_is_that_of_the_bytes() {
        let signer = WalletSigner::new(&[7; 32]).unwrap();
        let request = TxRequest {
            id: 1,
            chain_id: 8_453,
            nonce: 5,
            to: Address::repeat_byte(3),
            data: Bytes::from_static(&[1, 2, 3]),
            gas: 70_000,
            max_fee: 9,
            tip: 2,
        };
        let (hash, raw) = signer.sign(&request).unwrap();
        assert_eq!(hash, alloy_primitives::keccak256(&raw));
        let tx = TxEnvelope::decode_2718(&mut raw.as_ref()).unwrap();
        let TxEnvelope::Eip1559(tx) = tx else {
            panic!("type 2");
        };
        let signed = tx
            .signature()
            .recover_address_from_prehash(&tx.signature_hash());
        assert_eq!(signed.unwrap(), signer.wallet());
        let tx = tx.tx();
        assert_eq!((tx.chain_id, tx.nonce, tx.gas_limit), (8_453, 5, 70_000));
        assert_eq!((tx.max_fee_per_gas, tx.max_priority_fee_per_gas), (9, 2));
        assert_eq!(tx.input, request.data);
        assert!(WalletSigner::new(&[0; 32]).is_none());
        assert!(!format!("{signer:?}").contains("07"));
    }
}
