//! AES by RustCrypto: the fallback where aws-lc cannot be built. Only the
//! translation to the seam; no protocol.

use aes::Aes256;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use ctr::Ctr32BE;
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};

use super::{Ctr, Gcm};

/// AES-256-GCM.
pub struct AesGcm(Aes256Gcm);

impl Gcm for AesGcm {
    fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    fn seal(&self, nonce: &[u8; 12], text: &mut [u8]) -> [u8; 16] {
        self.0
            .encrypt_inout_detached(nonce.into(), b"", InOutBuf::from(text))
            .expect("a cell is far shorter than GCM's limit")
            .into()
    }

    fn open(&self, nonce: &[u8; 12], tag: &[u8; 16], text: &mut [u8]) -> bool {
        self.0
            .decrypt_inout_detached(nonce.into(), b"", InOutBuf::from(text), tag.into())
            .is_ok()
    }
}

/// AES-256-CTR.
pub struct AesCtr(Aes256);

impl Ctr for AesCtr {
    fn new(key: &[u8; 32]) -> Self {
        Self(Aes256::new(key.into()))
    }

    fn apply(&self, iv: &[u8; 16], text: &mut [u8]) {
        let core = ctr::CtrCore::inner_iv_init(&self.0, iv.into());
        let mut stream: Ctr32BE<&Aes256> = StreamCipherCoreWrapper::from_core(core);
        stream.apply_keystream(text);
    }
}
