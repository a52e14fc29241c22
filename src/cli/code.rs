//! Exit codes of `masqd` and `masq`, after BSD's sysexits.h, so that scripts
//! and service managers can tell what happened.

/// Done, or stopped as asked.
pub const OK: u8 = 0;
/// The arguments were not understood.
pub const USAGE: u8 = 64;
/// A wallet is needed, and there is none.
pub const NO_WALLET: u8 = 66;
/// No daemon answers; or, of the daemon, an address it needs is taken.
pub const UNAVAILABLE: u8 = 69;
/// A bug in this program.
pub const SOFTWARE: u8 = 70;
/// A file or folder can't be created, read or written.
pub const CANT_CREATE: u8 = 73;
/// Output could not be written.
pub const IO: u8 = 74;
/// Not now, maybe later: the daemon is stopping or busy, or the data folder is
/// in use by another one.
pub const TEMPORARY: u8 = 75;
/// The other side does not speak this API.
pub const PROTOCOL: u8 = 76;
/// The token or password is not accepted, or a file with a secret is not ours
/// alone.
pub const NO_PERMISSION: u8 = 77;
/// The configuration has a problem.
pub const CONFIG: u8 = 78;
/// What was asked was refused; nothing was changed.
pub const REFUSED: u8 = 1;
/// `masq doctor` found a fault.
pub const FAULT: u8 = 1;
