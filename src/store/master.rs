//! The master key: one per data folder, from which every store's keys come.

use std::fmt;

use zeroize::Zeroizing;

use super::seal::{KEY_LENGTH, MacKey, SealError, SealKey, derive, random};

/// 32 random bytes that open every store of a data folder. The vault
/// ([`super::vault`]) keeps them, wrapped; in memory they are wiped when
/// dropped, and `Debug` does not show them.
pub struct MasterKey(Zeroizing<[u8; KEY_LENGTH]>);

impl MasterKey {
    /// A new one.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub(crate) fn random() -> Result<Self, SealError> {
        random().map(Self)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Zeroizing::new).map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// The cipher of the store with that id and purpose.
    pub(super) fn sealer(&self, purpose: &str, id: &[u8]) -> Result<Sealer, SealError> {
        let key = |what: &str| {
            let label = format!("masq/store/1/{purpose}/{what}");
            derive(self.0.as_slice(), id, &label)
        };
        Ok(Sealer {
            seal: SealKey::new(&*key("seal")?),
            hide: MacKey::new(&*key("hide")?)?,
        })
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([scrubbed])")
    }
}

/// The keys of one store.
pub(super) struct Sealer {
    pub(super) seal: SealKey,
    pub(super) hide: MacKey,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer([scrubbed])")
    }
}
