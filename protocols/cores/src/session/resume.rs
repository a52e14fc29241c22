//! Who a session is, and the proof that it is the same one on another circuit.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Says what the proof is for, so that the secret may serve other ends too.
const LABEL: &[u8] = b"masq session resume 1";

/// Names a session; drawn at random by its origin, seen by the exit and nobody between.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell sessions apart in a log.
        let [a, b, c, ..] = self.0;
        write!(f, "s{a:02x}{b:02x}{c:02x}")
    }
}

/// That whoever resumes a session knows the secret of its first circuit, bound to the circuit on which
/// it is shown and to its place in the row of circuits, so that it is good for one use.
#[derive(Clone, Copy)]
pub struct ResumeProof(pub [u8; 32]);

impl ResumeProof {
    /// The proof for the `attachment`th circuit of `session`. `binding` is a value that only the two
    /// ends of the new circuit have, fresh for it.
    pub fn new(secret: &[u8; 32], session: SessionId, attachment: u32, binding: &[u8; 32]) -> Self {
        Self(
            Self::mac(secret, session, attachment, binding)
                .finalize()
                .into_bytes()
                .into(),
        )
    }

    /// Whether it holds, in constant time.
    pub fn holds(
        &self,
        secret: &[u8; 32],
        session: SessionId,
        attachment: u32,
        binding: &[u8; 32],
    ) -> bool {
        Self::mac(secret, session, attachment, binding)
            .verify_slice(&self.0)
            .is_ok()
    }

    fn mac(
        secret: &[u8; 32],
        session: SessionId,
        attachment: u32,
        binding: &[u8; 32],
    ) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(LABEL);
        mac.update(&session.0);
        mac.update(&attachment.to_be_bytes());
        mac.update(binding);
        mac
    }
}

impl PartialEq for ResumeProof {
    fn eq(&self, other: &Self) -> bool {
        // For tests and bookkeeping; a proof is judged by `holds`, in constant time.
        self.0 == other.0
    }
}

impl Eq for ResumeProof {}

impl fmt::Debug for ResumeProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeProof")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_bound_to_all_that_it_names() {
        let (secret, session, binding) = ([1; 32], SessionId([2; 16]), [3; 32]);
        let proof = ResumeProof::new(&secret, session, 4, &binding);
        assert!(proof.holds(&secret, session, 4, &binding));
        assert!(!proof.holds(&[9; 32], session, 4, &binding));
        assert!(!proof.holds(&secret, SessionId([9; 16]), 4, &binding));
        assert!(!proof.holds(&secret, session, 5, &binding));
        assert!(!proof.holds(&secret, session, 4, &[9; 32]));
    }
}
