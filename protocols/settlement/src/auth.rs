//! The payment authorisation of one hop on one circuit: EIP-712 `RouteAuth`.
//!
//! What the hop knows by itself (chain, token, its node key, its ephemeral key) is signed
//! and not sent. That an authorisation is used once is the onion layer's matter: it is bound
//! to an ephemeral key, and set-ups are refused when they come again.

use alloy_primitives::{Address, B256};

use crate::codec::Reader;
use crate::eip712::{
    CanonicalSignature, Domain, SIGNATURE_LEN, SignError, Signer, hash_struct, word,
};
use crate::key::{CircuitId, NodeKey};
use crate::rates::{RatePack, Wei};
use crate::refusal::{Reason, Refusal};

/// Kind byte of no authorisation.
pub const KIND_NONE: u8 = 0;
/// Kind byte of the authorisation that this module describes.
pub const KIND_ROUTE_AUTH: u8 = 1;

/// Bytes of an authorisation's body in a block of the set-up package.
pub const AUTH_LEN: usize = 192;
/// Of those, the bytes in use; the rest are zeros.
pub const AUTH_USED: usize = 20 + RatePack::LEN + 16 + 8 + 8 + SIGNATURE_LEN;
const _: () = assert!(AUTH_USED <= AUTH_LEN);

/// Longest life of an authorisation, in seconds. From the design.
pub const MAX_LIFE: u64 = 3600;

/// How far clocks may be apart, in seconds, in either direction; as for records of gossip.
pub const CLOCK_TOLERANCE: u64 = 120;

const ROUTE_AUTH_TYPE: &str = "RouteAuth(address payer,bytes32 hop,bytes32 circuit,\
uint64 routingByte,uint64 routingPackage,uint64 exitByte,uint64 exitPackage,\
uint128 maxSpend,uint64 notBefore,uint64 expiry)";

/// What a payer promises one hop for one circuit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RouteAuth {
    /// The consuming wallet.
    pub payer: Address,
    /// At which rates the hop is paid.
    pub rates: RatePack,
    /// Most that the hop may charge for this circuit, in wei.
    pub max_spend: Wei,
    /// Seconds since 1970 from which on it holds.
    pub not_before: u64,
    /// Seconds since 1970 at which it ends; at most [`MAX_LIFE`] after `not_before`.
    pub expiry: u64,
}

impl std::fmt::Debug for RouteAuth {
    /// Without the wallet: logs show none.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteAuth")
            .field("rates", &self.rates)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// A [`RouteAuth`] with its signature, as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedAuth {
    /// What is promised.
    pub auth: RouteAuth,
    /// The payer's signature over [`RouteAuth::digest`].
    pub signature: CanonicalSignature,
}

/// What a hop knows by itself, and holds an authorisation against.
#[derive(Debug, Clone, Copy)]
pub struct HopView<'a> {
    /// Chain and token that the hop is paid in.
    pub domain: Domain,
    /// The hop's own key.
    pub node: NodeKey,
    /// The ephemeral public key by which it was addressed, exactly as it was transmitted.
    pub ephemeral: &'a [u8; 32],
    /// Packs of which the authorised rates must cover at least one: the present one, and the
    /// ones before it for as long as a record that names them lives. None: any rates do.
    pub floors: &'a [RatePack],
}

/// An authorisation that holds at this hop, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// What is promised.
    pub auth: RouteAuth,
    /// For which circuit.
    pub circuit: CircuitId,
}

impl RouteAuth {
    /// The EIP-712 digest for a hop and its circuit.
    pub fn digest(&self, domain: &Domain, hop: &NodeKey, circuit: &CircuitId) -> B256 {
        domain.digest(hash_struct(
            ROUTE_AUTH_TYPE,
            &[
                self.payer.into_word(),
                hop.0.into(),
                circuit.0.into(),
                word(self.rates.routing_byte),
                word(self.rates.routing_package),
                word(self.rates.exit_byte),
                word(self.rates.exit_package),
                word(self.max_spend),
                word(self.not_before),
                word(self.expiry),
            ],
        ))
    }

    /// Signs it for `hop`, addressed by this ephemeral key. About 60 µs. The signer must be
    /// that of [`RouteAuth::payer`], or hops will refuse it.
    ///
    /// # Errors
    /// [`SignError`]; nothing was promised to anybody then.
    pub fn sign(
        self,
        domain: &Domain,
        hop: &NodeKey,
        ephemeral: &[u8; 32],
        signer: &dyn Signer,
    ) -> Result<SignedAuth, SignError> {
        let digest = self.digest(domain, hop, &CircuitId::of(ephemeral));
        Ok(SignedAuth {
            auth: self,
            signature: CanonicalSignature::sign(signer, &digest)?,
        })
    }
}

impl SignedAuth {
    /// payer 20 ‖ rates 4 × 8 ‖ max spend 16 ‖ not before 8 ‖ expiry 8 ‖ signature 65 ‖ zeros.
    pub fn encode(&self) -> [u8; AUTH_LEN] {
        let mut bytes = Vec::with_capacity(AUTH_LEN);
        bytes.extend_from_slice(self.auth.payer.as_slice());
        self.auth.rates.encode(&mut bytes);
        bytes.extend_from_slice(&self.auth.max_spend.to_be_bytes());
        bytes.extend_from_slice(&self.auth.not_before.to_be_bytes());
        bytes.extend_from_slice(&self.auth.expiry.to_be_bytes());
        bytes.extend_from_slice(self.signature.as_bytes());
        let mut body = [0; AUTH_LEN];
        for (to, from) in body.iter_mut().zip(bytes) {
            *to = from;
        }
        body
    }

    /// Reads a body; `None` for anything that [`SignedAuth::encode`] would not have written.
    pub fn decode(body: &[u8; AUTH_LEN]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let auth = RouteAuth {
            payer: reader.array::<20>()?.into(),
            rates: RatePack::decode(&mut reader)?,
            max_spend: reader.u128()?,
            not_before: reader.u64()?,
            expiry: reader.u64()?,
        };
        let signature = CanonicalSignature::from_bytes(reader.array()?)?;
        let rest = reader.rest();
        rest.iter()
            .all(|byte| *byte == 0)
            .then_some(Self { auth, signature })
    }

    /// Holds it against what the hop knows, at `now` (seconds since 1970). The cheap checks come
    /// first, the signature (about 160 µs) last.
    ///
    /// # Errors
    /// Why it does not hold. Another chain or token, another hop or another circuit show as
    /// [`Reason::BadSignature`].
    pub fn verify(&self, view: &HopView<'_>, now: u64) -> Result<Verified, Refusal> {
        let auth = self.auth;
        let life = auth.expiry.checked_sub(auth.not_before);
        match life {
            None | Some(0) => return Err(Reason::Malformed.into()),
            Some(life) if life > MAX_LIFE => return Err(Reason::TooLongLived.into()),
            Some(_) => {}
        }
        if now.saturating_add(CLOCK_TOLERANCE) < auth.not_before {
            return Err(Reason::NotYetValid.into());
        }
        if now >= auth.expiry.saturating_add(CLOCK_TOLERANCE) {
            return Err(Reason::Expired.into());
        }
        let covered = view.floors.iter().any(|floor| auth.rates.covers(floor));
        if !covered && !view.floors.is_empty() {
            return Err(Reason::RateTooLow.into());
        }
        let circuit = CircuitId::of(view.ephemeral);
        let digest = auth.digest(&view.domain, &view.node, &circuit);
        if self.signature.recover(&digest) != Some(auth.payer) {
            return Err(Reason::BadSignature.into());
        }
        Ok(Verified { auth, circuit })
    }
}

/// Judges the authorisation of a block, whatever its kind.
///
/// # Errors
/// Why it does not hold.
pub fn judge(
    kind: u8,
    body: &[u8; AUTH_LEN],
    view: &HopView<'_>,
    now: u64,
) -> Result<Verified, Refusal> {
    match kind {
        KIND_NONE => Err(Reason::NoAuthorisation.into()),
        KIND_ROUTE_AUTH => SignedAuth::decode(body)
            .ok_or(Reason::Malformed)?
            .verify(view, now),
        _ => Err(Reason::UnknownKind.into()),
    }
}

#[cfg(test)]
mod tests;
