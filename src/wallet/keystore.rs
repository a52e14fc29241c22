//! Keystore files: the Web3 format, version 3, which every wallet program reads.
//!
//! Written with scrypt (n = 262144, r = 8, p = 1: 256 MiB, about a second), as
//! wallets do it that mean it. Read with scrypt or PBKDF2, within bounds, from
//! any program. The format has an optional field for the address, in the clear.
//! It is left out of the file that a node keeps, so that this does not say whose
//! it is; other programs want it, so a file for them has it. (It is of use: the
//! format's MAC does not cover the IV, so without an address to compare with, a
//! damaged IV gives another wallet. A node compares with what its store says.)

use std::{fmt, io::Write as _, path::Path};

use aes::Aes128;
use alloy_primitives::keccak256;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::key::{ConsumingWallet, KEY_LENGTH, KeyError};
use crate::store::{Password, SealError, seal};

/// Largest keystore file, in bytes (the format needs about 500).
pub const MAX_KEYSTORE: usize = 1 << 16;
/// Length of what is derived from the password: a key and a MAC key.
const DERIVED: usize = 32;
/// Length of the salt that is written.
const SALT: usize = 32;
/// Most memory that a file may ask for: 1 GiB, four times what is written here.
const MAX_SCRYPT_MEMORY: u64 = 1 << 30;
/// Most passes over that memory.
const MAX_SCRYPT_LANES: u32 = 16;
/// Most rounds of PBKDF2 that a file may ask for (usual: 262,144).
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;
/// Longest salt that is read, in bytes.
const MAX_SALT: usize = 256;

/// Why a keystore can't be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// It is no keystore.
    #[error("it is no keystore of version 3: {0}")]
    Format(String),
    /// Its parameters are not supported.
    #[error("its {0}")]
    Unsupported(String),
    /// The password is wrong, or the file damaged: the format can't tell.
    #[error("the password is wrong for it, or the file is damaged")]
    Password,
    /// The key is not the one of the address in the file.
    #[error("the key in it does not belong to the address in it")]
    Address,
    /// It holds no key of a wallet.
    #[error("it holds no key of a wallet: {0}")]
    Key(#[from] KeyError),
    /// Nothing can be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// What scrypt costs when a keystore is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    log_n: u8,
    r: u32,
    p: u32,
}

impl Cost {
    /// 256 MiB, about a second.
    pub(super) const USUAL: Self = Self {
        log_n: 18,
        r: 8,
        p: 1,
    };
    /// For tests, which write many.
    #[cfg(test)]
    pub(super) const CHEAP: Self = Self {
        log_n: 4,
        r: 8,
        p: 1,
    };
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    // Early versions of geth wrote it with a capital.
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    #[serde(flatten)]
    kdf: Kdf,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kdf", content = "kdfparams", rename_all = "lowercase")]
enum Kdf {
    Scrypt {
        dklen: usize,
        n: u64,
        r: u32,
        p: u32,
        salt: String,
    },
    Pbkdf2 {
        dklen: usize,
        c: u32,
        prf: String,
        salt: String,
    },
}

/// The key and the MAC key that a password gives.
type Derived = Zeroizing<[u8; DERIVED]>;

impl Kdf {
    fn derive(&self, password: &Password) -> Result<Derived, KeystoreError> {
        let (length, salt) = match self {
            Self::Scrypt { dklen, salt, .. } | Self::Pbkdf2 { dklen, salt, .. } => (*dklen, salt),
        };
        if length != DERIVED {
            return Err(unsupported(format_args!(
                "dklen is {length}, not {DERIVED}"
            )));
        }
        let salt = bytes("salt", salt)?;
        if salt.len() > MAX_SALT {
            return Err(unsupported("salt is too long"));
        }
        let mut out = Zeroizing::new([0; DERIVED]);
        match self {
            Self::Scrypt { n, r, p, .. } => {
                let params = scrypt_params(*n, *r, *p)?;
                scrypt::scrypt(password.as_bytes(), &salt, &params, out.as_mut_slice())
                    .map_err(|_| SealError::Length)?;
            }
            Self::Pbkdf2 { c, prf, .. } => {
                if prf != "hmac-sha256" {
                    return Err(unsupported("prf is not hmac-sha256"));
                }
                if !(1..=MAX_PBKDF2_ROUNDS).contains(c) {
                    return Err(unsupported(format_args!("number of rounds is {c}")));
                }
                pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, *c, out.as_mut_slice());
            }
        }
        Ok(out)
    }
}

fn scrypt_params(n: u64, r: u32, p: u32) -> Result<scrypt::Params, KeystoreError> {
    let memory = n
        .checked_mul(128)
        .and_then(|bytes| bytes.checked_mul(r.into()));
    if memory.is_none_or(|bytes| bytes > MAX_SCRYPT_MEMORY) || p > MAX_SCRYPT_LANES {
        return Err(unsupported(
            "scrypt parameters would take more memory or time than is allowed",
        ));
    }
    let nonsense = || unsupported("scrypt parameters make no sense");
    if n < 2 || !n.is_power_of_two() {
        return Err(nonsense());
    }
    let log_n = u8::try_from(n.ilog2()).map_err(|_| nonsense())?;
    scrypt::Params::new(log_n, r, p).map_err(|_| nonsense())
}

fn unsupported(what: impl fmt::Display) -> KeystoreError {
    KeystoreError::Unsupported(what.to_string())
}

fn bytes(name: &str, text: &str) -> Result<Vec<u8>, KeystoreError> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text))
        .map_err(|_| KeystoreError::Format(format!("its {name} is not hexadecimal")))
}

fn mac(derived: &Derived, ciphertext: &[u8]) -> [u8; 32] {
    keccak256([&derived[16..], ciphertext].concat()).0
}

fn crypt(derived: &Derived, iv: [u8; 16], text: &mut [u8]) -> Result<(), KeystoreError> {
    let mut key = Zeroizing::new([0; 16]);
    key.copy_from_slice(&derived[..16]);
    Ctr128BE::<Aes128>::new(&(*key).into(), &iv.into())
        .try_apply_keystream(text)
        .map_err(|_| SealError::Length.into())
}

/// The wallet in a keystore file. Takes as long as the file says: about a
/// second usually.
///
/// # Errors
///
/// See [`KeystoreError`].
pub fn read(file: &[u8], password: &Password) -> Result<ConsumingWallet, KeystoreError> {
    if file.len() > MAX_KEYSTORE {
        return Err(KeystoreError::Format("it is too large".into()));
    }
    let file: File =
        serde_json::from_slice(file).map_err(|error| KeystoreError::Format(error.to_string()))?;
    if file.version != 3 {
        return Err(KeystoreError::Format(format!(
            "its version is {}",
            file.version
        )));
    }
    let crypto = &file.crypto;
    if crypto.cipher != "aes-128-ctr" {
        return Err(unsupported("cipher is not aes-128-ctr"));
    }
    let iv: [u8; 16] = bytes("iv", &crypto.cipherparams.iv)?
        .try_into()
        .map_err(|_| KeystoreError::Format("its iv has not 16 bytes".into()))?;
    let mut text = Zeroizing::new(bytes("ciphertext", &crypto.ciphertext)?);
    if text.len() != KEY_LENGTH {
        return Err(KeystoreError::Format(
            "its ciphertext has not 32 bytes".into(),
        ));
    }
    let expected = bytes("mac", &crypto.mac)?;
    let derived = crypto.kdf.derive(password)?;
    if !bool::from(mac(&derived, &text).ct_eq(expected.as_slice())) {
        return Err(KeystoreError::Password);
    }
    crypt(&derived, iv, &mut text)?;
    let wallet = ConsumingWallet::from_bytes(&text)?;
    if let Some(address) = file.address.filter(|text| !text.is_empty()) {
        let named = bytes("address", &address)?;
        if named != wallet.address().as_slice() {
            return Err(KeystoreError::Address);
        }
    }
    Ok(wallet)
}

/// Whether a keystore names the wallet whose key it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// It has the address, in the clear: for other programs.
    Named,
    /// It has not.
    Nameless,
}

/// A keystore file with that wallet, under that password. Takes about a second
/// and 256 MiB.
///
/// # Errors
///
/// When the system has no randomness.
pub fn write(
    wallet: &ConsumingWallet,
    password: &Password,
    naming: Naming,
) -> Result<Vec<u8>, KeystoreError> {
    write_with(wallet, password, naming, Cost::USUAL)
}

pub(super) fn write_with(
    wallet: &ConsumingWallet,
    password: &Password,
    naming: Naming,
    cost: Cost,
) -> Result<Vec<u8>, KeystoreError> {
    let kdf = Kdf::Scrypt {
        dklen: DERIVED,
        n: 1 << cost.log_n,
        r: cost.r,
        p: cost.p,
        salt: hex::encode(seal::random::<SALT>()?.as_slice()),
    };
    let derived = kdf.derive(password)?;
    let iv = *seal::random::<16>()?;
    let mut text = Zeroizing::new(wallet.secret().to_vec());
    crypt(&derived, iv, &mut text)?;
    let file = File {
        version: 3,
        id: random_uuid()?,
        address: (naming == Naming::Named).then(|| hex::encode(wallet.address())),
        crypto: Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParams {
                iv: hex::encode(iv),
            },
            ciphertext: hex::encode(&*text),
            kdf,
            mac: hex::encode(mac(&derived, &text)),
        },
    };
    let mut out = serde_json::to_vec_pretty(&file)
        .map_err(|error| KeystoreError::Format(error.to_string()))?;
    out.push(b'\n');
    Ok(out)
}

/// A random UUID (version 4), which the format wants.
fn random_uuid() -> Result<String, SealError> {
    let mut bytes = *seal::random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    Ok(parts.join("-"))
}

/// Writes a file that must not exist yet, mode 0600, synced.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .inspect_err(|_| {
            // Half a keystore helps nobody.
            let _ = std::fs::remove_file(path);
        })
}

#[cfg(test)]
mod tests;
