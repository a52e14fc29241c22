//! What can go wrong, by area: building, peeling, cells, key exchange. Each
//! variant says whose fault it was. None carries key material or names.

/// Why [`build_setup`](crate::build_setup) refused. The caller's fault, except
/// [`Self::BadOnionKey`], which a hop published.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The over leg must have 1 to [`MAX_OVER`](crate::MAX_OVER) hops.
    #[error("an over leg of {0} hops; 1 to 6 are possible")]
    OverLength(usize),
    /// The back leg must have 0 to [`MAX_BACK`](crate::MAX_BACK) relays.
    #[error("a back leg of {0} relays; 0 to 5 are possible")]
    BackLength(usize),
    /// The onion key of this hop has small order: no secret can be shared with
    /// it. Hops count from 0 over the over leg, then the back leg, then the origin.
    #[error("the onion key of hop {0} has small order")]
    BadOnionKey(usize),
}

/// Why [`peel`](crate::peel) refused. Whoever sent the package is at fault,
/// except [`Self::UnknownKey`], which is how a package looks that was on its
/// way for longer than a key lives.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeelError {
    /// Not [`SETUP_LEN`](crate::SETUP_LEN) bytes.
    #[error("a set-up package has 3506 bytes, this has {0}")]
    Length(usize),
    /// A version this crate does not speak.
    #[error("set-up package version {0} is not spoken here")]
    Version(u8),
    /// None of the keys offered is the one the package was made for.
    #[error("the package is for an onion key that is not held here (any more)")]
    UnknownKey,
    /// The ephemeral key has small order, or the tag does not fit the package.
    #[error("the package was changed, or was made for someone else")]
    Authentication,
    /// Authentic, but the block inside makes no sense: the origin is at fault.
    #[error("the origin wrote a block that makes no sense")]
    Block,
}

/// Why a cell or a frame was refused. After [`Self::Authentication`],
/// [`Self::Exhausted`] or [`Self::Content`] from an opener the circuit is over:
/// every later call on it gives [`Self::Closed`] and no byte was delivered.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CellError {
    /// None of the fixed sizes. The caller's fault; nothing was changed.
    #[error("{0} bytes are none of the fixed sizes")]
    Length(usize),
    /// Changed on the way, out of order, or sealed under another key.
    #[error("not authentic")]
    Authentication,
    /// The key has carried 2^32 messages. End the circuit.
    #[error("the key has carried all the messages it may")]
    Exhausted,
    /// An earlier failure ended this direction.
    #[error("closed by an earlier failure")]
    Closed,
    /// The caller gave more than fits; nothing was changed.
    #[error("the payload does not fit")]
    BodyTooLong,
    /// The caller named a hop that this circuit does not have; nothing was changed.
    #[error("the circuit has no such hop")]
    NoSuchHop,
    /// Authentic, but the far end wrote what makes no sense here.
    #[error("authentic, but without sense")]
    Content,
    /// A report came back that was never sent out.
    #[error("a report that nobody waits for")]
    Unexpected,
}

/// Why a key exchange failed. The other end is at fault.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KxError {
    /// Not the length of a share or a reply.
    #[error("a key exchange message of {0} bytes")]
    Length(usize),
    /// An X25519 key of small order, or an ML-KEM key outside its range.
    #[error("a public key that cannot be used")]
    BadKey,
}
