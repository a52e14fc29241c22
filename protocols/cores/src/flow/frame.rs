//! How a flow uses its yamux stream.
//!
//! yamux keeps the bounds of data frames, and reports a reset as an end of stream in some states. So the
//! body of every yamux data frame begins with one byte that says what it is, and yamux's own FIN is never
//! sent: the end of a direction is a frame of its own, and a yamux stream that ends without one was
//! reset. Dropping a stream that is open then always tells the other side (specification: "Flows").
//!
//! ```text
//! 0 | data
//! 1                 this side will send no more
//! 2 | message       request (first frame from the origin), reply (first frame from the exit)
//! ```

/// Bytes in front of what a frame holds.
pub(super) const KIND_LEN: usize = 1;
/// Bytes of the header that yamux puts in front of a frame.
pub(super) const YAMUX_HEADER: usize = 12;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Bytes of the flow.
    Data,
    /// No more bytes from this side.
    End,
    /// The request or the reply.
    Message,
}

impl FrameKind {
    pub(super) const fn to_byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::End => 1,
            Self::Message => 2,
        }
    }

    /// The kind of a frame's body. An empty body has none: yamux never hands one out.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        match body.first()? {
            0 => Some(Self::Data),
            1 => Some(Self::End),
            2 => Some(Self::Message),
            _ => None,
        }
    }
}

/// The frame that carries a request or reply.
pub(super) fn message(encoded: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(KIND_LEN + encoded.len());
    frame.push(FrameKind::Message.to_byte());
    frame.extend_from_slice(encoded);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        for (kind, byte) in [
            (FrameKind::Data, 0),
            (FrameKind::End, 1),
            (FrameKind::Message, 2),
        ] {
            assert_eq!(kind.to_byte(), byte);
            assert_eq!(FrameKind::of(&[byte, 9]), Some(kind));
        }
        assert_eq!(FrameKind::of(&[3]), None);
        assert_eq!(FrameKind::of(&[]), None);
        assert_eq!(message(b"ab"), [2, b'a', b'b']);
    }
}
