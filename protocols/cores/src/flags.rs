//! What a cell is for: the flags byte that only origin and exit see.

/// Payload of the session.
pub const DATA: u8 = 0;
/// A share of the key exchange: the first cell each way, and no other. The back leg's
/// keys change after it.
pub const KEY_SHARE: u8 = 1;
/// Empty; the over leg's keys change after it.
pub const MARKER: u8 = 2;
