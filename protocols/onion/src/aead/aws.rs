//! AES by aws-lc. Only the translation to the seam; no protocol.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::{Ctr, Gcm};

/// AES-256-GCM.
pub struct AesGcm(LessSafeKey);

impl Gcm for AesGcm {
    fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes");
        Self(LessSafeKey::new(key))
    }

    fn seal(&self, nonce: &[u8; 12], text: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::empty(), text)
            .expect("a cell is far shorter than GCM's limit");
        let mut out = [0; 16];
        out.copy_from_slice(tag.as_ref());
        out
    }

    fn open(&self, nonce: &[u8; 12], tag: &[u8; 16], text: &mut [u8]) -> bool {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::empty(), tag, text)
            .is_ok()
    }
}

/// AES-256-CTR.
pub struct AesCtr(EncryptingKey);

impl Ctr for AesCtr {
    fn new(key: &[u8; 32]) -> Self {
        let key = UnboundCipherKey::new(&AES_256, key).expect("the key has 32 bytes");
        Self(EncryptingKey::ctr(key).expect("AES has a counter mode"))
    }

    fn apply(&self, iv: &[u8; 16], text: &mut [u8]) {
        self.0
            .less_safe_encrypt(text, EncryptionContext::Iv128(FixedLength::from(iv)))
            .expect("counter mode takes any length");
    }
}
